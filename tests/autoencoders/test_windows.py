"""Samples of any size in windows: the same as a pass of the whole, in bounded memory; or a refusal."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vqkit.autoencoders import (
    PCA,
    Architecture,
    Autoencoder,
    Convolutional,
    FeedForwardDecoder,
    MultiscaleResidual,
    ProjectedLevel,
    decode_any,
    encode_any,
    grids_of,
    reconstruct_any,
    takes_any_size,
)
from vqkit.bottlenecks import (
    Bottleneck,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GaussianBottleneck,
    Identity,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    ResidualQuantizer,
    VectorQuantizer,
)
from vqkit.likelihoods import Categorical, Gaussian, LogisticMixture
from vqkit.nn import Pyramid
from vqkit.nn.attention import Attention
from vqkit.priors import PixelCNN
from vqkit.signal import Batch, Signal

DIM, SIZE = 4, 16
SIGNALS = {
    1: Signal(2, (16,), -3.0, 5.0, None),
    2: Signal(3, (8, 16), 0.0, 255.0, 256, ("cat", "dog")),
    3: Signal(1, (8, 8, 8), 0.0, 255.0, 256),
}


def architecture(bottleneck: Bottleneck | None = None, halvings: int | list[int] = 2, **named: Any) -> Architecture:
    nets = {"width": 8, "residual_layers": 1, "residual_width": 4, "likelihood": Gaussian()} | named
    return Convolutional(bottleneck or EMAVectorQuantizer(DIM, SIZE), halvings=halvings, **nets)


MODELS: dict[str, tuple[int, tuple[int, ...], int, Architecture]] = {  # axes, size of a sample, window
    "sound": (1, (301,), 80, architecture()),
    "sound of two levels": (1, (250,), 16, architecture(halvings=[3, 1])),
    "pictures": (2, (37, 90), 16, architecture()),
    "pictures, many layers": (2, (61, 65), 32, architecture(halvings=1, residual_layers=4)),
    "pictures, no halving": (2, (21, 23), 6, architecture(halvings=0)),
    "pictures, no residual layer": (2, (50, 40), 8, architecture(halvings=3, residual_layers=0)),
    "two levels": (2, (70, 99), 24, architecture(halvings=[2, 1], level_dropout=0.3)),
    "two levels, far apart": (2, (21, 26), 1, architecture(halvings=[3, 0])),
    "three levels": (2, (61, 50), 25, architecture(halvings=[3, 2, 0], level_dropout=0.3)),
    "video": (3, (14, 28, 9), 8, architecture(residual_layers=0)),
    "video of two levels": (3, (10, 16, 20), 8, architecture(halvings=[2, 1], residual_layers=0)),
}


def made(name: str) -> tuple[Autoencoder, Tensor, int]:
    """The model, two samples that are not of its size, and the window. Its weights are large enough for what is far
    away to be seen in float32."""
    dims, size, window, make = MODELS[name]
    model = prepared(make, SIGNALS[dims])
    return model, samples(model.signal, size), window


def prepared(make: Architecture, signal: Signal) -> Autoencoder:
    model = make(signal).eval()
    for net in model.modules():
        if isinstance(net, nn.modules.conv._ConvNd):
            net.weight.data *= 2
    x = samples(signal, signal.grid, 16)
    model.initialise(lambda: [Batch(x, None, {}, [])])
    return model


def samples(signal: Signal, size: tuple[int, ...], count: int = 2) -> Tensor:
    return signal.to_native(signal.low + (signal.high - signal.low) * torch.rand(count, signal.channels, *size))


def padded(x: Tensor, multiple: int) -> Tensor:
    sides = [side for n in reversed(x.shape[2:]) for side in (0, -n % multiple)]
    return F.pad(x.float(), sides, mode="replicate")


def coarsest(model: Autoencoder) -> int:
    return model.signal.grid[0] // model.grids()[0][0]


def z_es(model: Autoencoder, run: Callable[[], object]) -> list[list[Tensor]]:
    """Every z_e that a bottleneck is given meanwhile, by level."""
    found: list[list[Tensor]] = [[] for _ in model.bottlenecks]
    hooks = [
        bottleneck.register_forward_pre_hook(lambda _, given, parts=parts: parts.append(given[0]))
        for bottleneck, parts in zip(model.bottlenecks, found, strict=True)
    ]
    run()
    for hook in hooks:
        hook.remove()
    return found


# ---------------------------------------------------------------- the same as the whole


@pytest.mark.parametrize("name", MODELS)
def test_windows_give_what_the_whole_gives(name: str) -> None:
    model, x, window = made(name)
    whole = padded(x, coarsest(model))
    wanted, found = model.encode(whole), encode_any(model, x, window)
    assert grids_of(model, tuple(x.shape[2:])) == tuple(tuple(level.shape[2:]) for level in wanted)
    for a, b in zip(wanted, found, strict=True):
        assert b.dtype == torch.int64 and len(a.unique()) > 3 and torch.equal(a, b)
    x_hat = model.decode(wanted)[(..., *(slice(n) for n in x.shape[2:]))]
    assert float(x_hat.std()) > 1e-3 * (model.signal.high - model.signal.low)
    tolerance = 1e-5 * (model.signal.high - model.signal.low)
    for back in (decode_any(model, found, {}, tuple(x.shape[2:]), window), reconstruct_any(model, x, {}, None, window)):
        assert back.shape == x.shape and back.dtype == torch.float32
        torch.testing.assert_close(back, x_hat, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", ["sound of two levels", "pictures", "three levels", "video"])
def test_z_e_is_that_of_the_whole_up_to_rounding(name: str) -> None:
    dims, size, window, make = MODELS[name]
    assert isinstance(make, Convolutional)
    continuous = architecture(Identity(DIM), make.halvings, residual_layers=make.residual_layers, level_dropout=0)
    model = prepared(continuous, SIGNALS[dims])
    x = samples(model.signal, size, 1)
    wanted = z_es(model, lambda: model.latents(padded(x, coarsest(model))))
    found = z_es(model, lambda: reconstruct_any(model, x, {}, None, window))
    for (whole,), cores in zip(wanted, found, strict=True):
        assert len(cores) > 3 and sum(core.numel() for core in cores) == whole.numel()
        joined = torch.cat([core.flatten() for core in cores]).sort().values
        torch.testing.assert_close(joined, whole.flatten().sort().values, atol=1e-5, rtol=1e-5)
    back = reconstruct_any(model, x, {}, None, window)
    again = model.reconstruct(padded(x, coarsest(model)))[(..., *(slice(n) for n in size))]
    torch.testing.assert_close(back, again, atol=1e-5 * (model.signal.high - model.signal.low), rtol=0)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_coarsest_levels_alone_are_decoded_as_in_the_whole(levels: int) -> None:
    model, x, window = made("three levels")
    size = tuple(x.shape[2:])
    kept = encode_any(model, x, window)[:levels]
    wanted = model.decode(kept)[..., : size[0], : size[1]]
    torch.testing.assert_close(decode_any(model, kept, {}, size, window), wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(reconstruct_any(model, x, {}, levels, window), wanted, atol=1e-3, rtol=0)


ODD_NETS = {
    "sub-pixel": (
        nn.Sequential(nn.Conv2d(3, 8, 5, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 8, 3, padding=4, dilation=4)),
        nn.Sequential(nn.Conv2d(DIM, 18, 5, padding=2), nn.PixelShuffle(3), nn.GELU(), nn.Conv2d(2, 3, 3, padding=1)),
    ),
    "interpolation": (
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, (3, 4), (2, 2), padding=1)),
        nn.Sequential(
            nn.Conv2d(DIM, 8, 1), nn.Upsample(scale_factor=4, mode="bilinear"), nn.Conv2d(8, 3, 5, padding=2)
        ),
    ),
    "transposed": (
        nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, padding=1)),
        nn.Sequential(nn.ConvTranspose2d(DIM, 8, 3, 2, padding=1, output_padding=1), nn.ConvTranspose2d(8, 3, 8, 4, 2)),
    ),
}


@pytest.mark.parametrize("name", ODD_NETS)
def test_nets_of_torchs_own_layers_give_what_the_whole_gives(name: str) -> None:
    encoder, net = ODD_NETS[name]
    signal = SIGNALS[2]._replace(grid=(24, 48))
    level = ProjectedLevel(8, EMAVectorQuantizer(DIM, SIZE))
    model = Autoencoder(signal, Pyramid([encoder]), [level], FeedForwardDecoder(signal, net, Gaussian()))
    model.initialise(lambda: [Batch(samples(signal, signal.grid, 16), None, {}, [])])
    assert takes_any_size(model)
    x = samples(signal, (50, 70))
    wanted, found = model.encode(padded(x, coarsest(model))), encode_any(model, x, 13)
    assert len(wanted[0].unique()) > 3 and torch.equal(wanted[0], found[0])
    x_hat = model.decode(wanted)[..., :50, :70]
    assert float(x_hat.std()) > 0.1
    back = decode_any(model, found, {}, (50, 70), 13)
    torch.testing.assert_close(back, x_hat, atol=1e-3, rtol=0)
    for rounded in (
        decode_any(model, found, {}, (50, 70), 13, rounded=True),
        reconstruct_any(model, x, {}, window=13, rounded=True),
    ):
        assert rounded.dtype == signal.to_native(back).dtype
        torch.testing.assert_close(rounded.float(), back, atol=0.501, rtol=0)


BOTTLENECKS = [
    VectorQuantizer(DIM, SIZE),
    CosineSimilarityQuantizer(EMAVectorQuantizer(DIM, SIZE)),
    ProjectedQuantizer(EMAVectorQuantizer(2, SIZE), DIM),
    ProductQuantizer([EMAVectorQuantizer(2, SIZE), VectorQuantizer(2, 5)]),
    ResidualQuantizer(VectorQuantizer(DIM, SIZE), depth=3),
    FiniteScalarQuantizer((3, 5, 4)),
    LookupFreeQuantizer(3),
]


@pytest.mark.parametrize("bottleneck", BOTTLENECKS, ids=lambda bottleneck: type(bottleneck).__name__)
def test_every_kind_of_quantizer_is_position_by_position(bottleneck: Bottleneck) -> None:
    model = prepared(architecture(bottleneck, [2, 1]), SIGNALS[2])
    x = samples(model.signal, (24, 44))
    for wanted, found in zip(model.encode(x), encode_any(model, x, 8), strict=True):
        assert torch.equal(wanted, found)


DECODERS: dict[str, dict[str, Any]] = {
    "categorical": {"likelihood": Categorical()},
    "mixture": {"likelihood": LogisticMixture(2)},
    "told the class": {"label_dim": 3},
    "autoregressive": {"value_prior": lambda layout: PixelCNN(layout, 8, 1, context_channels=4)},
}


@pytest.mark.parametrize("kind", DECODERS)
def test_every_kind_of_decoder_gives_what_the_whole_gives(kind: str) -> None:
    model = prepared(architecture(**DECODERS[kind]), SIGNALS[2])
    x, side = samples(model.signal, (24, 40)), {"label": torch.tensor([0, 1])}
    back = reconstruct_any(model, x, side, window=8)
    torch.testing.assert_close(back, model.reconstruct(x, side), atol=1e-3, rtol=0)


def test_without_anything_discrete_there_is_a_reconstruction_alone() -> None:
    model = prepared(architecture(GaussianBottleneck(DIM)), SIGNALS[2])
    x = samples(model.signal, (24, 40))
    torch.testing.assert_close(reconstruct_any(model, x, {}, window=8), model.reconstruct(x), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="GaussianBottleneck has no indices"):
        encode_any(model, x)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (8, 16), (9, 16)])
def test_samples_that_are_small_or_of_the_tokenizers_own_size(size: tuple[int, ...]) -> None:
    model = prepared(architecture(), SIGNALS[2])
    x = samples(model.signal, size)
    found = encode_any(model, x)
    assert torch.equal(found[0], model.encode(padded(x, 4))[0])
    x_hat = decode_any(model, found, {}, size)
    assert x_hat.shape == x.shape
    torch.testing.assert_close(reconstruct_any(model, x, {}), x_hat)
    assert size != model.signal.grid or torch.equal(x_hat, model.reconstruct(x))


def test_the_modes_are_left_alone_and_there_is_no_gradient() -> None:
    model = architecture()(SIGNALS[2]).train()
    x = samples(model.signal, (24, 40))
    x_hat = decode_any(model, encode_any(model, x, 8), {}, (24, 40), 8)
    assert not x_hat.requires_grad and all(module.training for module in model.modules())


# ---------------------------------------------------------------- memory


class _Live(TorchDispatchMode):
    """The most bytes of tensors that were made inside and alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        results = func(*args, **(kwargs or {}))
        for storage in [tensor.untyped_storage() for tensor in _tensors(results)]:
            address = storage.data_ptr()
            if address not in self._known | given:
                self._known.add(address)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, address, storage.nbytes())
        return results

    def _freed(self, address: int, size: int) -> None:
        self._known.discard(address)
        self.now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def peak(use: Callable[[], object]) -> int:
    with _Live() as live:
        use()
    return live.peak


