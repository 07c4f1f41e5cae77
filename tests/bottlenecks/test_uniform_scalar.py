"""Uniform scalar quantization against the formulas of transform codecs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vqkit.bottlenecks import EMAVectorQuantizer, ProductQuantizer, ProjectedQuantizer, UniformScalarQuantizer


@pytest.mark.parametrize(("step", "dead_zone"), [(1.0, 1.0), (0.5, 4 / 3), (0.25, 5 / 3), (2.0, 2.0)])
def test_it_is_the_formula(step: float, dead_zone: float) -> None:
    z_e = torch.randn(2, 3, 500) * 4 * step
    latent = UniformScalarQuantizer(3, step, 101, dead_zone)(z_e)
    z = z_e.double()
    integers = z.sign() * (z.abs() / step + 1 - dead_zone / 2).floor()
    assert torch.equal(latent.indices, integers.long() + 50)
    points = integers.sign() * (integers.abs() + 0.42 * (dead_zone - 1))
    torch.testing.assert_close(latent.z, (points * step).float())


def test_the_dead_zone_is_as_wide_as_it_says() -> None:
    z_e = torch.linspace(-1, 1, 20_001).view(1, 1, -1)
    for dead_zone in (1.0, 1.5, 2.0):
        zeros = UniformScalarQuantizer(1, 0.5, 9, dead_zone)(z_e).z == 0
        assert float(zeros.float().mean()) == pytest.approx(dead_zone * 0.5 / 2, abs=1e-3)


def test_plain_rounding_is_off_by_half_a_step_at_most() -> None:
    z_e = torch.randn(2, 3, 500)
    error = UniformScalarQuantizer(3, 0.1, 1001)(z_e).z - z_e
    assert float(error.abs().max()) <= 0.05 + 1e-6
    assert float(error.square().mean()) == pytest.approx(0.1**2 / 12, rel=0.1)


def test_what_is_beyond_the_alphabet_is_clamped() -> None:
    latent = UniformScalarQuantizer(1, 0.5, 5)(torch.tensor([[[-100.0, -1.2, 0.0, 1.2, 100.0]]]))
    assert latent.indices.tolist() == [[[0, 0, 2, 4, 4]]] and latent.z.tolist() == [[[-1.0, -1.0, 0.0, 1.0, 1.0]]]


def test_a_dead_zone_saves_entropy_on_a_laplacian() -> None:
    """Fewer codes are needed for the same data, and a wide one's points are where the data are."""
    z_e = torch.distributions.Laplace(0.0, 1.0).sample((1, 1, 20_000))
    plain, dead, widest = (UniformScalarQuantizer(1, 1.0, 101, width)(z_e) for width in (1.0, 4 / 3, 2.0))
    assert float(dead.stats["batch_perplexity"]) < 0.95 * float(plain.stats["batch_perplexity"])
    ones = z_e[(z_e >= 1) & (z_e < 2)]
    assert float(widest.z[(z_e >= 1) & (z_e < 2)].mean()) == pytest.approx(float(ones.mean()), abs=0.02)


def test_stages_are_the_quantizers_of_their_steps() -> None:
    z_e = torch.randn(2, 3, 2000) * 4
    staged = UniformScalarQuantizer(3, 1.0, 41, 2.0, stages=4)
    assert staged.codebook_sizes == (41,) * 3 + (3,) * 9 and staged.prefixes == (3, 6, 9, 12) and staged.dim == 3
    latent = staged(z_e)
    for stages in (1, 2, 3, 4):
        alone = UniformScalarQuantizer(3, 2.0 ** (1 - stages), 401, 2.0)(z_e)
        assert torch.equal(staged.lookup(latent.indices[:, : 3 * stages]), alone.z)


@pytest.mark.parametrize("levels", [3, 9, 11, 255])
@pytest.mark.parametrize("step", [0.3, 5.8])
def test_stages_nest_also_on_the_edges_of_cells_and_beside_them(levels: int, step: float) -> None:
    """No symbol takes back what the stages before say, so that each integer is reached one way."""
    edges = torch.arange(-40, 41) * torch.tensor(step / 8)
    z_e = torch.cat([edges, edges.nextafter(torch.tensor(99.0)), edges.nextafter(torch.tensor(-99.0))])
    indices = UniformScalarQuantizer(1, step, levels, 2.0, stages=4)(z_e.view(1, 1, -1)).indices[0]
    integers = indices[0] - levels // 2
    for symbols in indices[1:]:
        assert bool(((symbols - 1) * integers.sign() >= 0).all())
        integers = 2 * integers + symbols - 1


