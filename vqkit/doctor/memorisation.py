"""Whether samples are copies of what the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vqkit.doctor.finding import Finding

_COARSE = 0.8  # of the distance of held-out pictures: what a copy has then is within what samples differ by


def memorisation(measured: Mapping[str, Any]) -> Finding | None:
    """How near samples are to train pictures, beside held-out pictures and what copies would be; None where it was not
    measured, or the reconstructions are so coarse that copies could not be told."""
    ratio, copies = measured.get("ratio"), measured.get("ratio_of_copies")
    if ratio is None or copies is None or copies > _COARSE:
        return None
    return Finding(
        "memorisation",
        None,
        f"The median sample is {ratio:.2f} times as far from its nearest train picture as a held-out picture is; a "
        f"copy would be {copies:.2f} times as far.",
        "It gives back what it was trained on: give it more data, more weight_decay or dropout, fewer max_steps, or "
        "make the prior smaller."
        if ratio < (1 + copies) / 2
        else None,
    )
