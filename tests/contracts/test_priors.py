"""What every prior promises, held to every member."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from vqkit.checkpoint import build, config_of
from vqkit.codec import Codec
from vqkit.priors import (
    Choice,
    IndependentPrior,
    LearnedUnigramPrior,
    MaskedTransformerPrior,
    NextScalePrior,
    PixelCNN,
    Prior,
    Stack,
    Step,
    SuccessiveRefinementPrior,
    TransformerPrior,
    UniformPrior,
    UnigramPrior,
    WaveNet,
    drive,
    sample,
    score,
)
from vqkit.priors.conditional import ConditionalPrior
from vqkit.signal import Indices, Layout, Side

LAYOUTS = {
    "one level": Layout(((4, 4),), ((11,),)),
    "classes": Layout(((3, 4),), ((6,),), 3),
    "two levels": Layout(((2, 2), (4, 4)), ((5,), (9,)), 3),
    "codebooks": Layout(((2, 3),), ((7, 2, 4),)),
    "levels of codebooks, 1d": Layout(((3,), (6,)), ((4, 3), (2, 8)), 2),
    "video": Layout(((2, 2, 2),), ((5,),)),
    "codebooks, 1d": Layout(((7,),), ((3, 6),), 2),
    "codebooks of video": Layout(((2, 3, 2),), ((4, 3, 5),), 3),
    "two stages": Layout(((3, 4),), ((5, 5, 3, 3),), 2),
}
PRIORS: dict[str, Callable[[Layout], Prior]] = {
    "uniform": UniformPrior,
    "unigram": lambda layout: counted(UnigramPrior(layout)),
    "learned unigram": lambda layout: shaken(LearnedUnigramPrior(layout)),
    "transformer": lambda layout: shaken(TransformerPrior(layout, width=32, depth=2, heads=2)),
    "transformer of random orders": lambda layout: shaken(
        TransformerPrior(layout, width=32, depth=1, heads=2, codebook_layers=1, random_order_updates=5)
    ),
    "pixelcnn": lambda layout: shaken(PixelCNN(layout, width=8, depth=2)),
    "pixelcnn of positions": lambda layout: shaken(PixelCNN(layout, width=8, depth=2, in_turn=False)),
    "pixelsnail": lambda layout: shaken(PixelCNN(layout, width=16, depth=2, attention_every=1, heads=2)),
    "wavenet": lambda layout: shaken(WaveNet(layout, width=8, depth=4, cycle=3)),
    "next scale": lambda layout: shaken(NextScalePrior(layout, width=32, depth=2, heads=2)),
    "stack": lambda layout: shaken(Stack(layout, parts(layout), width=8, residual_layers=1)),
    "stack of codebooks": lambda layout: shaken(
        Stack(layout, parts(layout, len(layout.codebook_sizes[0])), width=8, residual_layers=1)
    ),
    "masked": lambda layout: shaken(MaskedTransformerPrior(layout, width=32, depth=1, joint_depth=1, heads=2, steps=3)),
    "refinement": lambda layout: shaken(
        SuccessiveRefinementPrior(layout, max(1, len(layout.codebook_sizes[0]) // 2), width=8, depth=2)
    ),
}
WITH_CONTEXT: dict[str, Callable[[Layout], Prior]] = {
    "transformer": lambda layout: shaken(TransformerPrior(layout, width=32, depth=2, heads=2, context_channels=2)),
    "pixelcnn": lambda layout: shaken(PixelCNN(layout, width=8, depth=2, context_channels=2)),
    "pixelcnn of positions": lambda layout: shaken(
        PixelCNN(layout, width=8, depth=2, in_turn=False, context_channels=2)
    ),
    "pixelsnail": lambda layout: shaken(
        PixelCNN(layout, width=16, depth=2, attention_every=1, heads=2, context_channels=2)
    ),
    "wavenet": lambda layout: shaken(WaveNet(layout, width=8, depth=4, cycle=3, context_channels=2)),
    "stack": lambda layout: shaken(
        Stack(
            layout,
            [partial(PixelCNN, width=8, depth=2, context_channels=4), partial(WaveNet, width=8, context_channels=4)],
            width=8,
            context_channels=2,
        )
    ),
    "masked": lambda layout: shaken(
        MaskedTransformerPrior(layout, width=32, depth=1, joint_depth=1, heads=2, steps=3, context_channels=2)
    ),
    "refinement": lambda layout: shaken(SuccessiveRefinementPrior(layout, 2, width=8, depth=2, context_channels=2)),
}
TOLD_OF = {"stack": "two levels", "refinement": "two stages"}  # the layout that they are given a context with
OF_STAGES = {"one level", "video", "two stages"}
ONE_LEVEL = {"refinement", "pixelcnn", "pixelcnn of positions", "pixelsnail", "wavenet", "stack of codebooks"}
OWN_ORDER = {"masked"}  # what is known decides which positions come next
BATCH = 3


def shaken(prior: Prior) -> Prior:
    """Weights that make a far from uniform prior, without training one."""
    generator = torch.Generator().manual_seed(0)
    for parameter in prior.parameters():
        parameter.data += 0.15 * torch.randn(parameter.shape, generator=generator)
    return prior.eval()


def parts(layout: Layout, number: int = 0) -> list[Callable[[Layout], Prior]]:
    """Of a stack: a small PixelCNN a level, or so many."""
    channels = [0, *[4] * ((number or len(layout.grids)) - 1)]
    return [partial(PixelCNN, width=8, depth=2, context_channels=c) for c in channels]


def counted(prior: UnigramPrior) -> Prior:
    prior.fit([(random_indices(prior.layout, 4, seed=1), {})])
    return prior


def random_indices(layout: Layout, batch: int = BATCH, seed: int = 0) -> Indices:
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.stack([torch.randint(size, (batch, *grid), generator=generator) for size in sizes], 1)
        for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True)
    )


def labels(layout: Layout, batch: int = BATCH) -> Side:
    return {"label": torch.arange(batch) % layout.classes} if layout.classes else {}


def steps(
    prior: Prior,
    indices: Indices,
    side: Side,
    known: Indices | None = None,
    guidance: float = 1.0,
    context: Tensor | None = None,
) -> list[Step]:
    """The steps of the walk that is sent `indices`."""
    found: list[Step] = []

    def choose(step: Step) -> Tensor:
        found.append(step)
        return at(indices, step)

    drive(prior.walk(prior.layout, len(indices[0]), side, context, known, guidance), choose)
    return found


def at(indices: Indices, step: Step) -> Tensor:
    """What stands at a step's positions, [B, n]."""
    level = indices[step.level].flatten(1)
    return level.gather(1, step.positions.expand(len(level), -1))


