"""What a run's samples are worth, and how near they are to what it was trained on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vqkit.data import Dataset, spread, sweep
from vqkit.evaluation import GENERATION, memorisation
from vqkit.progress import Progress
from vqkit.run.classification import classification
from vqkit.run.run import Run
from vqkit.signal import Batch

_COMPARED = 64  # samples, and as many held-out pictures and reconstructions
_SEARCHED, _AT_ONCE = 1 << 30, 1 << 22  # values of train pictures that are looked at, and of a batch of them


def evaluate_samples(run: Run, classify: bool = False, bar: bool | None = None) -> dict[str, Any]:
    """What evaluation.json has under "generation": `memorisation`, and `classification` where it is asked for, since it
    takes minutes, or where it was measured before. Nothing of a run that cannot be sampled."""
    found: dict[str, Any] = {}
    if classify:
        found["classification"] = classification(run, bar=bar)
    elif run.results["evaluation"].exists() and (known := run.evaluation.get(GENERATION, {}).get("classification")):
        found["classification"] = known
    if run.can_sample:
        train, held_out = run.dataset("train"), run.dataset("validation")
        given_back = train.read(spread(len(train), _COMPARED))
        found["memorisation"] = memorisation(
            run.tokenizer.signal,
            run.sample(_COMPARED),
            held_out.read(spread(len(held_out), _COMPARED)).x,
            run.reconstruct(given_back.x, given_back.side),
            searched(train, bar),
        )
    return found


def searched(train: Dataset, bar: bool | None = None) -> Iterator[Batch]:
    """The train samples that neighbours are looked for among: all of them or, where these are large or many, as many as
    a billion values make, evenly spread."""
    dims = train.signal.dims
    rows = spread(len(train), max(1, _SEARCHED // dims))
    with Progress("search for neighbours", len(rows), "sample", bar) as progress:
        for batch in sweep(train, max(1, min(256, _AT_ONCE // dims)), rows):
            yield batch
            progress.advance(len(batch.key))
