"""Several levels, in both layouts: VQ-VAE-2's, and scales that code what the coarser ones left."""

from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vqkit import checkpoint
from vqkit.autoencoders import Architecture, Autoencoder, Convolutional, MultiscaleResidual, ResidualLevel
from vqkit.autoencoders.autoencoder import shrink
from vqkit.bottlenecks import (
    Bottleneck,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GaussianBottleneck,
    Identity,
    ResidualQuantizer,
    VectorQuantizer,
)
from vqkit.data import Dataset, open_source, shuffled
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.nn import area
from vqkit.signal import Batch, Signal

SIGNALS = {
    "1d floats": Signal(2, (16,), -3.0, 5.0, None),
    "2d bytes": Signal(3, (8, 16), 0.0, 255.0, 256, ("cat", "dog")),
    "3d bytes": Signal(1, (8, 8, 8), 0.0, 255.0, 256),
}
PICTURES = SIGNALS["2d bytes"]
DIM, SIZE = 4, 16
NETS = {"width": 8, "residual_layers": 1, "residual_width": 4}


def two_levels(bottleneck: Bottleneck | list[Bottleneck] | None = None, level_dropout: float = 0.3) -> Architecture:
    bottleneck = bottleneck or EMAVectorQuantizer(DIM, SIZE)
    return Convolutional(bottleneck, Gaussian(), halvings=[2, 1], level_dropout=level_dropout, **NETS)


def three_levels(bottleneck: Bottleneck | list[Bottleneck] | None = None, level_dropout: float = 0.3) -> Architecture:
    bottleneck = bottleneck or EMAVectorQuantizer(DIM, SIZE)
    return Convolutional(bottleneck, Gaussian(), halvings=[3, 2, 0], level_dropout=level_dropout, **NETS)


def scales(bottleneck: Bottleneck | list[Bottleneck] | None = None, level_dropout: float = 0.0) -> Architecture:
    bottleneck = bottleneck or EMAVectorQuantizer(DIM, SIZE)
    return MultiscaleResidual(bottleneck, Gaussian(), halvings=1, level_dropout=level_dropout, scales=[1, 3, 4], **NETS)


def scales_of(signal: Signal) -> Architecture:
    made = scales()
    made.scales = None if min(signal.grid) > 8 else made.scales
    return made


LAYOUTS = {"two levels": two_levels, "three levels": three_levels, "scales": scales}
GRIDS = {
    ("two levels", "1d floats"): ((4,), (8,)),
    ("two levels", "2d bytes"): ((2, 4), (4, 8)),
    ("two levels", "3d bytes"): ((2, 2, 2), (4, 4, 4)),
    ("three levels", "1d floats"): ((2,), (4,), (16,)),
    ("three levels", "2d bytes"): ((1, 2), (2, 4), (8, 16)),
    ("three levels", "3d bytes"): ((1, 1, 1), (2, 2, 2), (8, 8, 8)),
    ("scales", "1d floats"): ((1,), (2,), (4,), (8,)),
    ("scales", "2d bytes"): ((1, 2), (3, 6), (4, 8)),
    ("scales", "3d bytes"): ((1, 1, 1), (3, 3, 3), (4, 4, 4)),
}


def batch(signal: Signal = PICTURES, count: int = 3, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = signal.low + (signal.high - signal.low) * torch.rand(count, signal.channels, *signal.grid, generator=generator)
    return Batch(signal.to_native(x), None, {}, [str(i) for i in range(count)])


def trained(architecture: Architecture, signal: Signal = PICTURES, steps: int = 3) -> Autoencoder:
    model = architecture(signal)
    model.initialise(lambda: [batch(signal, 8, seed) for seed in range(3)])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for seed in range(steps):
        optimizer.zero_grad()
        model(batch(signal, seed=seed)).loss.backward()
        optimizer.step()
        model.update()
    return model


@pytest.fixture(params=LAYOUTS, scope="module")
def pictures_model(request: pytest.FixtureRequest) -> Autoencoder:
    torch.manual_seed(0)
    return trained(LAYOUTS[request.param]())


# ---------------------------------------------------------------- encoding and decoding


@pytest.mark.parametrize(("layout", "name"), GRIDS)
def test_encode_decode_and_reconstruct_agree(layout: str, name: str) -> None:
    signal = SIGNALS[name]
    model = trained(scales_of(signal) if layout == "scales" else LAYOUTS[layout](), signal)
    x = batch(signal).x
    indices = model.encode(x)
    assert tuple(tuple(level.shape[2:]) for level in indices) == GRIDS[layout, name] == model.layout().grids
    assert model.layout().codebook_sizes == ((SIZE,),) * len(indices)
    assert all(level.dtype == torch.int64 for level in indices)
    x_hat = model.decode(indices)
    assert x_hat.shape == x.shape and x_hat.dtype == torch.float32
    assert torch.equal(x_hat, model.reconstruct(x))
    assert all(torch.equal(a.indices, b) for a, b in zip(model.latents(x), indices, strict=True))


def test_a_sample_is_coded_the_same_whatever_is_beside_it(pictures_model: Autoencoder) -> None:
    x = batch(count=5).x
    together = pictures_model.encode(x)
    for row in range(5):
        alone = pictures_model.encode(x[row : row + 1])
        assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, together, strict=True))
    torch.testing.assert_close(pictures_model.reconstruct(x[:1]), pictures_model.reconstruct(x)[:1])


