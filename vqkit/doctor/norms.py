"""Whether the codes keep up with the encoder."""

from __future__ import annotations

import math
import re

from vqkit.doctor.codebooks import Codebooks
from vqkit.doctor.finding import Finding
from vqkit.doctor.log import FEWEST_ROWS, Rows, fifths

_APART = 2.0  # times: means of what they win are then a quarter of its energy; runs that work end within 1.4


def norms_apart(codebooks: Codebooks, rows: Rows, suffix: str) -> Finding | None:
    """How far the encoder's vectors and their codes are apart in length after training; early on, while the encoder
    learns fastest, healthy ones are as well. Of the part where they are furthest apart, such as a stage of a residual
    quantizer. None where the bottleneck logs no norms, or the log is short."""
    columns = dict.fromkeys(name for row in rows for name in row)
    # A level of several parts logs each of them, and their mean, which would hide the worst.
    of_parts = [name for name in columns if re.fullmatch(rf"z_e_norm(_\d+)+{suffix}", name)]
    ratios = [_ratios(rows, encoder) for encoder in of_parts or [f"z_e_norm{suffix}"]]
    told = {part: fifths(series) for part, series in enumerate(ratios) if len(series) >= FEWEST_ROWS}
    if not told:
        return None
    worst = max(told, key=lambda part: abs(math.log(told[part][-1])))
    first, *_, last = told[worst]
    name = f"part {worst + 1} of {codebooks.name}" if len(ratios) > 1 else codebooks.name
    return Finding(
        "norms apart",
        codebooks.level,
        f"The encoder's vectors of {name} were {first:.2f} times as long as their codes in the first fifth of training "
        f"and are {last:.2f} times as long in the last.",
        "The codes do not keep up with the encoder: raise the bottleneck's commitment_weight or lower its decay, where "
        "it has them, or lower the learning rate."
        if not 1 / _APART < last < _APART
        else None,
    )


def _ratios(rows: Rows, encoder: str) -> list[float]:
    """Of a column of the encoder's norms to that of the codes'."""
    codes = encoder.replace("z_e", "code")
    return [row[encoder] / row[codes] for row in rows if row.get(encoder, 0) > 0 and row.get(codes, 0) > 0]
