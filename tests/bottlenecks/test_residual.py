"""Stages that quantize what is left over, against the defects that others have."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotationTrick,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThroughGumbelQuantizer,
    VectorQuantizer,
    residual,
)

Kind = type[ResidualQuantizer] | type[SharedResidualQuantizer]
EMA, BINARY = partial(EMAVectorQuantizer, 4, 16), partial(LookupFreeQuantizer, 4)
BOTH = pytest.mark.parametrize("kind", [ResidualQuantizer, SharedResidualQuantizer])


def of_data(kind: Kind, depth: int = 4, **arguments: object) -> ResidualQuantizer | SharedResidualQuantizer:
    quantizer = kind(EMAVectorQuantizer(4, 16), depth, **arguments)
    quantizer.initialise([torch.randn(2000, 4)])
    return quantizer


def error(quantizer: ResidualQuantizer | SharedResidualQuantizer, z_e: Tensor, depth: int) -> float:
    return float((z_e - quantizer.lookup(quantizer.eval()(z_e).indices[:, :depth])).square().mean())


@BOTH
def test_each_stage_quantizes_what_those_before_it_left(kind: Kind) -> None:
    quantizer, z_e = of_data(kind).eval(), torch.randn(2, 4, 9)
    latent, residual = quantizer(z_e), z_e
    for stage, column in zip(quantizer.parts, latent.indices.split(1, 1), strict=True):
        alone = stage(residual)
        assert torch.equal(alone.indices, column)
        residual = residual - alone.z
    torch.testing.assert_close(z_e - latent.z, residual)


@BOTH
def test_a_prefix_of_the_indices_decodes_and_each_stage_makes_it_better(kind: Kind) -> None:
    quantizer, z_e = of_data(kind), torch.randn(20, 4, 50)
    errors = [error(quantizer, z_e, depth) for depth in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.3 * errors[0]


def test_a_prefix_ends_with_a_stage() -> None:
    stage = ProductQuantizer([EMAVectorQuantizer(2, 5), EMAVectorQuantizer(2, 6)])
    quantizer = ResidualQuantizer(stage, 2)
    assert quantizer.codebook_sizes == (5, 6, 5, 6)
    for columns in (2, 4):
        assert quantizer.lookup(torch.zeros(1, columns, 3, dtype=torch.int64)).shape == (1, 4, 3)
    for columns in (0, 1, 3, 5):
        with pytest.raises(ValueError, match=r"takes int64 \[B, 2 or 4, \*grid\]"):
            quantizer.lookup(torch.zeros(1, columns, 3, dtype=torch.int64))


# ---------------------------------------------------------------- gradients


@BOTH
@pytest.mark.parametrize("depth", [1, 4])
def test_the_decoders_gradient_reaches_z_e_once(kind: Kind, depth: int) -> None:
    z_e, gradient = torch.randn(2, 4, 9, requires_grad=True), torch.randn(2, 4, 9)
    of_data(kind, depth)(z_e).z.backward(gradient)
    assert torch.equal(z_e.grad, gradient)


@BOTH
def test_the_commitment_is_to_every_partial_sum_and_by_its_weight_alone(kind: Kind) -> None:
    quantizer, z_e = of_data(kind, 3), torch.randn(2, 4, 9, requires_grad=True)
    latent = quantizer(z_e)
    latent.loss.backward()
    sums = [quantizer.lookup(latent.indices[:, :depth]) for depth in (1, 2, 3)]
    wanted = sum(0.25 * 2 * (z_e.detach() - z_q) / z_e.numel() for z_q in sums)
    torch.testing.assert_close(z_e.grad, wanted)
    torch.testing.assert_close(latent.loss, sum(0.25 * (z_e - z_q).square().mean() for z_q in sums))


@BOTH
@pytest.mark.parametrize("make", [EMA, *(partial(one, 4, 16) for one in (VectorQuantizer, GumbelMaxQuantizer)), BINARY])
def test_one_stage_is_the_quantizer_itself(kind: Kind, make: Callable[[], Quantizer]) -> None:
    stage = make()
    ours, alone = torch.randn(2, 4, 9).requires_grad_(), copy.deepcopy(stage)
    theirs = ours.detach().clone().requires_grad_()
    torch.manual_seed(0)  # as one of them draws
    one = kind(stage, 1)(ours)
    torch.manual_seed(0)
    other = alone(theirs)
    torch.testing.assert_close(one[:3], other[:3])
    assert torch.equal(one.indices, other.indices)
    for latent in (one, other):
        latent.loss.backward()
    assert bool(ours.grad.any())
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_every_stages_codebook_learns_as_it_would_alone() -> None:
    quantizer, z_e = ResidualQuantizer(VectorQuantizer(4, 16), 3), torch.randn(2, 4, 9)
    latent = quantizer(z_e)
    (latent.z.square().sum() + latent.loss).backward()
    residual = z_e
    for stage in quantizer.parts:
        found, stage.codebook.vectors.grad = stage.codebook.vectors.grad, None
        alone = stage(residual)
        alone.loss.backward()
        torch.testing.assert_close(found, stage.codebook.vectors.grad)
        residual = residual - alone.z.detach()


def test_a_gradient_reaches_the_maps_of_every_stage() -> None:
    quantizer = ResidualQuantizer(ProjectedQuantizer(VectorQuantizer(2, 8), 4), 3)
    quantizer(torch.randn(2, 4, 9)).z.square().sum().backward()
    for stage in quantizer.parts:
        assert bool(stage.up.weight.grad.any()) and bool(stage.down.weight.grad.any())


@BOTH
@pytest.mark.parametrize("estimator", [None, RotationTrick()])
def test_training_and_evaluation_choose_the_same_by_any_estimator(kind: Kind, estimator: RotationTrick | None) -> None:
    quantizer = kind(EMAVectorQuantizer(4, 16), 4, estimator=estimator)
    z_e = torch.randn(8, 4, 50)
    training, evaluation = quantizer.train()(z_e), quantizer.eval()(z_e)
    assert torch.equal(training.indices, evaluation.indices) and torch.equal(training.z, evaluation.z)


@BOTH
@pytest.mark.parametrize(
    "make",
    [
        lambda: EMAVectorQuantizer(4, 16, estimator=RotationTrick()),
        lambda: SimVectorQuantizer(4, 16, estimator=RotationTrick()),
        lambda: ResidualQuantizer(EMAVectorQuantizer(4, 16), 2, estimator=RotationTrick()),
        lambda: ProductQuantizer([EMAVectorQuantizer(2, 16), EMAVectorQuantizer(2, 16, estimator=RotationTrick())]),
        lambda: CosineSimilarityQuantizer(EMAVectorQuantizer(4, 16)),
        lambda: FiniteScalarQuantizer((5,) * 4),
        lambda: BinarySphericalQuantizer(4),
        lambda: GumbelSoftmaxQuantizer(4, 16),
        lambda: StraightThroughGumbelQuantizer(4, 16),
        lambda: ImplicitMLEQuantizer(4, 16),
        lambda: IndexBackpropagationQuantizer(4, 16),
    ],
)
def test_a_stage_whose_own_gradient_would_be_lost_is_refused(kind: Kind, make: Callable[[], Quantizer]) -> None:
    stage = make()
    with pytest.raises(ValueError, match=f"quantizer is a {type(stage).__name__} whose z has a gradient of its own"):
        kind(stage, 2)


@BOTH
@pytest.mark.parametrize("within", [lambda stage: stage, lambda stage: ProjectedQuantizer(stage, 6)])
def test_the_rotation_trick_over_codes_that_are_drawn_is_refused(
    kind: Kind, within: Callable[[Quantizer], Quantizer]
) -> None:
    stage = within(GumbelMaxQuantizer(4, 16))
    kind(stage, 2)
    with pytest.raises(ValueError, match=r"estimator is a RotationTrick, whose scale .* codes are drawn"):
        kind(stage, 2, estimator=RotationTrick())


@BOTH
def test_a_missing_update_is_told_by_forwards_not_by_stages(kind: Kind) -> None:
    quantizer, z_e = kind(EMAVectorQuantizer(4, 16), 8), torch.randn(1, 4, 2)
    for _ in range(255):
        quantizer(z_e)
    with pytest.warns(UserWarning, match="256 training forwards without update") as told:
        quantizer(z_e)
    assert told[0].filename == __file__


# ---------------------------------------------------------------- dropout


def cut_the_first(quantizer: ResidualQuantizer | SharedResidualQuantizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sample is cut to one stage, the second to two."""
    monkeypatch.setattr(residual, "drawn_depths", lambda *_: torch.tensor([1, 2]).view(2, 1, 1))