CASES = {
    f"{prior}-{name}": (prior, layout)
    for prior in PRIORS
    for name, layout in LAYOUTS.items()
    if len(layout.grids) == 1 or prior not in ONE_LEVEL
    if prior != "refinement" or name in OF_STAGES
}


@pytest.fixture(params=CASES)
def prior(request: pytest.FixtureRequest) -> Prior:
    torch.manual_seed(0)
    name, layout = CASES[request.param]
    return PRIORS[name](layout)


@pytest.fixture(params=[case for case, (name, _) in CASES.items() if name not in OWN_ORDER])
def ordered_prior(request: pytest.FixtureRequest) -> Prior:
    """Those that have one order of all positions, whatever is known, and learn by the likelihood in that order."""
    torch.manual_seed(0)
    name, layout = CASES[request.param]
    return PRIORS[name](layout)


def test_log_prob_is_the_score_of_the_walk(prior: Prior) -> None:
    indices, side = random_indices(prior.layout), labels(prior.layout)
    for fast, slow, level in zip(prior.log_prob(indices, side), score(prior, indices, side), indices, strict=True):
        assert fast.shape == level.shape and fast.dtype == slow.dtype == torch.float32
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=0)


def test_a_double_copy_walks_in_float64_alike_on_every_machine(prior: Prior) -> None:
    """Whatever the order in which its sums are taken: alone, in a batch, by one thread or two."""
    held_to_float64(prior, random_indices(prior.layout), labels(prior.layout))


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_a_context_is_taken_in_float64(name: str) -> None:
    torch.manual_seed(0)
    prior = WITH_CONTEXT[name](LAYOUTS[TOLD_OF.get(name, "classes")])
    context = torch.randn(BATCH, 2, 3, 2, generator=torch.Generator().manual_seed(0))
    held_to_float64(prior, random_indices(prior.layout), labels(prior.layout), context)


