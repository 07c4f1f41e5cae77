"""Every number of an evaluation: for each split, a row a measure and a column a split, and what is of samples; for the
terminal and for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Table

from vqkit.evaluation.classification import COLUMNS, classification_rows
from vqkit.evaluation.measures import ABSENT, MEASURES, RATES
from vqkit.evaluation.neighbours import memorisation_rows

GENERATION = "generation"
"""The key of an evaluation that has, beside the splits, what is of samples: `classification` and `memorisation`."""


class Row(NamedTuple):
    """One line of every number: a measure, or its part of one level, with its value in each split as text, and why a
    value is missing."""

    title: str
    meaning: str
    values: list[str]
    reasons: list[str]
    of_level: bool


def rows(evaluation: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """Those of `MEASURES` that a model's evaluation speaks of: one without tokens has none of them. Where there are
    several levels, a measure is followed by what it is of each, as far as that was measured."""
    found_in = list(splits(evaluation).values())
    grids = found_in[0].get("grids", []) if found_in else []
    for key, measure in MEASURES.items():
        if key in RATES[1:] or not any(key in found for found in found_in):
            continue
        if key == RATES[0]:
            yield _of_rates(found_in)
            continue
        reasons = list(dict.fromkeys(text for found in found_in if (text := found.get("reasons", {}).get(key))))
        yield Row(measure.title, measure.meaning, [measure.show(found.get(key)) for found in found_in], reasons, False)
        parts = [found.get(f"{key}_of_levels", []) for found in found_in]
        if len(grids) > 1 and all(parts):
            for number, (grid, *values) in enumerate(zip(grids, *parts, strict=True), 1):
                title = f"level {number}, {' × '.join(map(str, grid))}"
                yield Row(title, "", [measure.show(value) for value in values], [], True)


def _of_rates(found_in: Sequence[Mapping[str, Any]]) -> Row:
    """The three rates in one line."""
    measures = {key: MEASURES[key] for key in RATES}
    title = f"Rate: {' / '.join(key.removesuffix('_bits') for key in RATES)}, {MEASURES[RATES[0]].unit}"
    meaning = " ".join(f"{measure.name}: {measure.meaning}" for measure in measures.values())
    values = [" / ".join(measure.show(found.get(key)) for key, measure in measures.items()) for found in found_in]
    reasons = [text for found in found_in for key in RATES if (text := found.get("reasons", {}).get(key))]
    return Row(title, meaning, values, list(dict.fromkeys(reasons)), False)


def table(evaluation: Mapping[str, Mapping[str, Any]]) -> Group:
    """`evaluation` maps the name of a split, such as "train", to what `evaluate` found there: a column each. What was
    measured of samples follows, in tables of its own."""
    generation = evaluation.get(GENERATION, {})
    parts = [_of_splits(evaluation)]
    if classification := generation.get("classification"):
        parts.append(_of_classification(classification))
    if memorised := generation.get("memorisation"):
        parts.append(_of_memorisation(memorised))
    return Group(*parts)


def _of_splits(evaluation: Mapping[str, Mapping[str, Any]]) -> Table:
    result = Table("", caption_justify="left")
    for split in splits(evaluation):
        result.add_column(split, justify="right")
    for row in rows(evaluation):
        result.add_row(f"  {row.title}" if row.of_level else row.title, *row.values)
    # Splits of one run lack the same numbers, and several numbers the same thing, so each reason is said once.
    names: dict[str, dict[str, None]] = {}
    for found in splits(evaluation).values():
        for key, text in found.get("reasons", {}).items():
            names.setdefault(text, {})[MEASURES[key].name] = None
    result.caption = "\n".join(f"{', '.join(keys)} {ABSENT} {text}" for text, keys in names.items()) or None
    return result


def _of_classification(classification: Mapping[str, Any]) -> Table:
    result = Table("Classifier trained on")
    for column in COLUMNS.values():
        result.add_column(column.title, justify="right")
    for row in classification_rows(classification):
        result.add_row(row.source, *row.values)
    return result


def _of_memorisation(memorised: Mapping[str, Any]) -> Table:
    result = Table("Distance to the nearest train picture")
    result.add_column(justify="right")
    for measure, value in memorisation_rows(memorised):
        result.add_row(measure.title, value)
    return result


def splits(evaluation: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What an evaluation found in each split, without what is of samples."""
    return {name: found for name, found in evaluation.items() if name != GENERATION}