def test_memory_is_that_of_a_window_and_of_the_result() -> None:
    model = architecture(halvings=[2, 1])(SIGNALS[1])
    peaks, results = [], []
    for size in (256, 1024):
        x = samples(model.signal, (size,), 1)
        indices = encode_any(model, x, 64)
        uses = (lambda: encode_any(model, x, 64), lambda: decode_any(model, indices, {}, (size,), 64))  # noqa: B023
        peaks.append([peak(use) for use in uses])
        results.append([sum(level.nbytes for level in indices), 4 * x.numel()])
    whole = [peak(lambda: model.encode(x)), peak(lambda: model.decode(indices))]
    for small, large, result, larger_result, at_once in zip(*peaks, *results, whole, strict=True):
        assert large - larger_result <= 1.02 * (small - result)
        assert large - larger_result < at_once / 2


# ---------------------------------------------------------------- refusals


def scales() -> Autoencoder:
    return MultiscaleResidual(EMAVectorQuantizer(DIM, SIZE), Gaussian(), 8, 1, residual_layers=1)(SIGNALS[2])


@pytest.mark.parametrize(
    ("model", "culprit"),
    [(PCA(FiniteScalarQuantizer((3, 5)), Gaussian())(SIGNALS[2]), "Flatten"), (scales(), "AreaPyramid")],
)
def test_what_knows_one_size_takes_that_and_refuses_others(model: Autoencoder, culprit: str) -> None:
    x, side = samples(model.signal, (8, 16)), {}
    indices = encode_any(model, x)
    assert all(torch.equal(a, b) for a, b in zip(indices, model.encode(x), strict=True))
    assert torch.equal(decode_any(model, indices, side, (8, 16)), model.decode(indices))
    assert torch.equal(reconstruct_any(model, x, side), model.reconstruct(x))
    assert grids_of(model, (8, 16)) == model.grids() and not takes_any_size(model)
    other = samples(model.signal, (16, 16))
    for use in (
        lambda: encode_any(model, other),
        lambda: decode_any(model, indices, side, (16, 16)),
        lambda: reconstruct_any(model, other, side),
        lambda: grids_of(model, (16, 16)),
    ):
        with pytest.raises(ValueError, match=f"^{culprit} is bound to samples of the size .*resize them to that"):
            use()


