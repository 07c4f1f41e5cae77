"""The stages of a run, each of which leaves something in the folder that says it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, shuffled, spread, sweep
from vqkit.evaluation import GENERATION
from vqkit.pipeline.findings import report
from vqkit.progress import Progress
from vqkit.recipe import Recipe
from vqkit.run import Run, evaluate_samples, tokenize
from vqkit.training import JointObjective, PriorObjective, TokenizerObjective
from vqkit.training.states import last_state

_INITIALISING = 64  # samples a batch of the stream that codebooks start from
_CALIBRATING, _FEWEST_CALIBRATING = 1 << 21, 16  # values that a likelihood's scale is fitted to, and samples at least
_FITTING = 256  # and of the passes that a closed form takes


class StageInputs(NamedTuple):
    """What the stages share: the run's folder, its recipe, the data by split, and the tokenizer to be trained."""

    run: Run
    parts: Recipe
    sets: Mapping[str, Dataset]
    tokenizer: Autoencoder
    bar: bool | None


def _train_tokenizer(inputs: StageInputs) -> None:
    from vqkit.training.fit import fit

    settings, train_set, held_out = inputs.parts.training, inputs.sets["train"], inputs.sets["validation"]
    tokenizer = inputs.parts.tokenizer.fit(train_set.signal, lambda: sweep(train_set, _FITTING))
    if tokenizer is None:
        tokenizer = inputs.tokenizer
        if last_state(inputs.run.folder, "tokenizer") is None:
            tokenizer.initialise(lambda: shuffled(train_set, _INITIALISING, settings.seed))
        objective = TokenizerObjective(tokenizer)
        fit("tokenizer", objective, settings, inputs.run.folder, train_set, held_out, inputs.bar)
    _calibrate(tokenizer, train_set)
    checkpoint.save(tokenizer, inputs.run.folder / "tokenizer")


def _calibrate(tokenizer: Autoencoder, train_set: Dataset) -> None:
    seen = max(_FEWEST_CALIBRATING, _CALIBRATING // train_set.signal.dims)
    tokenizer.calibrate(train_set.read(spread(len(train_set), seen)))


def _train_jointly(inputs: StageInputs) -> None:
    from vqkit.training.fit import fit

    assert inputs.parts.joint is not None  # else the run has no such stage
    settings, sets, folder = inputs.parts.joint.training, inputs.sets, inputs.run.folder
    tokenizer = checkpoint.load(folder / "tokenizer", Autoencoder)
    torch.manual_seed(settings.seed)
    objective = joint_objective(inputs.parts, tokenizer)
    fit("joint", objective, settings, folder, sets["train"], sets["validation"], inputs.bar)
    _calibrate(tokenizer, sets["train"])
    checkpoint.save(tokenizer, folder / "joint")


def joint_objective(parts: Recipe, tokenizer: Autoencoder) -> JointObjective:
    """Of the tokenizer and a new prior. Raises ValueError where the recipe's parts do not fit."""
    joint = parts.joint
    assert joint is not None
    make_prior = joint.prior or parts.prior
    assert make_prior is not None  # else there are no tokens
    return JointObjective(tokenizer, make_prior(tokenizer.layout()), joint.rate_weight, joint.temperature)


def _write_tokens(inputs: StageInputs) -> None:
    part = inputs.run.folder / "tokens.part"
    for split, data in inputs.sets.items():
        tokenize(inputs.run, data, part / split, inputs.bar)
    part.rename(inputs.run.folder / "tokens")


def _train_prior(inputs: StageInputs) -> None:
    from vqkit.training.fit import fit

    settings, run, make_prior = inputs.parts.prior_training, inputs.run, inputs.parts.prior
    assert make_prior is not None  # else the run has no such stage
    train_set, held_out = run.tokens("train"), run.tokens("validation")
    torch.manual_seed(settings.seed)
    prior = make_prior(train_set.layout)
    if not prior.fit(run.token_batches("train")):
        fit("prior", PriorObjective(prior), settings, run.folder, train_set, held_out, inputs.bar)
    checkpoint.save(prior, run.folder / "prior", {"tokenizer": run.fingerprint})


def _evaluate(inputs: StageInputs) -> None:
    numbers = inputs.run.evaluate(bar=inputs.bar)
    inputs.run.save_evaluation({**numbers, GENERATION: evaluate_samples(inputs.run, bar=inputs.bar)})


def _report(inputs: StageInputs) -> None:
    with Progress("report", 1, "page", inputs.bar) as progress:
        report(inputs.run)
        progress.advance()


STAGES: dict[str, tuple[Callable[[StageInputs], None], str]] = {
    "tokenizer": (_train_tokenizer, "tokenizer"),
    "joint": (_train_jointly, "joint"),
    "tokens": (_write_tokens, "tokens"),
    "prior": (_train_prior, "prior"),
    "evaluation": (_evaluate, "evaluation.json"),
    "report": (_report, "report/index.html"),
}
"""In order: what makes each, and what in the folder says that it is done."""
_KEYS = {"joint": "joint", "tokens": "prior", "prior": "prior"}  # of a recipe, without which there is no such stage


def stages_of(config: str) -> list[str]:
    """Those of a run with this configuration: where there is no prior, nothing has indices to write or to learn."""
    keys = yaml.safe_load(config)
    return [stage for stage in STAGES if stage not in _KEYS or keys.get(_KEYS[stage]) is not None]


def stage_of(key: str) -> str:
    """The first stage that a key of a recipe changes."""
    return {"joint": "joint", "prior": "prior", "prior_training": "prior"}.get(key.partition(".")[0], "tokenizer")


def left(out: Path) -> list[str]:
    """The stages that are still to come in a run's folder."""
    return [stage for stage in stages_of((out / "config.yaml").read_text()) if not done(out, stage)]


def done(out: Path, stage: str) -> bool:
    return (out / STAGES[stage][1]).exists()


def following(wanted: Sequence[str]) -> list[str]:
    """The first of these stages and all that follow, which are made of what it makes."""
    return list(STAGES)[min((list(STAGES).index(stage) for stage in wanted), default=len(STAGES)) :]
