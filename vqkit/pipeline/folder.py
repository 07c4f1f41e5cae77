"""Whether a folder is free for a run, and making it the run's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vqkit.pipeline.stages import STAGES, done, following, left, stage_of, stages_of
from vqkit.training.states import states_of


def refuse_taken(out: Path, config: str, wanted: Sequence[str], overwrite: bool) -> None:
    """Raises ValueError where the folder is not free for this run; changes nothing."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "config.yaml").is_file():
        raise ValueError(f"{out} holds something else than a run; name another folder with --out")
    differences = _differences(yaml.safe_load((out / "config.yaml").read_text()), yaml.safe_load(config))
    if overwrite:
        kept = [stage for stage in STAGES if done(out, stage) and stage not in following(wanted)]
        if others := [key for key in differences if stage_of(key) in kept]:
            raise ValueError(
                f"{out} keeps its {', '.join(kept)}, made with another {others[0]}; overwrite those stages too, "
                "or name another --out"
            )
    elif differences:
        raise ValueError(
            f"{out} holds a run of another configuration (it differs in {differences[0]}); use --overwrite to replace "
            "it, or another --out"
        )
    elif not left(out):
        raise ValueError(f"{out} holds a finished run; use --overwrite to make it again, or another --out")
    elif all(done(out, stage) for stage in wanted):
        raise ValueError(
            f"{out} has its {', '.join(wanted)} already; leave --stages out to go on with {', '.join(left(out))}, or "
            "use --overwrite to make them again"
        )


def refuse_gaps(out: Path, config: str, wanted: Sequence[str], overwrite: bool) -> None:
    """Raises ValueError where a stage is asked for and one that it needs is not there and not asked for. Every stage
    needs all before it, but for the prior."""
    stages = stages_of(config)
    last = max((stages.index(stage) for stage in wanted), default=0)
    gone = set(following(wanted)) if overwrite else set()
    gaps = [stage for stage in stages[:last] if stage not in wanted and (stage in gone or not done(out, stage))]
    if needed := [stage for stage in gaps if stage != "prior"]:
        raise ValueError(
            f"{out} has no {' and no '.join(needed)} for its {stages[last]}; add {','.join(needed)} to "
            "--stages, or leave --stages out"
        )


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """The dotted keys in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in {**old, **new} for d in _differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [key]


def claim(out: Path, config: str, overwritten: Sequence[str]) -> None:
    """Makes the folder this run's, without the stages that are overwritten and all that follow from them."""
    for stage in following(overwritten):
        product = out / STAGES[stage][1]
        for path in (product, product.with_name(product.name + ".part")):  # a stage that was stopped left its part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(states_of(out, stage), ignore_errors=True)
        (out / f"metrics-{stage}.csv").unlink(missing_ok=True)
        shutil.rmtree(out / "tensorboard" / stage, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    part = out / "config.yaml.part"
    part.write_text(config)
    part.rename(out / "config.yaml")
