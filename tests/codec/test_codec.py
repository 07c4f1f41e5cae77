from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch

from vqkit.codec import Chunk, Codec, Coded, from_bare, tables, to_bare
from vqkit.codec.entropy import Encoder
from vqkit.codec.raw import raw_length
from vqkit.priors import NextScalePrior, PixelCNN, Prior, Stack, TransformerPrior, UniformPrior
from vqkit.signal import Indices, Layout

LAYOUT = Layout(((2, 2), (3, 4)), ((5,), (9, 4)), 3)
SIDE = {"label": torch.tensor([2, 0, 1, 1])}


def prior(make: Callable[..., Prior] = TransformerPrior, layout: Layout = LAYOUT) -> Prior:
    made = make(layout, width=16, depth=1, heads=2)
    for parameter in made.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return made


def indices(layout: Layout = LAYOUT, batch: int = 4) -> Indices:
    return tuple(
        torch.stack([torch.randint(size, (batch, *grid)) for size in sizes], 1)
        for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True)
    )


def everything(given: Indices) -> Coded:
    return tuple(torch.ones_like(level, dtype=torch.bool) for level in given)


def test_a_prior_stays_as_it_is() -> None:
    made = prior().train()
    codec = Codec(made)
    assert made.training and next(made.parameters()).dtype == torch.float32 and next(made.parameters()).requires_grad
    assert not codec.prior.training


def test_symbols_that_are_not_coded_cost_nothing_and_are_the_likeliest() -> None:
    codec, given = Codec(prior()), indices()
    some = tuple(torch.rand(level.shape) < 0.5 for level in given)
    chunk = codec.encode(given, some, SIDE)
    found = codec.decode(chunk, some, SIDE)
    for level, back, mask in zip(given, found, some, strict=True):
        assert torch.equal(level[mask], back[mask])
    scrambled = tuple(level.masked_fill(~mask, -7) for level, mask in zip(given, some, strict=True))
    assert codec.encode(scrambled, some, SIDE) == chunk
    nats = codec.prior.log_prob(found, SIDE)
    bits = -sum(float(level[mask].sum()) for level, mask in zip(nats, some, strict=True)) / math.log(2)
    assert bits - 8 <= 8 * len(chunk.payload) <= 1.002 * bits + 8

    nothing = tuple(torch.zeros_like(mask) for mask in some)
    assert codec.encode(given, nothing, SIDE).payload == b""
    likeliest = codec.likeliest(some, SIDE)
    first = codec.prior.walk(LAYOUT, 4, SIDE)
    weights = tables.weights(next(first).logits.numpy(), tables.FIRST_DITHER)
    assert torch.equal(likeliest[0][:, 0, 0, 0], torch.from_numpy(weights.argmax(-1))[:, 0].expand(4))


@pytest.mark.parametrize("make", [TransformerPrior, NextScalePrior])
def test_a_walk_ends_before_levels_that_are_left_out(make: Callable[..., Prior]) -> None:
    codec, given = Codec(prior(make)), indices()
    coarse = everything(given)[:1]
    chunk = codec.encode(given, coarse, SIDE)
    (found,) = codec.decode(chunk, coarse, SIDE)
    assert torch.equal(found, given[0])
    assert codec.encode(given[:1], coarse, SIDE) == chunk
    whole = codec.encode(given, everything(given), SIDE)
    assert len(chunk.payload) < len(whole.payload) / 3