def test_a_bfloat16_copy_gives_its_logits_in_float32(prior: Prior) -> None:
    indices, side = random_indices(prior.layout), labels(prior.layout)
    half = copy.deepcopy(prior).bfloat16()
    assert {step.logits.dtype for step in steps(half, indices, side)} == {torch.float32}
    exact = torch.cat([level.flatten() for level in prior.log_prob(indices, side)]).mean()
    for method in (half.log_prob, partial(score, half)):
        nats = torch.cat([level.flatten() for level in method(indices, side)])
        assert nats.dtype == torch.float32
        torch.testing.assert_close(nats.mean(), exact, atol=0.05, rtol=0)


def held_to_float64(prior: Prior, indices: Indices, side: Side, context: Tensor | None = None) -> None:
    double = copy.deepcopy(prior).double()
    walked = steps(double, indices, side, context=context)
    assert {step.logits.dtype for step in walked} == {torch.float64}
    for fast, slow, rough in zip(
        double.log_prob(indices, side, context),
        score(double, indices, side, context),
        prior.log_prob(indices, side, context),
        strict=True,
    ):
        assert fast.dtype == slow.dtype == torch.float64
        torch.testing.assert_close(fast, slow, atol=1e-9, rtol=0)
        torch.testing.assert_close(fast.float(), rough, atol=1e-4, rtol=0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        held_together(walked, steps(double, indices, side, context=context), slice(None))
    finally:
        torch.set_num_threads(threads)
    one = slice(1, 2)
    alone = tuple(level[one] for level in indices), {name: value[one] for name, value in side.items()}
    held_together(walked, steps(double, *alone, context=None if context is None else context[one]), one)


def held_together(many: list[Step], few: list[Step], which: slice) -> None:
    """Whether the steps of some of the samples are alike, their logits within a quarter of what a codec may ignore."""
    for a, b in zip(many, few, strict=True):
        assert torch.equal(a.positions.expand(BATCH, -1)[which], b.positions.expand(BATCH, -1)[which])
        wanted = a.logits.expand(BATCH, -1, -1)[which]
        torch.testing.assert_close(b.logits.expand_as(wanted), wanted, atol=2**-32, rtol=0)


def test_loss_is_the_mean_of_log_prob(ordered_prior: Prior) -> None:
    prior = ordered_prior
    indices, side = random_indices(prior.layout), labels(prior.layout)
    nats = torch.cat([level.flatten() for level in prior.log_prob(indices, side)])
    torch.testing.assert_close(prior.loss(indices, side), -nats.mean(), atol=1e-5, rtol=0)


def test_every_symbol_has_a_conditional(ordered_prior: Prior) -> None:
    """They sum to one over exactly the alphabet, and those of the true symbols are `log_prob`."""
    prior = ordered_prior
    indices, side = random_indices(prior.layout), labels(prior.layout)
    levels = zip(prior.log_conditionals(indices, side), prior.log_prob(indices, side), indices, strict=True)
    for (log_p, true, symbols), sizes in zip(levels, prior.layout.codebook_sizes, strict=True):
        assert log_p.dtype == torch.float32 and log_p.shape == (BATCH, len(sizes), max(sizes), *symbols.shape[2:])
        assert log_p.requires_grad == bool(list(prior.parameters()))
        torch.testing.assert_close(log_p.gather(2, symbols[:, :, None])[:, :, 0], true, atol=1e-5, rtol=0)
        torch.testing.assert_close(log_p.exp().sum(2), torch.ones_like(true), atol=1e-5, rtol=0)
        inside = torch.arange(max(sizes)) < torch.tensor(sizes)[:, None]
        assert torch.equal((log_p > -torch.inf).movedim(2, -1).flatten(2, -2).all(2), inside.expand(BATCH, -1, -1))
    for wrong in (indices + indices[:1], tuple(level + 99 for level in indices)):
        with pytest.raises(ValueError, match=r"; (give|tokenize)"):
            prior.log_conditionals(wrong, side)


def test_a_prior_of_no_fixed_order_names_those_that_have_conditionals() -> None:
    layout = LAYOUTS["one level"]
    with pytest.raises(ValueError, match=r"MaskedTransformerPrior does not tell.*TransformerPrior"):
        PRIORS["masked"](layout).log_conditionals(random_indices(layout), {})


def test_where_all_labels_are_hidden_there_are_none(prior: Prior) -> None:
    indices, layout = random_indices(prior.layout), prior.layout
    if not (prior.knows_classes and isinstance(prior, ConditionalPrior)):
        return
    prior.label_dropout = 1.0
    assert not prior.knows_classes and not prior.guidable
    torch.manual_seed(0)
    prior.train().loss(indices, {}).backward()
    told, untold = (prior.eval().log_prob(indices, side) for side in (labels(layout), {}))
    assert all(map(torch.equal, told, untold))


def test_a_sample_does_not_depend_on_its_batch(prior: Prior) -> None:
    indices, side = random_indices(prior.layout), labels(prior.layout)
    alone = {name: value[1:2] for name, value in side.items()}
    one = prior.log_prob(tuple(level[1:2] for level in indices), alone)
    for many, single in zip(prior.log_prob(indices, side), one, strict=True):
        torch.testing.assert_close(many[1:2], single, atol=1e-5, rtol=0)


def test_logits_are_of_each_codebooks_alphabet(prior: Prior) -> None:
    for step in steps(prior, random_indices(prior.layout), labels(prior.layout)):
        sizes = torch.tensor(prior.layout.codebook_sizes[step.level])
        cells = prior.layout.tokens[step.level] // len(sizes)
        assert step.logits.dtype == torch.float32 and step.logits.shape[1] in (1, step.positions.shape[1])
        alphabets, logits = sizes[step.positions // cells], step.logits.expand(-1, step.positions.shape[1], -1)
        inside = torch.arange(logits.shape[2]) < alphabets[..., None]
        assert torch.equal(logits > -torch.inf, inside.expand_as(logits))
        assert torch.equal(inside.sum(-1), alphabets)  # no symbol is out of reach
        torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones(logits.shape[:2]))


def test_each_unknown_position_is_yielded_once(prior: Prior) -> None:
    indices, side = random_indices(prior.layout), labels(prior.layout)
    for known in (None, some_known(indices)):
        walked = steps(prior, indices, side, known)
        assert [step.level for step in walked] == sorted(step.level for step in walked)
        for number, level in enumerate(indices):
            yielded = torch.cat(
                [torch.zeros(BATCH, 0, dtype=torch.int64)]
                + [s.positions.expand(BATCH, -1) for s in walked if s.level == number],
                1,
            )
            wanted = torch.ones_like(level[0]) > 0 if known is None else known[number][0] < 0
            for positions in yielded:
                assert torch.equal(positions.sort()[0], wanted.flatten().nonzero()[:, 0])


def some_known(indices: Indices) -> Indices:
    """Two of three symbols, the same positions in every sample: single gaps, runs and a known end."""
    unknown = [(torch.arange(level[0].numel()) % 3 == 1).view(level.shape[1:]) for level in indices]
    return tuple(level.masked_fill(gap, -1) for level, gap in zip(indices, unknown, strict=True))


def all_but(indices: Indices, t: int) -> Indices:
    """All symbols known but that of one position, counted over the levels."""
    unknown = torch.zeros(sum(level[0].numel() for level in indices), dtype=torch.bool)
    unknown[t] = True
    parts = unknown.split([level[0].numel() for level in indices])
    return tuple(level.masked_fill(gap.view(level.shape[1:]), -1) for level, gap in zip(indices, parts, strict=True))


def test_known_symbols_condition_the_rest(ordered_prior: Prior) -> None:
    prior = ordered_prior
    indices, side = random_indices(prior.layout), labels(prior.layout)
    log_prob = prior.log_prob(indices, side)
    for step in steps(prior, indices, side, some_known(indices)):
        symbols = at(indices, step)[..., None]
        nats = step.logits.log_softmax(-1).expand(*symbols.shape[:2], -1).gather(-1, symbols)[..., 0]
        torch.testing.assert_close(nats, at(log_prob, step), atol=1e-4, rtol=0)


def test_a_sample_keeps_what_is_known(prior: Prior) -> None:
    known = some_known(random_indices(prior.layout))
    generator = torch.Generator().manual_seed(0)
    drawn = sample(prior, prior.layout, BATCH, labels(prior.layout), known=known, generator=generator)
    for level, given, sizes in zip(drawn, known, prior.layout.codebook_sizes, strict=True):
        assert torch.equal(level[given >= 0], given[given >= 0])
        for symbols, size in zip(level.unbind(1), sizes, strict=True):
            assert int(symbols.min()) >= 0 and int(symbols.max()) < size
    everything = random_indices(prior.layout)
    kept = sample(prior, prior.layout, BATCH, labels(prior.layout), known=everything)
    assert all(map(torch.equal, kept, everything))


def test_guidance_moves_on_from_the_logits_of_no_class_through_those_of_the_class(prior: Prior) -> None:
    layout, indices, side = prior.layout, random_indices(prior.layout), labels(prior.layout)
    assert prior.guidable == (bool(layout.classes) and not isinstance(prior, IndependentPrior))
    if not prior.guidable:
        with pytest.raises(ValueError, match="leave guidance out"):
            sample(prior, layout, BATCH, side, choice=Choice(guidance=2.0))
        return
    total = sum(layout.tokens)
    for t in range(0, total, -(-total // 6)):
        known = all_but(indices, t)  # guidance may change the order of several
        (told,), (none,) = steps(prior, indices, side, known), steps(prior, indices, {}, known)
        (guided,) = steps(prior, indices, side, known, guidance=2.5)
        assert torch.equal(guided.positions, told.positions) and torch.equal(guided.positions, none.positions)
        inside = told.logits[0, 0] > -torch.inf
        assert bool((guided.logits[..., inside].isfinite()).all()) and bool((guided.logits[..., ~inside] < 0).all())
        assert torch.equal(guided.logits == -torch.inf, told.logits == -torch.inf)
        wanted = (none.logits + 2.5 * (told.logits - none.logits))[..., inside]
        torch.testing.assert_close(
            guided.logits[..., inside].log_softmax(-1), wanted.log_softmax(-1), atol=1e-4, rtol=0
        )
    for scale in (-1.0, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="guidance is"):
            sample(prior, layout, BATCH, side, choice=Choice(guidance=scale))
    with pytest.raises(ValueError, match="no label to guide to"):
        sample(prior, layout, BATCH, {}, choice=Choice(guidance=2.0))


def test_a_seed_repeats_a_sample(prior: Prior) -> None:
    side = labels(prior.layout)
    first, again = (
        sample(prior, prior.layout, BATCH, side, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert all(map(torch.equal, first, again))


@pytest.mark.parametrize("name", PRIORS)
def test_probabilities_sum_to_one_and_sampled_frequencies_agree_with_them(name: str) -> None:
    """Chi-square over all outcomes of a tiny layout, 36 or 81."""
    books = (3, 3) if name == "refinement" else (2, 3)
    prior, n = PRIORS[name](Layout(((2,),), (books,))), 20_000
    outcomes = torch.cartesian_prod(*(torch.arange(size) for size in books for _ in range(2)))
    p = prior.log_prob((outcomes.view(-1, 2, 2),), {})[0].detach().double().sum((1, 2)).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-5)
    drawn = sample(prior, prior.layout, n, {}, generator=torch.Generator().manual_seed(0))[0].flatten(1)
    counts = (drawn[:, None] == outcomes).all(-1).sum(0)
    most = {36: 66.7, 81: 124.9}[len(outcomes)]  # 0.1 % of 35 and of 80 degrees of freedom
    assert float(((counts - n * p) ** 2 / (n * p)).sum()) < most


def test_the_state_dict_round_trips(prior: Prior) -> None:
    other = build(config_of(prior))
    other.load_state_dict(prior.state_dict())
    indices, side = random_indices(prior.layout), labels(prior.layout)
    assert all(map(torch.equal, other.eval().log_prob(indices, side), prior.log_prob(indices, side)))


def test_it_refuses_what_is_not_of_its_layout(prior: Prior) -> None:
    indices, side = random_indices(prior.layout), labels(prior.layout)
    beyond = (indices[0].clone(), *indices[1:])
    beyond[0].view(-1)[0] = max(prior.layout.codebook_sizes[0])
    for wrong in (beyond, (beyond[0] * 0 - 1, *indices[1:]), indices + indices[:1], (indices[0].float(), *indices[1:])):
        for method in (prior.loss, prior.log_prob, lambda i, s: score(prior, i, s)):
            with pytest.raises(ValueError, match=r"; (give|tokenize)"):
                method(wrong, side)
    other = prior.layout._replace(codebook_sizes=tuple((99,) * len(s) for s in prior.layout.codebook_sizes))
    with pytest.raises(ValueError, match="train one for the tokens"):
        sample(prior, other, BATCH, side)
    uneven = tuple(level.clone() for level in indices)
    uneven[0][0].view(-1)[0] = -1
    with pytest.raises(ValueError, match="separate batches"):
        sample(prior, prior.layout, BATCH, side, known=uneven)
    with pytest.raises(ValueError, match="one sample for each"):
        sample(prior, prior.layout, BATCH + 1, labels(prior.layout, BATCH + 1), known=indices)


@torch.no_grad()
def test_a_closed_form_is_of_the_last_stream_alone_and_other_priors_are_left_as_they_are(prior: Prior) -> None:
    side, stream = labels(prior.layout), [(random_indices(prior.layout), labels(prior.layout))]
    before = prior.log_prob(stream[0][0], side)
    assert prior.fit(stream) == (not list(prior.parameters()))
    once = prior.log_prob(stream[0][0], side)
    if list(prior.parameters()):
        assert all(torch.equal(a, b) for a, b in zip(before, once, strict=True))
    assert sum(float(nats.sum()) for nats in once) >= sum(float(nats.sum()) for nats in before)
    prior.fit([(random_indices(prior.layout, seed=2), side)])
    prior.fit(stream)
    assert all(torch.equal(a, b) for a, b in zip(once, prior.log_prob(stream[0][0], side), strict=True))


def test_the_codec_gives_the_indices_back_at_the_rate_that_the_prior_promises(prior: Prior) -> None:
    codec, indices, side = Codec(prior), random_indices(prior.layout), labels(prior.layout)
    coded = tuple(torch.ones_like(level, dtype=torch.bool) for level in indices)
    chunk = codec.encode(indices, coded, side)
    assert all(map(torch.equal, codec.decode(chunk, coded, side), indices))
    bits = -sum(float(nats.sum()) for nats in codec.prior.log_prob(indices, side)) / math.log(2)
    assert 0.98 * bits - 8 <= 8 * len(chunk.payload) <= 1.02 * bits + 12  # few symbols: rounding is up to 1/32 nat each
    for row in range(BATCH):  # however they are batched
        alone = tuple(level[row : row + 1] for level in indices)
        told = {name: fact[row : row + 1] for name, fact in side.items()}
        one = tuple(level[:1] for level in coded)
        assert all(map(torch.equal, codec.decode(codec.encode(alone, one, told), one, told), alone))


def test_the_codec_leaves_out_what_is_not_coded(prior: Prior) -> None:
    codec, indices, side = Codec(prior), random_indices(prior.layout), labels(prior.layout)
    coded = tuple(torch.rand(level.shape) < 0.6 for level in indices)[: max(1, len(indices) - 1)]
    found = codec.decode(codec.encode(indices, coded, side), coded, side)
    for level, back, mask in zip(indices, found, coded, strict=False):
        assert torch.equal(level[mask], back[mask])


@pytest.mark.parametrize("name", WITH_CONTEXT)
def test_the_codec_hands_a_context_down(name: str) -> None:
    layout = LAYOUTS[TOLD_OF.get(name, "one level")]
    codec, indices, side = Codec(WITH_CONTEXT[name](layout)), random_indices(layout), labels(layout)
    coded, context = (
        tuple(torch.ones_like(level, dtype=torch.bool) for level in indices),
        torch.randn(BATCH, 2, 4, 4).double(),
    )
    chunk = codec.encode(indices, coded, side, context)
    assert all(map(torch.equal, codec.decode(chunk, coded, side, context), indices))
    with pytest.raises(ValueError, match=r"other indices|payload"):
        codec.decode(chunk, coded, side, -context)
