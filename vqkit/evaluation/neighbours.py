"""Whether samples are copies of what the model was trained on: their nearest training neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.measures import Measure
from vqkit.signal import Batch, Signal

_MEANING = "Median distance to the nearest train picture, values from 0 to 1, of "
MEMORISATION = {
    "ratio": Measure(
        "Sample / held-out", "", 3, "Of the distances below: near 1 or above, nothing is memorised; near 0, copies."
    ),
    "ratio_of_copies": Measure("Copy / held-out", "", 3, "The same of train pictures that the model gives back."),
    "sample_distance": Measure("Sample", "", 4, f"{_MEANING}samples."),
    "held_out_distance": Measure("Held-out", "", 4, f"{_MEANING}held-out pictures."),
    "copy_distance": Measure("Copy", "", 4, f"{_MEANING}reconstructions of train pictures."),
}
"""What is told of `memorisation`."""


class Neighbours(NamedTuple):
    """The k nearest to each of N queries among `searched` samples, the nearest first: `x` [N, k, C, *grid] in native
    values, and `distance` [N, k] float64, the root mean squared difference with values on a scale from 0 to 1."""

    x: Tensor
    distance: Tensor
    searched: int


@torch.no_grad()
def nearest(queries: Tensor, batches: Iterable[Batch], signal: Signal, k: int = 1) -> Neighbours:
    """The k samples of a stream that are nearest to each query [N, C, *grid], in native values, by L2.

    Exact, and of equals the first: float64 products of integers up to 255 are. Memory is that of the queries and of one
    batch. Raises ValueError where the stream has fewer than k samples.
    """
    wanted = queries.flatten(1).double()
    found = queries[:, None].repeat(1, k, *[1] * (queries.ndim - 1))
    squared, searched = wanted.new_full((len(wanted), k), torch.inf), 0
    own = torch.arange(len(wanted))[:, None]
    for batch in batches:
        x = batch.x.flatten(1).double()
        to_batch = wanted.square().sum(1, keepdim=True) + x.square().sum(1) - 2 * wanted @ x.T
        candidates = torch.cat([squared, to_batch.clamp(min=0)], 1)
        squared, place = (part[:, :k] for part in candidates.sort(dim=1, stable=True))
        old = (place < k).view(*place.shape, *[1] * (queries.ndim - 1))
        found = torch.where(old, found[own, place.clamp(max=k - 1)], batch.x[(place - k).clamp(min=0)])
        searched += len(x)
    if searched < k:
        raise ValueError(f"there are {searched} samples to search; give at least {k}")
    return Neighbours(found, (squared / wanted.shape[1]).sqrt() / (signal.high - signal.low), searched)


def memorisation(
    signal: Signal, samples: Tensor, held_out: Tensor, copies: Tensor, train: Iterable[Batch]
) -> dict[str, Any]:
    """How near samples are to what the model was trained on, beside pictures that it never saw.

    Args:
        samples: of the model, like the next two [any, C, *grid] in native values.
        held_out: real data that no part was trained on.
        copies: reconstructions of train data: as near as a sample of this model can come.
        train: the stream of train data, once.

    Returns plain JSON: the median distances of the three to their `nearest`; `ratio`, of the samples' to the held-out
    data's, near 1 or above where nothing was memorised; `ratio_of_copies`, the same of copies; and how many were
    `searched`. A ratio is None where the held-out data are in the train data. Raises ValueError where the stream is
    empty.
    """
    groups = {"sample_distance": samples, "held_out_distance": held_out, "copy_distance": copies}
    _, distance, searched = nearest(torch.cat(list(groups.values())), train, signal)
    parts = distance[:, 0].split([len(x) for x in groups.values()])
    found: dict[str, Any] = {name: float(part.quantile(0.5)) for name, part in zip(groups, parts, strict=True)}
    far = found["held_out_distance"]
    found["ratio"] = found["sample_distance"] / far if far else None
    found["ratio_of_copies"] = found["copy_distance"] / far if far else None
    return {**found, "samples": len(samples), "searched": searched}


def memorisation_rows(found: Mapping[str, Any]) -> Iterator[tuple[Measure, str]]:
    """What `memorisation` found: each measure with its value as text."""
    for key, measure in MEMORISATION.items():
        yield measure, measure.show(found[key])