@BOTH
def test_a_sample_that_is_cut_is_quantized_by_the_first_stages(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer, z_e = of_data(kind, 2, dropout=1.0), torch.randn(2, 4, 9)
    cut_the_first(quantizer, monkeypatch)
    latent, whole = quantizer(z_e), quantizer.eval()(z_e)
    assert torch.equal(latent.indices, whole.indices)  # of all stages nonetheless
    assert torch.equal(latent.z[0], quantizer.lookup(latent.indices[:, :1])[0])
    assert torch.equal(latent.z[1], whole.z[1])
    torch.testing.assert_close(latent.kl, whole.kl * torch.tensor([0.5, 1.0]))


def test_what_is_cut_away_is_in_no_loss_and_no_statistic(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer, z_e = of_data(ResidualQuantizer, 2, dropout=1.0), torch.randn(2, 4, 9)
    mask = torch.arange(9).expand(2, 9) < 6
    cut_the_first(quantizer, monkeypatch)
    latent = quantizer(z_e.requires_grad_(), mask)
    real = mask[:, None]
    squares = [(z_e - quantizer.lookup(latent.indices[:, :depth])).square() * real for depth in (1, 2)]
    wanted = 0.25 * (squares[0].sum() + squares[1][1].sum()) / (12 * 4)
    torch.testing.assert_close(latent.loss, wanted)
    quantizer.update()
    assert [int(stage.codebook.counts.sum()) - 16 for stage in quantizer.parts] == [12, 6]


@BOTH
def test_dropout_draws_every_depth_by_the_global_generator_in_training_alone(kind: Kind) -> None:
    quantizer, z_e = of_data(kind, 3, dropout=0.6), torch.randn(3000, 4, 1)
    nats = torch.log(torch.tensor(16.0))
    torch.manual_seed(5)
    first = quantizer(z_e)
    depths = (first.kl / nats).round()
    shares = torch.stack([(depths == depth).float().mean() for depth in (1, 2, 3)])
    torch.testing.assert_close(shares, torch.tensor([0.2, 0.2, 0.6]), atol=0.04, rtol=0)
    torch.manual_seed(5)
    assert torch.equal(first.z, quantizer(z_e).z)
    assert torch.equal(quantizer.eval()(z_e).kl, torch.full((3000,), 1.0) * (nats + nats + nats))


@BOTH
def test_a_step_in_which_no_sample_reaches_the_last_stage_is_survived(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantizer, z_e = of_data(kind, 3, dropout=1.0), torch.randn(2, 4, 9, requires_grad=True)
    cut_the_first(quantizer, monkeypatch)
    for _ in range(30):
        latent = quantizer(z_e)
        (latent.z.sum() + latent.loss).backward()
        quantizer.update()
    assert bool(latent.loss.isfinite()) and bool(z_e.grad.isfinite().all())
    assert all(bool(value.isfinite().all()) for value in quantizer.state_dict().values())


# ---------------------------------------------------------------- state


def test_a_shared_codebook_is_updated_once_a_step_and_moves_at_its_end() -> None:
    """Where it moves between the stages of a step, training and evaluation see other codebooks."""
    quantizer = SharedResidualQuantizer(EMAVectorQuantizer(4, 16, revival=0), 3)
    book, before = quantizer.quantizer.codebook, quantizer.quantizer.codebook.vectors.clone()
    quantizer(torch.randn(2, 4, 9))
    assert torch.equal(book.vectors, before)
    quantizer.update()
    assert int(book.updates) == 1 and not torch.equal(book.vectors, before)
    assert int(book.counts.sum()) - 16 == 3 * 2 * 9  # by what all stages gave it


def test_a_dead_code_of_a_shared_codebook_is_revived_from_any_stage() -> None:
    quantizer = SharedResidualQuantizer(EMAVectorQuantizer(1, 3, revival=0.9), 2)
    book, firsts = quantizer.quantizer.codebook, []
    for seed in range(40):
        book.vectors.copy_(torch.tensor([[10.0], [0.0], [99.0]]))
        book.counts.copy_(torch.tensor([50.0, 50.0, 0.0]))
        book.updates.fill_(1 + seed)  # which seeds the draw
        quantizer(10 + torch.rand(1, 1, 50))
        quantizer.update()
        firsts.append(float(book.vectors[2]) > 5)
    assert 5 < sum(firsts) < 35


def test_stages_have_codebooks_of_their_own() -> None:
    quantizer = of_data(ResidualQuantizer)
    books = [stage.codebook.vectors for stage in quantizer.parts]
    assert len({book.data_ptr() for book in books}) == 4 and quantizer.parts[0] is quantizer.quantizer


@BOTH
def test_a_stream_given_once_initialises_every_stage_by_its_own_residuals(kind: Kind) -> None:
    read = []

    def endless() -> Iterator[Tensor]:
        while True:
            read.append(1)
            yield 5 + torch.randn(256, 4)

    quantizer = kind(EMAVectorQuantizer(4, 16), 3)
    quantizer.initialise(endless())
    assert len(read) == 4  # 64 vectors a code, for all stages
    assert quantizer.training
    quantizer.update()
    books = [stage.codebook for stage in quantizer.parts]
    assert all(int(book.updates) == 0 for book in books)  # what initialisation saw is in no statistic
    z_e = 5 + torch.randn(20, 4, 50)
    errors = [error(quantizer, z_e, depth) for depth in (1, 2, 3)]
    assert errors[1] < 0.8 * errors[0] and errors[2] < 0.8 * errors[1]


def test_an_initialised_stage_is_k_means_of_the_residuals() -> None:
    quantizer, vectors = ResidualQuantizer(EMAVectorQuantizer(4, 16), 2), torch.randn(1024, 4)
    quantizer.initialise([vectors])
    first, second = quantizer.parts
    alone = EMAVectorQuantizer(4, 16)
    alone.initialise([vectors - first.eval()(vectors.t()[None]).z[0].t()])
    torch.testing.assert_close(second.codebook.vectors, alone.codebook.vectors)


def test_every_stages_use_is_told() -> None:
    stats = of_data(ResidualQuantizer, 3)(torch.randn(2, 4, 9)).stats
    assert {"perplexity_0", "perplexity_1", "perplexity_2", "usage_2"} <= set(stats)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"depth": 2, "dropout": 1.5}, "dropout is 1.5"),
        ({"depth": 2, "dropout": -0.5}, "dropout is -0.5"),
    ],
)
def test_bad_arguments_are_refused_by_name(kind: Kind, arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        kind(EMAVectorQuantizer(4, 16), **arguments)
