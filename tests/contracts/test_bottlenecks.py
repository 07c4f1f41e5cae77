"""What every bottleneck promises, held to every member."""

from __future__ import annotations

import copy
import math
import re
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    Bottleneck,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GaussianBottleneck,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    Identity,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    Latent,
    LookupFreeQuantizer,
    NotFinite,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualFiniteScalarQuantizer,
    ResidualQuantizer,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThroughGumbelQuantizer,
    UniformScalarQuantizer,
    VectorQuantizer,
    base,
)

DIM, BATCH = 6, 3  # DIM channels of z_e, whatever a member makes of them
MEMBERS: dict[str, Callable[[], Bottleneck]] = {  # a new bottleneck is one more line
    "identity": lambda: Identity(DIM),
    "vector": lambda: VectorQuantizer(DIM, 20),
    "ema vector": lambda: EMAVectorQuantizer(DIM, 20),
    "finite scalar": lambda: FiniteScalarQuantizer((8, 5, 5, 3, 2, 4), (3, 2, 1)),
    "residual finite scalar": lambda: ResidualFiniteScalarQuantizer((4, 3, 3, 3, 5, 3), 3),
    "lookup free": lambda: LookupFreeQuantizer(DIM, (4, 2)),
    "binary spherical": lambda: BinarySphericalQuantizer(DIM),
    "uniform scalar": lambda: UniformScalarQuantizer(DIM, 0.5, 7, 1.5),
    "embedded scalar": lambda: UniformScalarQuantizer(DIM, 0.5, 7, 2.0, stages=3),
    "gaussian": lambda: GaussianBottleneck(DIM // 2),
    "gaussian, warming up": lambda: GaussianBottleneck(DIM // 2, 2.0, warmup_updates=7),
    "cosine": lambda: CosineSimilarityQuantizer(VectorQuantizer(DIM, 20)),
    "ema cosine": lambda: CosineSimilarityQuantizer(EMAVectorQuantizer(DIM, 20)),
    "projected": lambda: ProjectedQuantizer(CosineSimilarityQuantizer(EMAVectorQuantizer(3, 20)), DIM),
    "product": lambda: ProductQuantizer([EMAVectorQuantizer(2, 7), SimVectorQuantizer(3, 9), VectorQuantizer(1, 5)]),
    "residual": lambda: ResidualQuantizer(EMAVectorQuantizer(DIM, 12), 3),
    "projected residual": lambda: ResidualQuantizer(ProjectedQuantizer(VectorQuantizer(3, 12), DIM), 2),
    "shared residual": lambda: SharedResidualQuantizer(EMAVectorQuantizer(DIM, 12), 3),
    "sim vector": lambda: SimVectorQuantizer(DIM, 20),
    "index backpropagation": lambda: IndexBackpropagationQuantizer(DIM, 20),
    "Gumbel-softmax": lambda: GumbelSoftmaxQuantizer(DIM, 20),
    "straight-through Gumbel": lambda: StraightThroughGumbelQuantizer(DIM, 20),
    "Gumbel-max": lambda: GumbelMaxQuantizer(DIM, 20),
    "implicit MLE": lambda: ImplicitMLEQuantizer(DIM, 20),
}
QUANTIZERS = {name: make for name, make in MEMBERS.items() if isinstance(make(), Quantizer)}
STOCHASTIC = {  # those whose training draws
    "gaussian", "gaussian, warming up", "Gumbel-softmax", "straight-through Gumbel", "Gumbel-max", "implicit MLE",
}  # fmt: skip
GRIDS = [(10,), (4, 5), (2, 3, 4)]
MEMORY_FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


def of_grid(grid: tuple[int, ...], batch: int = BATCH, seed: int = 0) -> Tensor:
    return torch.randn(batch, DIM, *grid, generator=torch.Generator().manual_seed(seed))


def half_masked(grid: tuple[int, ...]) -> Tensor:
    """The first half of the first grid dimension is real; the last sample is real everywhere."""
    mask = torch.ones(BATCH, *grid, dtype=torch.bool)
    mask[:-1, grid[0] // 2 :] = False
    return mask


def drawn_alike(bottleneck: Bottleneck, *inputs: Tensor) -> Latent:
    """A forward with the same draws every time, where there are any."""
    torch.manual_seed(0)
    latent: Latent = bottleneck(*inputs)
    return latent


def state(bottleneck: Bottleneck) -> dict[str, Tensor]:
    return copy.deepcopy(bottleneck.state_dict())


def assert_same_state(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def assert_same_latent(a: Latent, b: Latent) -> None:
    assert torch.equal(a.z, b.z) and torch.equal(a.loss, b.loss)
    assert torch.equal(a.kl.nan_to_num(-1), b.kl.nan_to_num(-1))
    assert (a.indices is None) == (b.indices is None) and (a.indices is None or torch.equal(a.indices, b.indices))


def trained(make: Callable[[], Bottleneck]) -> Bottleneck:
    """After some updates, in training mode."""
    bottleneck = make()
    for seed in range(3):
        bottleneck(of_grid((4, 5), seed=100 + seed))
        bottleneck.update()
    return bottleneck


@pytest.fixture(params=MEMBERS)
def bottleneck(request: pytest.FixtureRequest) -> Bottleneck:
    torch.manual_seed(0)
    return trained(MEMBERS[request.param])


@pytest.fixture(params=QUANTIZERS)
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    torch.manual_seed(0)
    return trained(QUANTIZERS[request.param])  # type: ignore[return-value]


@pytest.fixture(params=[name for name in QUANTIZERS if name not in STOCHASTIC])
def deterministic(request: pytest.FixtureRequest) -> Quantizer:
    torch.manual_seed(0)
    return trained(QUANTIZERS[request.param])  # type: ignore[return-value]


@pytest.mark.parametrize("grid", GRIDS)
def test_the_result_has_its_fields_and_shapes(bottleneck: Bottleneck, grid: tuple[int, ...]) -> None:
    z_e = of_grid(grid).requires_grad_()
    latent = bottleneck(z_e)
    assert isinstance(latent, Latent)
    assert latent.z.shape == (BATCH, bottleneck.dim, *grid)
    assert latent.z.dtype == torch.float32 and latent.z.requires_grad
    assert latent.loss.shape == () and bool(latent.loss.isfinite())
    assert latent.kl.shape == (BATCH,) and not latent.kl.requires_grad
    if isinstance(bottleneck, Quantizer):
        assert latent.indices is not None and latent.indices.dtype == torch.int64
        assert latent.indices.shape == (BATCH, len(bottleneck.codebook_sizes), *grid)
    else:
        assert latent.indices is None
    for name, value in latent.stats.items():
        assert value.shape == () and not value.requires_grad and bool(value.isfinite()), name


def test_a_gradient_reaches_the_encoder(bottleneck: Bottleneck) -> None:
    z_e = of_grid((4, 5)).requires_grad_()
    latent = bottleneck(z_e)
    (latent.z.sum() + latent.loss).backward()
    assert z_e.grad is not None and bool(z_e.grad.isfinite().all()) and bool((z_e.grad != 0).any())


def test_a_quantizer_says_truly_whether_it_is_straight_through(quantizer: Quantizer) -> None:
    z_e, gradient = of_grid((4, 5)).requires_grad_(), of_grid((4, 5), seed=1)
    quantizer(z_e).z.backward(gradient)
    assert torch.equal(z_e.grad, gradient) == quantizer.straight_through


@pytest.mark.parametrize("grid", GRIDS)
def test_lookup_is_z_to_the_bit(quantizer: Quantizer, grid: tuple[int, ...]) -> None:
    latent = quantizer.eval()(of_grid(grid))
    assert latent.indices is not None
    z = quantizer.lookup(latent.indices)
    assert z.shape == latent.z.shape and torch.equal(z, latent.z)


def test_lookup_refuses_indices_of_another_type_or_shape(quantizer: Quantizer) -> None:
    indices = quantizer(of_grid((4, 5))).indices
    for wrong in (indices[:, 0], indices[0, 0], indices[:, :0], indices.repeat(1, 2, 1, 1), indices.int(), indices > 0):
        with pytest.raises(ValueError, match=r"indices are torch.*; \w+ takes int64 \[B, .*\d, \*grid\]"):
            quantizer.lookup(wrong)


def test_lookup_refuses_indices_beyond_each_codebook(quantizer: Quantizer) -> None:
    indices = quantizer(of_grid((4, 5))).indices
    for book, size in enumerate(quantizer.codebook_sizes):
        for wrong in (-1, size, 10**6):
            beyond = indices.clone()
            beyond[1, book, 2, 3] = wrong
            with pytest.raises(ValueError, match=f"hold {wrong} in codebook {book + 1} of .* has {size} codes"):
                quantizer.lookup(beyond)
        indices[:, book] = size - 1
    assert bool(quantizer.lookup(indices).isfinite().all())


def test_lookup_takes_as_many_codebooks_as_it_says(quantizer: Quantizer) -> None:
    indices = quantizer(of_grid((4, 5))).indices
    assert quantizer.prefixes[-1] == len(quantizer.codebook_sizes) == indices.shape[1]
    for number in range(1, indices.shape[1]):
        if number in quantizer.prefixes:
            assert quantizer.lookup(indices[:, :number]).shape == (BATCH, DIM, 4, 5)
        else:
            with pytest.raises(ValueError, match="takes int64"):
                quantizer.lookup(indices[:, :number])


def test_training_and_evaluation_choose_the_same(deterministic: Quantizer) -> None:
    z_e = of_grid((4, 5))
    training, evaluation = deterministic.train()(z_e), deterministic.eval()(z_e)
    assert torch.equal(training.indices, evaluation.indices) and torch.equal(training.z, evaluation.z)


def test_a_sample_does_not_depend_on_its_batch(bottleneck: Bottleneck) -> None:
    z_e = of_grid((4, 5))
    whole, one = bottleneck.eval()(z_e), bottleneck.eval()(z_e[1:2])
    torch.testing.assert_close(whole.z[1:2], one.z, atol=0, rtol=0)
    torch.testing.assert_close(whole.kl[1:2], one.kl, equal_nan=True)
    if isinstance(bottleneck, Quantizer):
        assert torch.equal(whole.indices[1:2], one.indices)


@pytest.mark.parametrize("grid", GRIDS[1:])
def test_the_memory_format_changes_nothing(bottleneck: Bottleneck, grid: tuple[int, ...]) -> None:
    z_e = of_grid(grid)
    last = z_e.contiguous(memory_format=MEMORY_FORMATS[len(grid)])
    torch.testing.assert_close(bottleneck.eval()(z_e)[:2], bottleneck.eval()(last)[:2])
    other = bottleneck(last)
    if other.indices is not None:
        assert torch.equal(bottleneck(z_e).indices, other.indices)
    assert other.z.is_contiguous(memory_format=MEMORY_FORMATS[len(grid)])  # as the decoder wants it


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("training", [True, False])
def test_every_precision_gives_indices_within_the_codebook(
    quantizer: Quantizer, dtype: torch.dtype, training: bool
) -> None:
    quantizer.train(training)
    z_e = of_grid((4, 5)).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
        latent = quantizer(z_e)
        looked_up = quantizer.lookup(latent.indices)
    assert latent.indices.dtype == torch.int64 and latent.z.dtype == latent.loss.dtype == torch.float32
    for symbols, size in zip(latent.indices.unbind(1), quantizer.codebook_sizes, strict=True):
        assert int(symbols.min()) >= 0 and int(symbols.max()) < size
    quantizer.eval()
    evaluated = quantizer(z_e)
    assert torch.equal(quantizer.lookup(evaluated.indices), evaluated.z)
    assert torch.equal(evaluated.indices, quantizer(z_e.float()).indices)  # computed in float32, whatever comes in
    assert looked_up.shape == latent.z.shape
    quantizer.update()
    assert all(value.isfinite().all() for value in quantizer.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_can_be_cast_and_its_bottleneck_stays_float32(bottleneck: Bottleneck, dtype: torch.dtype) -> None:
    before, other = state(bottleneck), copy.deepcopy(bottleneck)
    network = nn.ModuleDict({"encoder": nn.Conv2d(DIM, DIM, 1), "bottleneck": bottleneck}).to(dtype)
    assert_same_state(before, bottleneck.state_dict())
    z_e = network["encoder"](of_grid((4, 5)).to(dtype))
    assert z_e.dtype == dtype
    latent = drawn_alike(bottleneck, z_e)
    assert_same_latent(latent, drawn_alike(other, z_e.detach().float()))
    assert latent.z.dtype == latent.loss.dtype == torch.float32
    (latent.z.sum() + latent.loss).backward()
    for each in (bottleneck, other):
        each.update()
    assert_same_state(other.state_dict(), bottleneck.state_dict())
    assert all(parameter.grad is None or parameter.grad.dtype == torch.float32 for parameter in bottleneck.parameters())


def test_a_bottleneck_moves_with_the_network_that_is_cast(bottleneck: Bottleneck) -> None:
    moved = nn.ModuleList([bottleneck]).to("meta", torch.float16)[0]
    assert all(tensor.is_meta and tensor.dtype != torch.float16 for tensor in moved.state_dict().values())


@pytest.mark.parametrize("grid", GRIDS)
def test_padding_counts_nowhere(bottleneck: Bottleneck, grid: tuple[int, ...]) -> None:
    other, mask, z_e = copy.deepcopy(bottleneck), half_masked(grid), of_grid(grid)
    padding = ~mask.unsqueeze(1).expand_as(z_e)
    junk = torch.where(padding, 1e3, z_e)
    a, b = drawn_alike(bottleneck, z_e, mask), drawn_alike(other, junk, mask)
    real = mask.unsqueeze(1).expand_as(a.z)
    torch.testing.assert_close(a.loss, b.loss, atol=0, rtol=0)
    torch.testing.assert_close(a.kl, b.kl, atol=0, rtol=0, equal_nan=True)
    torch.testing.assert_close(a.z[real], b.z[real], atol=0, rtol=0)
    for each in (bottleneck, other):
        each.update()
    assert_same_state(bottleneck.state_dict(), other.state_dict())
    after, again = drawn_alike(bottleneck, z_e, mask), drawn_alike(other, z_e, mask)
    assert_same_latent(after, again)
    torch.testing.assert_close(after.stats, again.stats, atol=0, rtol=0)


def test_a_full_mask_is_no_mask(bottleneck: Bottleneck) -> None:
    z_e = of_grid((4, 5))
    everywhere = torch.ones(BATCH, 4, 5, dtype=torch.bool)
    masked, plain = drawn_alike(bottleneck, z_e, everywhere), drawn_alike(bottleneck, z_e)
    torch.testing.assert_close(masked[:3], plain[:3], equal_nan=True)


def test_the_loss_of_a_masked_batch_is_that_of_its_real_part(
    request: pytest.FixtureRequest, bottleneck: Bottleneck
) -> None:
    bottleneck.train(request.node.callspec.params["bottleneck"] not in STOCHASTIC)  # other shapes, other draws
    z_e = of_grid((4, 5))
    mask = torch.zeros(BATCH, 4, 5, dtype=torch.bool)
    mask[:, :2] = True
    torch.testing.assert_close(bottleneck(z_e, mask).loss, bottleneck(z_e[:, :, :2]).loss)


def test_a_step_of_padding_alone_is_survived(bottleneck: Bottleneck) -> None:
    for seed in range(20):
        latent = bottleneck(of_grid((4, 5), seed=seed), torch.zeros(BATCH, 4, 5, dtype=torch.bool))
        assert latent.loss.item() == 0
        bottleneck.update()
    assert all(value.isfinite().all() for value in bottleneck.state_dict().values())


def test_the_state_survives_saving(request: pytest.FixtureRequest, bottleneck: Bottleneck) -> None:
    other = MEMBERS[request.node.callspec.params["bottleneck"]]()
    other.load_state_dict(state(bottleneck))
    z_e = of_grid((4, 5))
    assert_same_latent(drawn_alike(bottleneck, z_e), drawn_alike(other, z_e))
    for each in (bottleneck, other):
        each.update()
    assert_same_state(bottleneck.state_dict(), other.state_dict())


def test_kl_is_the_log_of_the_alphabet_for_each_position_that_counts(quantizer: Quantizer) -> None:
    quantizer.eval()  # a drawn code has a posterior of its own in training
    nats = sum(math.log(size) for size in quantizer.codebook_sizes)
    torch.testing.assert_close(quantizer(of_grid((4, 5))).kl, torch.full((BATCH,), 20 * nats))
    masked = quantizer(of_grid((4, 5)), half_masked((4, 5))).kl
    torch.testing.assert_close(masked, torch.tensor([10.0, 10.0, 20.0]) * nats)


def test_a_draw_is_the_result_of_evaluation_but_for_a_drawn_z(bottleneck: Bottleneck) -> None:
    bottleneck.eval()
    before, z_e = state(bottleneck), of_grid((4, 5))
    latent, drawn = bottleneck(z_e), bottleneck.draw(z_e, None, torch.Generator().manual_seed(1))
    assert_same_latent(latent._replace(z=drawn.z), drawn)
    assert torch.equal(latent.z, drawn.z) == (not isinstance(bottleneck, GaussianBottleneck))
    assert torch.equal(drawn.z, bottleneck.draw(z_e, None, torch.Generator().manual_seed(1)).z)
    assert_same_state(before, bottleneck.state_dict())


@pytest.mark.parametrize("name", MEMBERS)
def test_without_a_prior_there_is_no_kl(name: str) -> None:
    bottleneck = MEMBERS[name]().eval()
    assert bool(bottleneck(of_grid((4, 5))).kl.isnan().all()) == (not bottleneck.has_prior)


def test_kl_is_undefined_without_a_posterior() -> None:
    latent = Identity(DIM)(of_grid((4, 5)))
    assert bool(latent.kl.isnan().all()) and float(latent.loss) == 0


@pytest.mark.parametrize("shape", [(2, DIM + 1, 4, 5), (2, DIM), (0, DIM, 4), (2, DIM, 0)])
def test_the_wrong_shape_is_refused_by_name(bottleneck: Bottleneck, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"{re.escape(str(list(shape)))}.*\[B, {DIM}, \*grid\]"):
        bottleneck(torch.zeros(shape))


@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(BATCH, 4, 5, dtype=torch.int64),  # as indices of positions these would be row 1 over and over
        torch.ones(BATCH, 4, 5),
        torch.ones(BATCH, 1, 4, 5, dtype=torch.bool),
        torch.ones(1, 4, 5, dtype=torch.bool),
        torch.ones(BATCH, 5, 4, dtype=torch.bool),
    ],
    ids=["int64", "float32", "channel", "one sample", "transposed"],
)
def test_a_mask_of_another_type_or_shape_is_refused(bottleneck: Bottleneck, mask: Tensor) -> None:
    before = state(bottleneck)
    with pytest.raises(ValueError, match=rf"mask is .*it must be bool \[{BATCH}, 4, 5\]"):
        bottleneck(of_grid((4, 5)), mask)
    bottleneck.update()
    assert_same_state(before, bottleneck.state_dict())


@pytest.mark.parametrize(
    "name", ["ema vector", "sim vector", "index backpropagation", *sorted(STOCHASTIC & {*QUANTIZERS})]
)
def test_a_codebook_tells_mean_norms_without_padding(name: str) -> None:
    z_e, mask = of_grid((4, 5)), half_masked((4, 5))
    stats = QUANTIZERS[name]().eval()(torch.where(mask[:, None], z_e, 900.0), mask).stats
    torch.testing.assert_close(stats["z_e_norm"], z_e.norm(dim=1)[mask].mean())
    assert 0 < float(stats["code_norm"]) < 10


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_does_not_spread(bottleneck: Bottleneck, broken: float) -> None:
    before, z_e = state(bottleneck), of_grid((4, 5))
    z_e[1, 2, 3, 4] = broken
    with pytest.raises(ValueError, match="not finite"):
        bottleneck(z_e)
    bottleneck.update()
    assert_same_state(before, bottleneck.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_on_a_gpu_training_looks_at_z_e_once_a_step(
    bottleneck: Bottleneck, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_is_queued", lambda tensor: True)
    bottleneck.train(training)
    before, broken = state(bottleneck), of_grid((4, 5))
    broken[1, 2, 3, 3] = math.nan
    if training:
        for z_e in (of_grid((4, 5)), broken, of_grid((4, 5))):
            bottleneck(z_e)
        for _ in range(2):  # what was gathered is not to be had the next time either
            with pytest.raises(NotFinite, match="not finite"):
                bottleneck.update()
    else:
        with pytest.raises(NotFinite, match="not finite"):
            bottleneck(broken)
        bottleneck.update()
    assert_same_state(before, bottleneck.state_dict())


class Encoded(nn.Module):
    """What a tokenizer is exported for: z and indices, and z of indices."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer

    def forward(self, z_e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latent = self.quantizer(z_e)
        assert latent.indices is not None
        return latent.z, latent.indices, self.quantizer.lookup(latent.indices)


@torch.no_grad()
def test_evaluation_can_be_exported(quantizer: Quantizer) -> None:
    module, z_e = Encoded(quantizer.eval()), of_grid((4, 5))
    exported = torch.export.export(module, (z_e,)).module()
    again = of_grid((4, 5), seed=7)
    for found, wanted in zip(exported(again), module(again), strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", MEMBERS)
def test_a_missing_update_is_told_where_it_would_change_something(name: str) -> None:
    bottleneck, z_e = MEMBERS[name](), of_grid((1,), batch=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(300):
            bottleneck(z_e)
    without = {
        "identity",
        "gaussian",
        "sim vector",
        "finite scalar",
        "embedded scalar",
        "residual finite scalar",
        "lookup free",
        "binary spherical",
        "uniform scalar",
    }
    assert len(told) == (name not in without)


def test_evaluation_changes_nothing(bottleneck: Bottleneck) -> None:
    bottleneck.eval()
    before = state(bottleneck)
    for seed in range(3):
        bottleneck(of_grid((4, 5), seed=seed))
        bottleneck.update()
    assert_same_state(before, bottleneck.state_dict())


def test_a_forward_changes_nothing_before_the_update(deterministic: Quantizer) -> None:
    before, z_e = state(deterministic), of_grid((4, 5))
    first, second = deterministic(z_e), deterministic(z_e)
    assert_same_latent(first, second)
    assert_same_state(before, deterministic.state_dict())


def test_an_update_uses_what_was_seen_once(quantizer: Quantizer) -> None:
    quantizer(of_grid((4, 5)))
    quantizer.update()
    before = state(quantizer)
    quantizer.update()
    assert_same_state(before, quantizer.state_dict())


def test_two_half_batches_are_one_batch(quantizer: Quantizer) -> None:
    other = copy.deepcopy(quantizer)
    for seed in range(3):
        z_e = of_grid((4, 5), batch=4, seed=seed)
        quantizer(z_e)
        for half in z_e.split(2):
            other(half)
        for each in (quantizer, other):
            each.update()
        torch.testing.assert_close(quantizer.state_dict(), other.state_dict())


def test_assignment_is_a_distribution_whose_mode_is_the_index(quantizer: Quantizer) -> None:
    z_e = of_grid((4, 5))
    log_p = quantizer.assignment(z_e)
    sizes = quantizer.codebook_sizes
    assert log_p.shape == (BATCH, len(sizes), max(sizes), 4, 5)
    torch.testing.assert_close(log_p.exp().sum(2), torch.ones(BATCH, len(sizes), 4, 5))
    for column, size in zip(log_p.unbind(1), sizes, strict=True):
        assert bool((column[:, size:] == -math.inf).all())  # beyond a smaller alphabet
    assert torch.equal(log_p.argmax(2), quantizer.eval()(z_e).indices)


def test_assignment_falls_with_the_distance(quantizer: Quantizer) -> None:
    z_e = of_grid((3,)).requires_grad_()
    quantizer.assignment(z_e).exp().square().sum().backward()  # exp: -inf beyond a smaller alphabet is 0
    assert z_e.grad is not None and bool(z_e.grad.isfinite().all()) and bool((z_e.grad != 0).any())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", MEMBERS)
def test_sampling_from_the_training_prior_gives_codes_of_the_codebook_or_is_refused(
    name: str, grid: tuple[int, ...]
) -> None:
    bottleneck = MEMBERS[name]().eval()
    if name == "identity":
        with pytest.raises(ValueError, match="no prior to sample from"):
            bottleneck.sample(BATCH, grid)
        return
    z = bottleneck.sample(BATCH, grid, torch.Generator().manual_seed(3))
    assert z.shape == (BATCH, bottleneck.dim, *grid)
    assert torch.equal(z, bottleneck.sample(BATCH, grid, torch.Generator().manual_seed(3)))
    assert len(z.movedim(1, -1).reshape(-1, bottleneck.dim).unique(dim=0)) > 1
    if not isinstance(bottleneck, Quantizer):
        return
    draw = torch.Generator().manual_seed(3)
    columns = [torch.randint(size, (BATCH, 1, *grid), generator=draw) for size in bottleneck.codebook_sizes]
    assert torch.equal(z, bottleneck.lookup(torch.cat(columns, 1)))
