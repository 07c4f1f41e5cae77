"""What samples teach a classifier, beside what real data teach it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from vqkit.evaluation.measures import Measure
from vqkit.features import Labelled, accuracy, train_classifier
from vqkit.signal import Batch, Signal

COLUMNS = {
    "top_1": Measure("Top-1", "%", 2, "Held-out pictures whose class the classifier takes for the likeliest."),
    "top_5": Measure("Top-5", "%", 2, "Held-out pictures whose class is among its five likeliest."),
}
"""The columns of the published table."""


def classification_accuracy(
    signal: Signal,
    sources: Mapping[str, Callable[[], Labelled]],
    held_out: Callable[[], Iterable[Batch]],
    steps: int,
    device: torch.device | str = "cpu",
    bar: bool | None = None,
) -> dict[str, dict[str, Any]]:
    """The classification accuracy score (Ravuri & Vinyals 2019, https://arxiv.org/abs/1905.10887): a classifier for
    each source, all trained for the same number of steps and tested on the same real data.

    Args:
        signal: of all samples; its labels are the classes.
        sources: such as "real", "reconstructions" and "samples"; each is made when its turn comes, and let go after it.
        held_out: real data that no model was trained on, anew for each classifier.
        steps: of `train_classifier`.

    Returns plain JSON: for each source `top_1` and `top_5` as in `Accuracy`, and the numbers of samples that it was
    `trained_on` and `tested_on`. `top_5` is None where there are five classes or fewer. Raises ValueError like
    `train_classifier` and `accuracy`.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, make in sources.items():
        samples = make()
        classifier = train_classifier(samples, signal, steps, 0, device, bar, f"classifier of {name}")
        top_1, top_5, tested_on = accuracy(classifier, held_out())
        found[name] = {
            "top_1": top_1,
            "top_5": top_5 if len(signal.labels) > 5 else None,
            "trained_on": len(samples.label),
            "tested_on": tested_on,
        }
    return found


class ClassificationRow(NamedTuple):
    """One line of the published table (table 2 of Razavi et al. 2019, https://arxiv.org/abs/1906.00446): where the
    train pictures came from, and the values of `COLUMNS` as text."""

    source: str
    values: list[str]


def classification_rows(found: Mapping[str, Mapping[str, Any]]) -> Iterator[ClassificationRow]:
    """What `classification_accuracy` found."""
    for source, numbers in found.items():
        yield ClassificationRow(source.capitalize(), [column.show(numbers[key]) for key, column in COLUMNS.items()])
