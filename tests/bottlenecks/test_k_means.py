"""k-means against clusters that are known, and against random starts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import nearest_code
from vqkit.bottlenecks.k_means import k_means, spread


def clusters(k: int, n: int, width: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """k centres [k, 3], and n points around each, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.randn(k, 3, generator=generator)
    points = centres.repeat_interleave(n, 0) + width * torch.randn(k * n, 3, generator=generator)
    return centres, points[torch.randperm(k * n, generator=generator)]


def mean_squared_error(points: Tensor, centres: Tensor) -> float:
    return float((points - centres[nearest_code(points, centres)]).square().sum(1).mean())


@pytest.mark.parametrize("k", [1, 2, 30, 300])
def test_every_one_of_separate_clusters_is_found(k: int) -> None:
    _, points = clusters(k, 40, 1e-3)
    assert mean_squared_error(points, k_means(points, k)) < 10 * 3 * 1e-6


def test_the_spread_start_beats_random_starts() -> None:
    _, points = clusters(200, 20, 0.3)
    ours = mean_squared_error(points, spread(points, 200, torch.Generator().manual_seed(0)))
    random = [mean_squared_error(points, points[torch.randperm(len(points))[:200]]) for _ in range(20)]
    assert ours < 0.5 * min(random)


def test_lloyds_passes_make_it_better() -> None:
    points = torch.randn(3000, 4)
    start = spread(points, 50, torch.Generator().manual_seed(0))
    assert mean_squared_error(points, k_means(points, 50)) < 0.8 * mean_squared_error(points, start)


def test_rounds_draw_as_k_means_plus_plus_does() -> None:
    """The third centre of points at 0, 0, 1 and 3 against the probabilities worked out one centre at a time."""
    points = torch.tensor([[0.0], [0.0], [1.0], [3.0]])
    wanted = torch.zeros(4, 4, 4)
    for i in range(4):
        first = (points - points[i]).square()[:, 0]
        for j in (first > 0).nonzero()[:, 0].tolist():
            second = torch.minimum(first, (points - points[j]).square()[:, 0])
            wanted[i, j] = 0.25 * first[j] / first.sum() * second / second.sum()
    tally: dict[tuple[float, ...], float] = {}
    for i, j, m in wanted.nonzero().tolist():
        order = (float(points[i]), float(points[j]), float(points[m]))
        tally[order] = tally.get(order, 0.0) + float(wanted[i, j, m])
    generator, draws = torch.Generator().manual_seed(1), 3000
    drawn = [tuple(spread(points, 3, generator)[:, 0].tolist()) for _ in range(draws)]
    assert set(drawn) <= set(tally)
    for order, p in tally.items():
        assert drawn.count(order) / draws == pytest.approx(p, abs=4 * (p / draws) ** 0.5)


def test_it_is_the_same_again_and_leaves_the_global_generator_alone() -> None:
    points = torch.randn(500, 3)
    torch.manual_seed(1)
    first, after = k_means(points, 20), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(after, torch.get_rng_state()) and torch.equal(first, k_means(points, 20))


@pytest.mark.parametrize("distinct", [1, 5])
def test_more_centres_than_points_are_apart_and_near_points(distinct: int) -> None:
    points = torch.randn(distinct, 3).repeat(2, 1)
    points[0, 0] += 1e-3  # so that one point alone has a spread
    centres = k_means(points, 16)
    assert len(centres.unique(dim=0)) == 16
    assert mean_squared_error(points, centres) < 1e-6 and mean_squared_error(centres, points) < 1e-4


def test_equal_points_are_one_centre_over_and_over() -> None:
    assert torch.equal(k_means(torch.full((6, 2), 3.0), 4), torch.full((4, 2), 3.0))