def test_attention_over_the_grid_is_refused() -> None:
    model = architecture()(SIGNALS[2])
    assert takes_any_size(model)
    encoder, decoder = model.encoder, model.decoder
    model.encoder = Pyramid([nn.Sequential(*encoder.stages, Attention(8, 2))])
    with pytest.raises(ValueError, match=r"^Attention is bound to samples"):
        encode_any(model, samples(model.signal, (16, 16)))
    model.encoder = encoder
    model.decoder = FeedForwardDecoder(model.signal, nn.Sequential(decoder.net, nn.GroupNorm(1, 3)), Gaussian())
    with pytest.raises(ValueError, match=r"^GroupNorm is bound to samples"):
        decode_any(model, (torch.zeros(1, 1, 4, 4).long(),), {}, (16, 16))


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    model = architecture(halvings=[2, 1])(SIGNALS[2])
    x = samples(model.signal, (10, 20))
    indices = encode_any(model, x)
    grids = "((3, 5), (6, 10))"
    for use, sentence in (
        (lambda: encode_any(model, x[:, :1]), "x has 1 channels and this tokenizer takes 3; convert it"),
        (lambda: encode_any(model, x[..., 0]), "the size of a sample is (10,); give 2 numbers of positions"),
        (lambda: encode_any(model, x[..., :0]), "the size of a sample is (10, 0); give 2 numbers"),
        (lambda: encode_any(model, x, 0), "window is 0; give positions along each axis"),
        (lambda: decode_any(model, indices, {}, (20, 10)), f"indices are on grids of {grids}, and those"),
        (lambda: decode_any(model, indices[:1], {}, (10, 20)), "never learned to decode 1 of its 2 levels"),
        (lambda: decode_any(model, (*indices, indices[1]), {}, (10, 20)), "levels is 3; give a number from 1 to 2"),
        (lambda: reconstruct_any(model, x, {}, 1), "never learned to decode 1 of its 2 levels"),
        (lambda: decode_any(model, (indices[0] + SIZE, indices[1]), {}, (10, 20)), "look up with the quantizer"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(sentence)):
            use()