def test_a_stage_takes_nothing_back_of_those_before() -> None:
    z_e = torch.tensor([[[-5.1, -0.3, 0.3, 2.1, 3.0]]])  # of the first stage -2, 0, 0, 1, 1
    log_q = UniformScalarQuantizer(1, 2.0, 5, 2.0, stages=2).assignment(z_e)[0]
    torch.testing.assert_close(log_q.exp().sum(1), torch.ones(2, 5))
    assert bool(log_q[0].isfinite().all())
    assert (log_q[1, :3] == -torch.inf).tolist() == [
        [False, False, False, True, True], [False] * 5, [True, False, False, False, False]
    ]  # fmt: skip


def test_stages_beyond_the_alphabet_come_as_near_as_they_can() -> None:
    latent = UniformScalarQuantizer(1, 1.0, 3, 2.0, stages=3)(torch.tensor([[[-100.0, 1.6, 100.0]]]))
    assert latent.indices.tolist() == [[[0, 2, 2], [0, 2, 2], [0, 1, 2]]]
    torch.testing.assert_close(latent.z, torch.tensor([[[-1.855, 1.605, 1.855]]]))


def test_dropout_passes_on_fewer_stages_of_whole_samples_in_training_alone() -> None:
    z_e = torch.randn(200, 2, 5, 5, requires_grad=True)
    quantizer = UniformScalarQuantizer(2, 1.0, 9, 2.0, stages=3, dropout=0.6)
    latent = quantizer(z_e)
    prefixes = [quantizer.lookup(latent.indices[:, :books]) for books in quantizer.prefixes]
    passed = [(latent.z == z).flatten(1).all(1) for z in prefixes]
    shares = [float(share.float().mean()) for share in passed]
    assert bool(torch.stack(passed).any(0).all())
    assert shares == pytest.approx([0.2, 0.2, 0.6], abs=0.1)
    latent.z.sum().backward()
    assert torch.equal(z_e.grad, torch.ones_like(z_e))
    assert torch.equal(quantizer.eval()(z_e).z, prefixes[-1])


def test_the_nats_of_a_stage_weigh_what_the_depths_that_have_it_are_worth() -> None:
    assert UniformScalarQuantizer(2, 1.0, 9, 2.0, stages=2).rate_weights == (1,) * 4
    quantizer = UniformScalarQuantizer(2, 1.0, 9, 2.0, stages=3, dropout=0.5)
    worth = [16 / 6, 4 / 6, 4 / 6]  # drawn 1, 1 and 4 times of 6, at squared steps of 16, 4 and 1
    assert quantizer.rate_weights == pytest.approx([sum(worth[i // 2 :]) for i in range(6)])
    both = ProductQuantizer([EMAVectorQuantizer(2, 7), ProjectedQuantizer(quantizer, 3)])
    assert both.rate_weights == (1, *quantizer.rate_weights)


def test_every_channel_has_a_codebook() -> None:
    quantizer = UniformScalarQuantizer(64, 0.5)
    assert quantizer.codebook_sizes == (255,) * 64
    latent = quantizer(torch.randn(3, 64, 1, 1))  # as of PCA
    assert latent.indices.shape == (3, 64, 1, 1) and torch.equal(quantizer.lookup(latent.indices), latent.z)


def test_the_gradient_is_straight_through_also_where_clamped_or_dead() -> None:
    z_e, gradient = (torch.randn(2, 3, 50) * 10).requires_grad_(), torch.randn(2, 3, 50)
    UniformScalarQuantizer(3, 1.0, 5, 2.0)(z_e).z.backward(gradient)
    assert torch.equal(z_e.grad, gradient)


def test_the_commitment_counts_squared_steps_and_brings_z_e_back() -> None:
    z_e = torch.tensor([[[0.2, 9.0]]], requires_grad=True)  # one channel, two positions; levels end at 1.0
    loss = UniformScalarQuantizer(1, 0.5, 5, commitment_weight=0.3)(z_e).loss
    loss.backward()
    torch.testing.assert_close(loss.detach(), torch.tensor(0.3 * (0.4**2 + 16.0**2) / 2))
    torch.testing.assert_close(z_e.grad, 0.3 * torch.tensor([[[0.2, 8.0]]]) / 0.5**2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"commitment_weight": -1.0}, "commitment_weight is -1.0"),
        ({"dim": 0}, "dim is 0"),
        ({"step": 0.0}, "step is 0.0"),
        ({"levels": 256}, "levels is 256; take an odd number"),
        ({"levels": 1}, "levels are"),
        ({"dead_zone": 0.5}, "dead_zone is 0.5"),
        ({"stages": 0}, "stages is 0"),
        ({"stages": 18, "dead_zone": 2}, "stages is 18, of 255 levels; take fewer"),
        ({"stages": 5000, "dead_zone": 2}, "stages is 5000"),
        ({"stages": 2}, "stages is 2 with a dead_zone of 1.0; set it to 2"),
        ({"dropout": 1.5}, "dropout is 1.5"),
        ({"dead_zone": 2.5}, "dead_zone is 2.5"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniformScalarQuantizer(**{"dim": 3, "step": 0.5, **arguments})
