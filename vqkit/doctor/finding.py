"""What a check says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """What one check saw, with its numbers, in a `sentence`, and the `remedy`: None where all is well. `level` counts
    from 1, coarse to fine; it is None where the check is of no level."""

    check: str
    level: int | None
    sentence: str
    remedy: str | None


def as_text(findings: Sequence[Finding]) -> str:
    """The findings for people: what is to be changed first, then what is well."""
    ill = [f"- {finding.sentence}\n  {finding.remedy}" for finding in findings if finding.remedy]
    well = [f"- {finding.sentence}" for finding in findings if not finding.remedy]
    parts = [f"To be changed ({len(ill)} of {len(findings)} findings):\n" + "\n".join(ill)] if ill else []
    parts += ["{}:\n".format("The rest is well" if ill else "All is well") + "\n".join(well)] if well else []
    return "\n\n".join(parts)
