"""Makes a run of a recipe, or goes on with one."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from vqkit import recipe
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_source
from vqkit.pipeline.folder import claim, refuse_gaps, refuse_taken
from vqkit.pipeline.stages import STAGES, StageInputs, done, joint_objective, stages_of
from vqkit.recipe import Recipe
from vqkit.run import SPLITS, Run
from vqkit.training.states import last_state, states_of

_LOG = logging.getLogger("vqkit")
_MOST_CODES = 1 << 20  # of a codebook: a prior has a softmax over them, and evaluation counts each


def train(
    recipe_name: str,
    *,
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    stages: Sequence[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    bar: bool | None = None,
    **overrides: Any,
) -> Run:
    """Trains a tokenizer, jointly with a prior where the recipe says so, then a prior over its tokens, evaluates both
    and writes the report.

    Args:
        recipe_name: a recipe that comes with vqkit, such as digits, or a YAML file.
        data: SOURCE, in place of the recipe's.
        out: folder of the run, by default runs/RECIPE. An unfinished run of the same settings is resumed.
        stages: some of tokenizer, joint, tokens, prior, evaluation, report; by default all that the recipe has: tokens
            and prior are only of a tokenizer with indices, joint only of a recipe with that key.
        overwrite: make stages again that are done already, and all that follow from them.
        strict: stop at a sample that cannot be read, instead of leaving it out and counting it.
        bar: True for progress bars, False for silence; by default bars on a terminal and lines elsewhere.
        overrides: any key of the recipe, such as `**{"training.max_steps": 100}`.

    Raises ValueError for every mistake in these; what can be seen beforehand leaves nothing behind.
    """
    keys = overrides | ({"data": os.fspath(data)} if data else {})
    made = recipe.parser()
    options = [f"--{key}={_as_argument(value)}" for key, value in keys.items()]
    parsed = recipe.parse(made, [*recipe.arguments(recipe_name), *options])
    out = Path(out or f"runs/{Path(recipe_name).stem}")
    return make(recipe.instantiate(made, parsed), recipe.dump(made, parsed), out, stages, overwrite, strict, bar)


def _as_argument(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def make(
    parts: Recipe,
    config: str,
    out: Path,
    stages: Sequence[str] | None = None,
    overwrite: bool = False,
    strict: bool = False,
    bar: bool | None = None,
) -> Run:
    """The stages that are asked for and not done yet, in order. `config` is the YAML of `parts`."""
    existing = stages_of(config)
    wanted = existing if stages is None else list(stages)
    for stage in wanted:
        if stage not in existing:
            without = "the key joint" if stage == "joint" else "a prior, whose model has no indices"
            why = f" in a run without {without}" if stage in STAGES else ""
            raise ValueError(f"there is no stage {stage}{why}; name some of {', '.join(existing)}")
    refuse_taken(out, config, wanted, overwrite)
    refuse_gaps(out, config, wanted, overwrite)
    sets, tokenizer = _fitting(parts, strict)
    fresh = not (out / "config.yaml").is_file()
    try:
        claim(out, config, wanted if overwrite else [])
        inputs = StageInputs(Run(out), parts, sets, tokenizer, bar)
        for stage, (do, _) in STAGES.items():
            if stage in wanted and not done(out, stage):
                do(inputs)
                shutil.rmtree(states_of(out, stage), ignore_errors=True)  # it is done: nothing to resume
        if (out / "checkpoints").exists() and not any((out / "checkpoints").iterdir()):
            (out / "checkpoints").rmdir()
    except BaseException:
        if fresh and not any(done(out, stage) or last_state(out, stage) for stage in STAGES):
            shutil.rmtree(out, ignore_errors=True)  # nothing was made that a second try could go on from
        raise
    return Run(out)


def _fitting(parts: Recipe, strict: bool) -> tuple[dict[str, Dataset], Autoencoder]:
    """The data by split, and the untrained tokenizer. Raises ValueError where a part does not fit the others, before
    anything is written."""
    source = open_source(parts.data)
    sets: dict[str, Dataset] = {
        split: Dataset(source.split(split, parts.validation_share), parts.modality, strict) for split in SPLITS
    }
    for split, samples in sets.items():
        if samples.skipped:
            _LOG.warning("%d samples of the %s split could not be read and are left out", samples.skipped, split)
    signals = [samples.signal for samples in sets.values()]
    if signals[0] != signals[1]:
        raise ValueError(f"the splits of {parts.data} differ ({signals[0]}, {signals[1]}); make them alike")
    tokenizer = parts.tokenizer(signals[0])
    _check_prior(parts, tokenizer)
    for settings in (parts.training, parts.prior_training, *([parts.joint.training] if parts.joint else [])):
        settings.resolve_device()
    return sets, tokenizer


def _check_prior(parts: Recipe, tokenizer: Autoencoder) -> None:
    """Raises ValueError unless the tokenizer has indices and the recipe a prior that fits them, or neither."""
    kinds = " and ".join(dict.fromkeys(type(bottleneck).__name__ for bottleneck in tokenizer.bottlenecks))
    if parts.prior is None:
        if parts.joint is not None and not tokenizer.discrete:
            raise ValueError(f"{kinds} has no indices whose rate could be trained; add --joint null")
        if tokenizer.discrete:
            raise ValueError(f"{kinds} has indices and the recipe no prior for them; add --prior TransformerPrior")
        return
    if not tokenizer.discrete:
        raise ValueError(
            f"{kinds} has no indices for a prior to learn; add --prior null, or use a quantizer such as "
            "EMAVectorQuantizer"
        )
    layout = tokenizer.layout()
    if (largest := max(max(sizes) for sizes in layout.codebook_sizes)) > _MOST_CODES:
        raise ValueError(
            f"a codebook has {largest:,} codes, too many for a prior or for counting their use; name groups of fewer "
            f"channels, so that none has more than {_MOST_CODES:,}"
        )
    if (channels := parts.prior(layout).context_channels) > 0:
        raise ValueError(
            f"the prior takes a context of {channels} channels and has none; leave its context_channels out"
        )
    if parts.joint is not None:
        learned = chain(tokenizer.encoder.parameters(), tokenizer.levels.parameters())
        if not any(weight.requires_grad for weight in learned):
            raise ValueError("the encoder has nothing to learn, so its tokens cost what they cost; add --joint null")
        codebooks = zip(layout.grids, layout.codebook_sizes, strict=True)
        indices = tuple(torch.zeros(1, len(sizes), *grid, dtype=torch.int64) for grid, sizes in codebooks)
        prior = joint_objective(parts, tokenizer).prior.model
        prior.log_conditionals(indices, {"label": torch.zeros(1, dtype=torch.int64)})