def test_the_first_levels_decode_alone(pictures_model: Autoencoder) -> None:
    x = batch().x
    indices, seen = pictures_model.encode(x), []
    assert pictures_model.prefixes == tuple(range(1, len(indices) + 1))
    for levels in pictures_model.prefixes:
        seen.append(pictures_model.decode(indices[:levels]))
        assert torch.equal(seen[-1], pictures_model.reconstruct(x, levels=levels))
    assert all(not torch.equal(a, b) for a, b in pairwise(seen))


@torch.no_grad()
def test_a_level_that_is_left_out_has_a_z_of_zeros(pictures_model: Autoencoder) -> None:
    zs = [latent.z for latent in pictures_model.latents(batch().x)]
    filled = pictures_model.merge([zs[0], *(torch.zeros_like(z) for z in zs[1:])])
    assert torch.equal(pictures_model.merge(zs[:1]), filled)


def test_what_the_decoder_never_learned_to_do_without_is_refused() -> None:
    model = trained(two_levels(level_dropout=0.0), steps=1)
    x = batch().x
    assert model.prefixes == (2,)
    for use in (lambda: model.decode(model.encode(x)[:1]), lambda: model.reconstruct(x, levels=1)):
        with pytest.raises(ValueError, match=r"never learned to decode 1 of its 2 levels; .*tokenizer\.level_dropout"):
            use()
    assert torch.equal(model.reconstruct(x, levels=2), model.decode(model.encode(x)))
    for levels in (0, 3):
        with pytest.raises(ValueError, match=f"levels is {levels}; give a number from 1 to 2"):
            model.reconstruct(x, levels=levels)
    indices = model.encode(x)
    wrong = {
        "levels is 0": (),
        "levels is 3": (*indices, indices[1]),
        f"in codebook 1 of EMAVectorQuantizer, which has {SIZE} codes": (indices[0] + SIZE, indices[1]),
        "takes int64": (indices[0][:, 0], indices[1]),
    }
    for message, of_others in wrong.items():
        with pytest.raises(ValueError, match=message):
            model.decode(of_others)


def test_it_comes_back_from_a_checkpoint(pictures_model: Autoencoder, tmp_path: Path) -> None:
    checkpoint.save(pictures_model, tmp_path / "tokenizer")
    loaded = checkpoint.load(tmp_path / "tokenizer", Autoencoder)
    assert loaded.level_dropout == pictures_model.level_dropout and loaded.layout() == pictures_model.layout()
    x = batch().x
    for levels in range(1, len(loaded.levels) + 1):
        assert torch.equal(loaded.reconstruct(x, levels=levels), pictures_model.reconstruct(x, levels=levels))


def test_every_level_can_have_another_bottleneck() -> None:
    kinds = [ResidualQuantizer(VectorQuantizer(3, 7), 2), FiniteScalarQuantizer((3, 5)), EMAVectorQuantizer(6, 9)]
    model = trained(three_levels(kinds))
    assert model.layout().codebook_sizes == ((7, 7), kinds[1].codebook_sizes, (9,))
    assert torch.equal(model.decode(model.encode(batch().x)), model.reconstruct(batch().x))
    continuous = trained(two_levels([GaussianBottleneck(3), Identity(2)]))
    assert continuous.reconstruct(batch().x, levels=1).shape == batch().x.shape
    with pytest.raises(ValueError, match="GaussianBottleneck has no indices"):
        continuous.layout()


def test_no_two_levels_share_a_codebook() -> None:
    given = EMAVectorQuantizer(DIM, SIZE)
    for make in LAYOUTS.values():
        assert len({id(bottleneck) for bottleneck in (given, *make(given)(PICTURES).bottlenecks)}) >= 3


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_nets_may_be_in_bfloat16(make: type[Architecture]) -> None:
    model = make()(PICTURES).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(batch())
    output.loss.backward()
    assert torch.isfinite(output.loss) and all(latent.z.dtype == torch.float32 for latent in output.latents)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


# ---------------------------------------------------------------- the objective


