"""What is shown and told of samples."""

from __future__ import annotations

from typing import Any

from vqkit.evaluation import GENERATION, MEMORISATION, classification_rows
from vqkit.evaluation.classification import COLUMNS
from vqkit.report.findings import Findings
from vqkit.report.pictures import picture


def samples(findings: Findings) -> list[dict[str, str]]:
    """Every sample, with what was asked for."""
    generation = findings.generation
    if generation is None:
        return []
    labels = generation.labels or [""] * len(generation.samples)
    return [{"image": picture(x), "label": label} for x, label in zip(generation.samples, labels, strict=True)]


def choices(findings: Findings) -> list[dict[str, Any]]:
    """A row of pictures for each way of drawing."""
    found = {} if findings.generation is None else findings.generation.choices
    return [{"name": name, "images": [picture(x) for x in row]} for name, row in found.items()]


def neighbours(findings: Findings) -> list[dict[str, Any]]:
    """The first samples, each with the train pictures nearest to it and their distances."""
    if findings.generation is None:
        return []
    shown = findings.generation.neighbours
    return [
        {
            "image": picture(sample),
            "near": [
                {"image": picture(x), "distance": f"{distance:.3f}"}
                for x, distance in zip(near, distances.tolist(), strict=True)
            ],
        }
        for sample, near, distances in zip(findings.generation.samples, shown.x, shown.distance, strict=False)
    ]


def memorisation(findings: Findings) -> dict[str, str]:
    """`MEMORISATION` as text, and how many pictures were `searched`; nothing where it was not measured."""
    found = findings.evaluation.get(GENERATION, {}).get("memorisation")
    if not found:
        return {}
    return {key: measure.show(found[key]) for key, measure in MEMORISATION.items()} | {
        "searched": f"{found['searched']:,}"
    }


def classification(findings: Findings) -> dict[str, Any]:
    """The published table, and the numbers of samples; nothing where it was not measured."""
    found = findings.evaluation.get(GENERATION, {}).get("classification")
    if not found:
        return {}
    real = found["real"]
    return {
        "columns": list(COLUMNS.values()),
        "rows": list(classification_rows(found)),
        "trained_on": f"{real['trained_on']:,}",
        "tested_on": f"{real['tested_on']:,}",
    }
