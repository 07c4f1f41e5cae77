"""What coefficients cost that are quantized in stages, against the cells of their densities."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import UniformScalarQuantizer
from vqkit.priors import SuccessiveRefinementPrior, UnigramPrior, drive
from vqkit.signal import Indices, Layout

STEP, LEVELS, STAGES, N = 2.0, 5, 3, 2
LAYOUT = Layout(((4, 6),), ((LEVELS,) * N + (3,) * N * (STAGES - 1),))


def quantizer(stages: int = STAGES) -> UniformScalarQuantizer:
    return UniformScalarQuantizer(N, STEP, LEVELS, 2.0, stages=stages)


def coefficients(batch: int = 6, seed: int = 0) -> Tensor:
    """[B, N, 4, 6]: how large they are differs from one half of a sample to the other, as in pictures."""
    generator = torch.Generator().manual_seed(seed)
    sizes = 0.3 * 12 ** torch.rand(batch, 1, 1, 2, generator=generator).repeat_interleave(3, -1)
    return sizes * torch.randn(batch, N, 4, 6, generator=generator)


def indices_of(z_e: Tensor, stages: int = STAGES) -> Indices:
    return (quantizer(stages)(z_e).indices,)


def usual(location: float, scale: float) -> SuccessiveRefinementPrior:
    """One whose densities are all the same, in the units of the coefficients."""
    prior = SuccessiveRefinementPrior(LAYOUT, STAGES, width=4, depth=1).double()
    with torch.no_grad():
        for stage in range(STAGES):
            unit = STEP / 2**stage
            prior.usual[stage, :N], prior.usual[stage, N:] = location / unit / 5, math.log(scale / unit) / 5
    return prior


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (0.7, 0.4), (-3.0, 5.0)])
def test_stages_cost_together_what_the_finest_cell_has_of_the_density(location: float, scale: float) -> None:
    z_e = coefficients()
    found = usual(location, scale).log_prob(indices_of(z_e), {})[0].unflatten(1, (STAGES, N)).sum(1)
    z, step = z_e.double(), STEP / 2 ** (STAGES - 1)
    inner, last = (z.abs() / step).floor() * step, STEP * (LEVELS // 2 + 1) - step
    inner = inner.clamp_max(last)
    outer = torch.where(inner == last, math.inf, inner + step)
    low, high = torch.where(z >= 0, inner, -outer), torch.where(z >= 0, outer, -inner)
    low, high = torch.where(inner == 0, -step, low), torch.where(inner == 0, step, high)
    mass = ((high - location) / scale).sigmoid() - ((low - location) / scale).sigmoid()
    torch.testing.assert_close(found, mass.log(), atol=1e-4, rtol=0)


def test_it_learns_from_what_is_around_and_from_the_stages_before() -> None:
    """Below the best table for each codebook, after a few steps."""
    torch.manual_seed(0)
    prior = SuccessiveRefinementPrior(LAYOUT, STAGES, width=16, depth=1)
    optimizer = torch.optim.Adam(prior.parameters(), lr=1e-2)
    for step in range(150):
        optimizer.zero_grad()
        prior.loss(indices_of(coefficients(32, step + 1)), {}).backward()
        optimizer.step()
    held_out, unigram = indices_of(coefficients(200)), UnigramPrior(LAYOUT)
    unigram.fit([(held_out, {})])
    with torch.no_grad():
        assert float(prior.loss(held_out, {})) < 0.9 * float(unigram.loss(held_out, {}))


def test_a_walk_has_two_steps_a_stage_and_the_second_is_given_the_first() -> None:
    torch.manual_seed(0)
    prior = SuccessiveRefinementPrior(LAYOUT, STAGES, width=8, depth=1)
    for parameter in prior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    (level,) = indices_of(coefficients(1))
    odd = torch.arange(4)[:, None] + torch.arange(6) & 1 > 0

    def logits(level: Tensor) -> list[Tensor]:
        found = []

        def choose(step: Any) -> Tensor:
            found.append(step.logits)
            return level.flatten(1)[:, step.positions[0]]

        drive(prior.walk(LAYOUT, 1, {}), choose)
        return found

    first = logits(level)
    assert len(first) == 2 * STAGES and first[0].shape == first[1].shape == (1, N * 12, LEVELS)
    for changed_half, begins in ((~odd, 1), (odd, 2)):  # of the first stage
        other = level.clone()
        other[:, :N] = torch.where(changed_half, (level[:, :N] + 1) % LEVELS, level[:, :N])
        differs = [not torch.equal(a, b) for a, b in zip(first, logits(other), strict=True)]
        assert differs == [False] * begins + [True] * (2 * STAGES - begins)


def test_one_stage_is_enough() -> None:
    layout = Layout(((4, 6),), ((LEVELS,) * N,))
    prior = SuccessiveRefinementPrior(layout, 1, width=4, depth=0)
    indices = (UniformScalarQuantizer(N, STEP, LEVELS, 2.0)(coefficients()).indices,)
    assert math.isfinite(float(prior.loss(indices, {}).detach()))


@pytest.mark.parametrize(
    ("sizes", "arguments", "message"),
    [
        ((5, 5, 3, 3), {"stages": 3}, "these 4 codebooks are not 3 stages"),
        ((5, 5, 3, 4), {"stages": 2}, "take this prior for a UniformScalarQuantizer"),
        ((4, 4), {"stages": 1}, "of one odd alphabet"),
        ((5, 5), {"stages": 0}, "stages is 0"),
        ((5, 5), {"stages": 1, "width": 0}, "width is 0"),
        ((5, 5), {"stages": 1, "depth": -1}, "depth is -1"),
    ],
)
def test_what_does_not_fit_is_refused(sizes: tuple[int, ...], arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SuccessiveRefinementPrior(Layout(((4, 4),), (sizes,)), **arguments)


@pytest.mark.parametrize("grid", [(9,), (5, 3), (2, 3, 2)])
def test_grids_of_any_size_and_dimensions_are_walked_as_they_are_scored(grid: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    own = Layout(((4,) * len(grid),), LAYOUT.codebook_sizes)
    prior = SuccessiveRefinementPrior(own, STAGES, width=8, depth=1)
    for parameter in prior.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    indices, nats = (quantizer()(3 * torch.randn(2, N, *grid)).indices,), torch.zeros(2)

    def choose(step: Any) -> Tensor:
        nonlocal nats
        symbols = indices[0].flatten(1)[:, step.positions[0]]
        nats = nats - step.logits.log_softmax(-1).gather(-1, symbols[..., None]).sum((1, 2))
        return symbols

    drive(prior.walk(own._replace(grids=(grid,)), 2, {}), choose)
    with torch.no_grad():
        torch.testing.assert_close(nats, -prior.log_prob(indices, {})[0].flatten(1).sum(1))