def z_e_of_levels(model: Autoencoder) -> list[Tensor]:
    """What the bottlenecks are given, with gradients kept; filled by the next forward."""
    found: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if arguments[0].requires_grad:
            arguments[0].retain_grad()
        found.append(arguments[0])

    for bottleneck in model.bottlenecks:
        bottleneck.register_forward_pre_hook(keep)
    return found


def test_the_latent_loss_of_every_level_is_per_data_dimension() -> None:
    weights = (0.25, 0.7, 0.4)
    model = trained(three_levels([EMAVectorQuantizer(d, SIZE, w) for d, w in zip((3, 4, 5), weights, strict=True)]))
    for level in model.levels[1:]:  # a level's loss reaches the coarser ones through the context too
        level.project.weight.data[:, level.features :] = 0
    found = z_e_of_levels(model)
    output = model(batch())
    output.latent_loss.backward()
    wanted = torch.zeros(())
    for z_e, latent, weight in zip(found, output.latents, weights, strict=True):
        torch.testing.assert_close(z_e.grad, 2 * weight * (z_e - latent.z).detach() / 3 / PICTURES.dims)
        wanted = wanted + weight * (z_e - latent.z).square().sum() / 3 / PICTURES.dims
    torch.testing.assert_close(output.latent_loss, wanted)


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_the_decoders_gradient_reaches_every_level(make: type[Architecture]) -> None:
    model = trained(make(level_dropout=0.0))
    found = z_e_of_levels(model)
    model.zero_grad()
    model(batch()).decoder_loss.backward()
    assert all(z_e.grad is not None and bool((z_e.grad != 0).any()) for z_e in found)
    assert all(bool((p.grad != 0).any()) for p in model.encoder.parameters())
    assert all(bool((p.grad != 0).any()) for p in model.levels.parameters())


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_a_finer_levels_loss_reaches_the_coarser_ones(make: type[Architecture]) -> None:
    model = trained(make())
    found = z_e_of_levels(model)
    model(batch()).latents[-1].loss.backward()
    assert all(bool((z_e.grad != 0).any()) for z_e in found)


def test_level_dropout_leaves_out_finer_levels_of_a_share_of_the_samples() -> None:
    model, given = trained(three_levels(level_dropout=0.6)), batch(count=300)
    seen: list[Tensor] = []

    def loss(x: Tensor, z: Tensor, *rest: object) -> Tensor:
        seen.append(z.detach())
        return z.sum()

    model.decoder.loss = loss  # type: ignore[method-assign]
    torch.manual_seed(1)
    dropped, again = model(given), model(given)
    model.eval()(given)
    zs = [latent.z.detach() for latent in dropped.latents]
    with torch.no_grad():
        by_depth = [model.merge(zs[:depth]) for depth in (1, 2, 3)]
    depths = torch.stack([(z - seen[0]).abs().flatten(1).amax(1) for z in by_depth]).argmin(0)
    for depth, z in enumerate(by_depth):
        torch.testing.assert_close(seen[0][depths == depth], z[depths == depth])
    shares = depths.bincount(minlength=3) / 300
    torch.testing.assert_close(shares, torch.tensor([0.3, 0.3, 0.4]), atol=0.08, rtol=0)
    assert not torch.equal(seen[0], seen[1])  # drawn anew
    torch.testing.assert_close(seen[2], by_depth[2])  # and not in evaluation
    assert torch.equal(dropped.latent_loss, again.latent_loss)  # each level learns from every sample


# ---------------------------------------------------------------- the start


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_a_level_starts_from_its_z_e_beside_initialised_coarser_ones(make: type[Architecture]) -> None:
    model = make()(PICTURES)
    batches = [batch(count=8, seed=seed) for seed in range(4)]
    model.initialise(lambda: batches)
    found = z_e_of_levels(model)
    for each in batches:
        model.latents(each.x)
    levels = len(model.levels)
    for number, bottleneck in enumerate(model.bottlenecks):
        fresh = copy.deepcopy(bottleneck)
        fresh.initialise([z_e.movedim(1, -1).reshape(-1, DIM) for z_e in found[number::levels]])
        assert torch.equal(fresh.codebook.vectors, bottleneck.codebook.vectors)


@pytest.mark.parametrize("make", [two_levels, scales])
def test_on_digits_every_level_is_alive_and_more_levels_say_more(make: type[Architecture]) -> None:
    source = open_source("digits")
    train, held_out = (Dataset(source.split(split, 0.1), Image(8, 1)) for split in ("train", "validation"))
    torch.manual_seed(0)
    quick = EMAVectorQuantizer(DIM, SIZE, decay=0.95, revival=0.3)  # codes follow z_e within the few steps here
    model = make(quick, level_dropout=0.3)(train.signal)
    model.initialise(lambda: shuffled(train, 64, 0))
    optimizer, batches = torch.optim.Adam(model.parameters(), 3e-3), shuffled(train, 64, 0)
    for _ in range(150):
        optimizer.zero_grad()
        model(next(batches)).loss.backward()
        optimizer.step()
        model.update()
    x = held_out.read(range(len(held_out))).x
    assert min(len(level.unique()) for level in model.encode(x)) >= SIZE // 2
    errors = [
        float((model.reconstruct(x, levels=n + 1) - x).square().mean() / 255**2) for n in range(len(model.levels))
    ]
    assert errors[-1] < 0.7 * errors[0] and errors == sorted(errors, reverse=True)


