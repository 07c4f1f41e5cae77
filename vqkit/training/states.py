"""The training state that a stage is resumed from: RUN/checkpoints/STAGE/step500.ckpt."""

from __future__ import annotations

from pathlib import Path


def states_of(run: Path, stage: str) -> Path:
    """The folder of a stage's states."""
    return run / "checkpoints" / stage


def last_state(run: Path, stage: str) -> Path | None:
    """The state of the latest step; None where a stage starts from the beginning."""
    found = states_of(run, stage).glob("step*.ckpt")
    return max(found, key=lambda path: int(path.stem.removeprefix("step")), default=None)
