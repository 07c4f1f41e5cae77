"""k-means clustering: starts spread by k-means++ (Arthur and Vassilvitskii 2007,
https://dl.acm.org/doi/10.5555/1283383.1283494), then Lloyd's algorithm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from vqkit.bottlenecks.base import NotFinite
from vqkit.bottlenecks.processes import copy_from_first_process
from vqkit.bottlenecks.search import nearest_code

_POINTS_PER_CODE = 64  # as more hardly move a centre
_MANY_POINTS = 1 << 17  # enough for a codebook so large that 64 each would take hours: time grows with codes x points
_FEWEST_POINTS_PER_CODE = 2
_LLOYD_PASSES = 10  # at most
_WORTHWHILE = 0.99  # of the error before: a pass that leaves more is the last
_MOST_DRAWN = 1024  # candidates a round


@torch.no_grad()
def start_from_data(codes: Tensor, stream: Iterable[Tensor]) -> None:
    """Fills codes [K, D] with the centres of the first vectors [n, D] of a stream, as many as K centres need; every
    process takes those of the first one. Raises ValueError where the stream is empty or a part has another shape, and
    NotFinite where a number is not finite."""
    size, dim = codes.shape
    wanted = min(_POINTS_PER_CODE * size, max(_MANY_POINTS, _FEWEST_POINTS_PER_CODE * size))
    rows: list[Tensor] = []
    for part in stream:
        if part.ndim != 2 or part.shape[1] != dim:
            raise ValueError(f"a part of the stream is {list(part.shape)}; give vectors [n, {dim}], channels last")
        if not bool(part.isfinite().all()):
            raise NotFinite("the stream holds vectors that are not finite; leave them out, or mend what made them")
        rows.append(part.detach().float().to(codes.device))
        if sum(map(len, rows)) >= wanted:
            break
    if not sum(map(len, rows)):
        raise ValueError("the stream to initialise a codebook from is empty; give it at least one vector")
    points = torch.cat(rows)
    codes.copy_(k_means(points[:: max(1, len(points) // wanted)], size))  # a part may be very long
    copy_from_first_process(codes)


@torch.no_grad()
def k_means(points: Tensor, k: int) -> Tensor:
    """[N, D] float32 -> k centres [k, D], the same on every call; O(N k D) time, O(N D + k D) memory.

    Where there are fewer points than k, the spare centres are points again, moved a little so that no two are equal.
    """
    generator = torch.Generator().manual_seed(0)
    centres = spread(points, k, generator)
    error = torch.inf
    for _ in range(_LLOYD_PASSES):
        winners = nearest_code(points, centres)
        before, error = error, float((points - centres[winners]).square().mean())
        if error >= _WORTHWHILE * before:
            break
        wins = torch.bincount(winners, minlength=k)[:, None]
        sums = torch.zeros_like(centres).index_add_(0, winners, points)
        centres = torch.where(wins > 0, sums / wins.clamp_min(1), centres)
    return centres


def spread(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """k-means++: each of k centres [k, D] is drawn from the points [N, D] by its squared distance to the nearest centre
    before it.

    As in k-means|| (Bahmani et al. 2012, https://arxiv.org/abs/1203.6402), a round draws many candidates by the
    distances at its start, so that the points are gone through once a round, not once a centre. A candidate that others
    of the round came closer to is kept with probability new / old squared distance alone: this makes the result exactly
    that of k-means++, with nothing to weigh and thin out at the end.
    """
    first = int(torch.randint(len(points), (), generator=generator))
    centres = points[first : first + 1]
    squared = (points - centres).square().sum(1)
    while len(centres) < k and bool(squared.sum() > 0):
        count = min(len(centres), _MOST_DRAWN)
        drawn = torch.multinomial(squared.double().cpu(), count, replacement=True, generator=generator)
        candidates = points[drawn.to(points.device)]
        kept = _kept(candidates, squared[drawn.to(points.device)], generator)[: k - len(centres)]
        fresh = candidates[kept.to(points.device)]
        squared = torch.minimum(squared, (points - fresh[nearest_code(points, fresh)]).square().sum(1))
        centres = torch.cat([centres, fresh])
    spare = k - len(centres)
    again = points[torch.randint(len(points), (spare,), generator=generator).to(points.device)]
    noise = torch.randn(again.shape, generator=generator).to(points.device)
    return torch.cat([centres, again + 1e-4 * points.std(correction=0) * noise])


def _kept(candidates: Tensor, squared: Tensor, generator: torch.Generator) -> Tensor:
    """Which of a round's candidates [n, D] become centres; `squared` [n] is from the centres before the round."""
    # Differences, as a matrix product would not give a point drawn twice a distance of exactly zero.
    between = torch.cdist(candidates, candidates, compute_mode="donot_use_mm_for_euclid_dist").square().cpu()
    closest, limits = squared.cpu().clone(), squared.cpu() * torch.rand(len(squared), generator=generator)
    kept = []
    for number, limit in enumerate(limits.tolist()):
        if float(closest[number]) > limit:
            kept.append(number)
            closest = torch.minimum(closest, between[number])
    return torch.tensor(kept)