# ---------------------------------------------------------------- what is left


def residual_pass(
    features: Tensor, grids: list[tuple[int, ...]], bottleneck: Bottleneck
) -> tuple[Tensor, list[Tensor]]:
    """The sum of all scales, and each scale's z_e."""
    context, given = None, []
    for grid in grids:
        level = ResidualLevel(bottleneck, grids[-1])
        given.append(level.z_e(area(features, grid), context))
        context = level.merge(context, bottleneck(given[-1]).z)
    assert context is not None
    return context, given


def test_scales_pass_the_decoders_gradient_on_as_one_quantizer() -> None:
    features = torch.randn(2, DIM, 6, 6, requires_grad=True)
    context, _ = residual_pass(features, [(1, 1), (2, 2), (4, 4), (6, 6)], EMAVectorQuantizer(DIM, SIZE))
    gradient = torch.randn_like(context)
    context.backward(gradient)
    torch.testing.assert_close(features.grad, gradient)


def test_what_all_scales_leave_is_the_error_of_the_finest() -> None:
    features, quantizer = torch.randn(2, DIM, 6, 6), EMAVectorQuantizer(DIM, SIZE)
    context, given = residual_pass(features, [(1, 1), (3, 3), (6, 6)], quantizer)
    torch.testing.assert_close(features - context, given[-1] - quantizer(given[-1]).z)
    coarse = features.mean((2, 3), keepdim=True)
    torch.testing.assert_close(given[0], coarse)
    of_coarse = quantizer(coarse).z
    torch.testing.assert_close(given[1], area(features, (3, 3)) - of_coarse)


def test_without_a_code_a_scale_that_is_refined_adds_nothing() -> None:
    level, context = ResidualLevel(Identity(DIM), (4, 4)), torch.randn(2, DIM, 4, 4)
    nn.init.normal_(level.refine.weight)
    assert torch.equal(level.merge(context, torch.zeros_like(context)), context)
    assert not torch.equal(level.merge(context, torch.ones(2, DIM, 2, 2)), context)


# ---------------------------------------------------------------- padding and mistakes


def test_a_position_of_a_grid_that_does_not_divide_counts_where_anything_under_it_is_real() -> None:
    mask = torch.tensor([[True, True, True, False, False, False, False, False]])
    assert shrink(mask, torch.zeros(1, 5, 3)).tolist() == [[True, True, False]]
    given = batch()
    mask = torch.ones(3, 8, 16, dtype=torch.bool)
    mask[0, 4:] = False
    output = trained(scales())(given._replace(mask=mask))
    positions = torch.stack([latent.kl for latent in output.latents]) / torch.tensor(SIZE).log()
    torch.testing.assert_close(positions, torch.tensor([[2.0, 2, 2], [12, 18, 18], [16, 32, 32]]))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Convolutional(Identity(2), Gaussian(), halvings=[1, 2]), r"halvings are \[1, 2\]; list one a level"),
        (lambda: Convolutional(Identity(2), Gaussian(), halvings=[]), r"halvings are \[\]"),
        (lambda: Convolutional(Identity(2), Gaussian(), halvings=[4, 2]), "cannot be halved 4 times"),
        (lambda: Convolutional(Identity(2), Gaussian(), halvings=[2, -1]), "-1"),
        (lambda: Convolutional(Identity(2), Gaussian(), halvings=-1), "halvings is -1"),
        (lambda: two_levels([Identity(2)]), r"1 bottlenecks for 2 levels; give tokenizer\.bottleneck one a level"),
        (lambda: two_levels(level_dropout=1.0), r"level_dropout is 1\.0"),
        (lambda: Convolutional(Identity(2), Gaussian(), level_dropout=0.1), "with 1 levels"),
        (lambda: MultiscaleResidual(Identity(2), Gaussian(), halvings=1, scales=[1, 2]), r"end with 4"),
        (lambda: MultiscaleResidual(Identity(2), Gaussian(), halvings=1, scales=[2, 2, 4]), r"growing numbers"),
        (lambda: scales([Identity(2), Identity(3), Identity(2)]), "give all scales the same dim"),
        (lambda: scales(GaussianBottleneck(2)), "GaussianBottleneck takes 4 channels and gives 2"),
    ],
)
def test_bad_arguments_are_refused(make: type[Architecture], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()(PICTURES)
