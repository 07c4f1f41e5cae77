"""What training logs, read in fifths: the checks of how a number moved look at the means of its five parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

Rows = Sequence[Mapping[str, float]]
"""The rows of a metrics file."""

FEWEST_ROWS = 10  # of a log: two in each fifth


def fifths(values: Sequence[float]) -> list[float]:
    """The means of the five parts of a series of at least five."""
    n = len(values)
    return [fmean(values[part * n // 5 : (part + 1) * n // 5]) for part in range(5)]