def test_a_walk_ends_with_the_last_symbol_that_is_coded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that are left out cost no time, where each has a prior of its own."""
    layout = Layout(((2, 3),), ((5, 4, 3, 3),))
    parts = [partial(PixelCNN, width=8, depth=1, context_channels=channels) for channels in (0, 4)]
    codec, given = Codec(Stack(layout, parts, width=8)), indices(layout)
    first = (torch.zeros_like(given[0], dtype=torch.bool),)
    first[0][:, :2] = True
    monkeypatch.setattr(codec.prior.priors[1], "walk", lambda *_: pytest.fail("the second stage was walked"))
    chunk = codec.encode(given, first, {})
    assert torch.equal(codec.decode(chunk, first, {})[0][:, :2], given[0][:, :2])


def test_an_unsafe_dither_costs_another_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, given, passes = Codec(prior()), indices(), 0
    first, then = (int(dither) for dither in tables.DITHERS[:2])
    find, encoder = tables.unsafe_dithers, Encoder

    def unsafe(logits: object) -> object:
        found = find(logits)  # type: ignore[arg-type]
        found[first] = True
        return found

    def counted() -> Encoder:
        nonlocal passes
        passes += 1
        return encoder()

    monkeypatch.setattr("vqkit.codec.codec.Encoder", counted)
    assert codec.encode(given, everything(given), SIDE).dither == first and passes == 1
    monkeypatch.setattr(tables, "unsafe_dithers", unsafe)
    chunk = codec.encode(given, everything(given), SIDE)
    assert chunk.dither == then and passes == 3
    assert all(map(torch.equal, codec.decode(chunk, everything(given), SIDE), given))


def test_a_dither_is_looked_at_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # Symbols that are not coded depend on the dither: what was safe on the way of one need not be on that of another.
    codec, given, passes = Codec(UniformPrior(LAYOUT)), indices(), []
    order, weights = [int(dither) for dither in tables.DITHERS], tables.weights

    def weights_of(logits: object, dither: int) -> object:
        if not passes or passes[-1] != dither:
            passes.append(dither)
        return weights(logits, dither)  # type: ignore[arg-type]

    def unsafe(logits: object) -> object:
        found = torch.zeros(256, dtype=torch.bool).numpy()
        found[passes[-1]] = passes[-1] in order[:3]  # each finds out about itself alone
        return found

    monkeypatch.setattr(tables, "weights", weights_of)
    monkeypatch.setattr(tables, "unsafe_dithers", unsafe)
    assert codec.encode(given, everything(given), {}).dither == order[3]
    assert passes == order[:4]


def test_other_indices_than_were_encoded_are_refused() -> None:
    codec, given = Codec(prior()), indices()
    coded = everything(given)
    chunk = codec.encode(given, coded, SIDE)
    wrong = [
        (codec, chunk._replace(check=chunk.check ^ 1), SIDE),
        (codec, chunk._replace(dither=chunk.dither ^ 128), SIDE),
        (codec, chunk, {"label": torch.tensor([2, 0, 1, 0])}),
        (Codec(prior()), chunk, SIDE),
    ]
    for other, damaged, side in wrong:
        with pytest.raises(ValueError, match=r"other indices than were encoded|the payload is not of these weights"):
            other.decode(damaged, coded, side)


def test_mistakes_are_named() -> None:
    codec, given = Codec(prior()), indices()
    coded = everything(given)
    with pytest.raises(ValueError, match="of the first levels"):
        codec.encode(given, (), SIDE)
    with pytest.raises(ValueError, match="of the first levels"):
        codec.encode(given, coded[1:], SIDE)
    with pytest.raises(ValueError, match="of the first levels"):
        codec.decode(Chunk(127, 0, b""), given, SIDE)
    with pytest.raises(ValueError, match="give them the same shapes"):
        codec.encode(indices(batch=3), coded, SIDE)
    with pytest.raises(ValueError, match="beyond its alphabet"):
        codec.encode((given[0] + 5, given[1]), coded, SIDE)


def test_a_bare_payload_is_never_longer_than_raw() -> None:
    layout = Layout(((8, 8),), ((512,),))
    for made in (prior(layout=layout), UniformPrior(layout)):
        codec = Codec(made)
        for _ in range(3):
            given = indices(layout, batch=1)
            payload = to_bare(codec, given, everything(given), {})
            assert len(payload) <= 72
            assert torch.equal(from_bare(codec, payload, everything(given), {})[0], given[0])


def test_a_bare_payload_is_coded_where_that_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    codec, side = Codec(prior()), {"label": torch.tensor([1])}
    some = tuple(torch.rand(level.shape) < 0.7 for level in indices(batch=1))
    given = codec.likeliest(some, side)
    payload = to_bare(codec, given, some, side)
    sizes = [5] * int(some[0].sum()) + [9] * int(some[1][:, 0].sum()) + [4] * int(some[1][:, 1].sum())
    assert len(payload) < raw_length(sizes) - 2
    monkeypatch.setattr("vqkit.codec.bare.FIRST_DITHER", 3)  # the encoder's is another: raw
    raw = to_bare(codec, given, some, side)
    assert len(raw) == raw_length(sizes)
    monkeypatch.undo()
    for found in (from_bare(codec, payload, some, side), from_bare(codec, raw, some, side)):
        assert all(torch.equal(a[mask], b[mask]) for a, b, mask in zip(found, given, some, strict=True))
    with pytest.raises(ValueError, match="are the most that it can have"):
        from_bare(codec, raw + b"\0", some, side)
