"""All checks of a run, in the order in which their findings are told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.doctor.codebooks import codebooks_of, collapse, dead_codes, unused_level
from vqkit.doctor.curves import loss_at_the_end, overfitting, waiting_for_data
from vqkit.doctor.finding import Finding
from vqkit.doctor.log import Rows
from vqkit.doctor.memorisation import memorisation
from vqkit.doctor.norms import norms_apart
from vqkit.doctor.posterior import posterior_collapse, unfinished_warm_up
from vqkit.doctor.prior import useless_prior
from vqkit.evaluation import GENERATION
from vqkit.signal import Layout


def diagnose(
    evaluation: Mapping[str, Mapping[str, Any]], layout: Layout, metrics: Mapping[str, Rows]
) -> tuple[Finding, ...]:
    """Every check that the numbers allow.

    Args:
        evaluation: what `evaluate` found in the splits "train" and "validation", and perhaps what was measured of
            samples, under "generation".
        layout: the tokenizer's; without levels where it has no indices, whose checks are then left out.
        metrics: the logs of the stages "tokenizer", "joint" and "prior"; no rows where a stage was not trained.

    Raises ValueError where the evaluation is one without numbers of each codebook.
    """
    train, held_out = evaluation["train"], evaluation["validation"]
    levels = codebooks_of(layout, held_out)
    found: list[Finding | None] = []
    for codebooks in levels:
        if len(levels) > 1 and codebooks.unused:
            found.append(unused_level(codebooks))
        else:
            found += [collapse(codebooks), dead_codes(codebooks)]
        suffix = f"_{codebooks.level - 1}" if len(levels) > 1 else ""
        found.append(norms_apart(codebooks, metrics["tokenizer"], suffix))
    found += [posterior_collapse(held_out), unfinished_warm_up(metrics["tokenizer"]), useless_prior(held_out)]
    found.append(memorisation(evaluation.get(GENERATION, {}).get("memorisation", {})))
    for stage, rows in metrics.items():
        gap = overfitting(stage, rows, train, held_out)
        overfits = gap is not None and gap.remedy is not None
        found += [gap, loss_at_the_end(stage, rows, overfits), waiting_for_data(stage, rows)]
    return tuple(finding for finding in found if finding is not None)
