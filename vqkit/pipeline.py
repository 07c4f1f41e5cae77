"""How a run is made: its stages, each of which leaves something in the folder that says it is done."""

from __future__ import annotations

import json
import logging
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from vqkit import checkpoint, recipe
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_source, shuffled, spread
from vqkit.evaluation import CodebookHealth
from vqkit.progress import Progress
from vqkit.recipe import Recipe
from vqkit.report import Findings, write
from vqkit.run import SPLITS, Run
from vqkit.training import PriorObjective, TokenizerObjective
from vqkit.training.states import last_state, states_of

_LOG = logging.getLogger("vqkit")
_SHOWN = 16  # held-out samples in the report
_MOST_CODES = 1 << 20  # of a codebook: a prior has a softmax over them, and evaluation counts each
_INITIALISING = 64  # samples a batch of the stream that codebooks start from


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
    """Trains a tokenizer, then a prior over its tokens, evaluates both and writes the report.

    Args:
        recipe_name: a recipe that comes with vqkit, such as digits, or a YAML file.
        data: SOURCE, in place of the recipe's.
        out: folder of the run, by default runs/RECIPE. An unfinished run of the same settings is resumed.
        stages: some of tokenizer, tokens, prior, evaluation, report; by default all.
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
    wanted = list(_STAGES) if stages is None else list(stages)
    for stage in wanted:
        if stage not in _STAGES:
            raise ValueError(f"there is no stage {stage}; name some of {', '.join(_STAGES)}")
    _refuse_taken(out, config, wanted, overwrite)
    _refuse_gaps(out, wanted, overwrite)
    sets, tokenizer = _fitting(parts, strict)
    fresh = not (out / "config.yaml").is_file()
    try:
        _claim(out, config, wanted if overwrite else [])
        inputs = StageInputs(Run(out), parts, sets, tokenizer, bar)
        for stage, (do, _) in _STAGES.items():
            if stage in wanted and not _done(out, stage):
                do(inputs)
                shutil.rmtree(states_of(out, stage), ignore_errors=True)  # it is done: nothing to resume
        if (out / "checkpoints").exists() and not any((out / "checkpoints").iterdir()):
            (out / "checkpoints").rmdir()
    except BaseException:
        if fresh and not any(_done(out, stage) or last_state(out, stage) for stage in _STAGES):
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
    layout = tokenizer.layout()
    if (largest := max(max(sizes) for sizes in layout.codebook_sizes)) > _MOST_CODES:
        raise ValueError(
            f"a codebook has {largest:,} codes, too many for a prior or for counting their use; name groups of fewer "
            f"channels, so that none has more than {_MOST_CODES:,}"
        )
    parts.prior(layout)
    for settings in (parts.training, parts.prior_training):
        settings.resolve_device()
    return sets, tokenizer


def _refuse_taken(out: Path, config: str, wanted: Sequence[str], overwrite: bool) -> None:
    """Raises ValueError where the folder is not free for this run; changes nothing."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "config.yaml").is_file():
        raise ValueError(f"{out} holds something else than a run; name another folder with --out")
    differences = _differences(yaml.safe_load((out / "config.yaml").read_text()), yaml.safe_load(config))
    if overwrite:
        kept = [stage for stage in _STAGES if _done(out, stage) and stage not in _from(wanted)]
        if kept and any(not key.startswith("prior") for key in differences):
            raise ValueError(
                f"{out} keeps its {', '.join(kept)}, made with another {differences[0]}; overwrite those stages too, "
                "or name another --out"
            )
    elif differences:
        raise ValueError(
            f"{out} holds a run of another configuration (it differs in {differences[0]}); use --overwrite to replace "
            "it, or another --out"
        )
    elif not left(out):
        raise ValueError(f"{out} holds a finished run; use --overwrite to make it again, or another --out")
    elif all(_done(out, stage) for stage in wanted):
        raise ValueError(
            f"{out} has its {', '.join(wanted)} already; leave --stages out to go on with {', '.join(left(out))}, or "
            "use --overwrite to make them again"
        )


def _refuse_gaps(out: Path, wanted: Sequence[str], overwrite: bool) -> None:
    """Raises ValueError where a stage is asked for and one that it needs is not there and not asked for. Every stage
    needs all before it, but for the prior."""
    last = max((list(_STAGES).index(stage) for stage in wanted), default=0)
    gone = set(_from(wanted)) if overwrite else set()
    gaps = [stage for stage in list(_STAGES)[:last] if stage not in wanted and (stage in gone or not _done(out, stage))]
    if needed := [stage for stage in gaps if stage != "prior"]:
        raise ValueError(
            f"{out} has no {' and no '.join(needed)} for its {list(_STAGES)[last]}; add {','.join(needed)} to "
            "--stages, or leave --stages out"
        )


def _differences(old: Any, new: Any, key: str = "") -> list[str]:
    """The dotted keys in which two configurations differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in {**old, **new} for d in _differences(old.get(k), new.get(k), f"{key}.{k}" if key else k)]
    return [] if old == new else [key]


def _from(wanted: Sequence[str]) -> list[str]:
    """The first of these stages and all that follow, which are made of what it makes."""
    return list(_STAGES)[min((list(_STAGES).index(stage) for stage in wanted), default=len(_STAGES)) :]


def _claim(out: Path, config: str, overwritten: Sequence[str]) -> None:
    """Makes the folder this run's, without the stages that are overwritten and all that follow from them."""
    for stage in _from(overwritten):
        product = out / _STAGES[stage][1]
        for path in (product, product.with_name(product.name + ".part")):  # a stage that was stopped left its part
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.rmtree(states_of(out, stage), ignore_errors=True)
        (out / f"metrics-{stage}.csv").unlink(missing_ok=True)
        shutil.rmtree(out / "tensorboard" / stage, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    part = out / "config.yaml.part"
    part.write_text(config)
    part.rename(out / "config.yaml")


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
    if last_state(inputs.run.folder, "tokenizer") is None:
        inputs.tokenizer.initialise(lambda: shuffled(train_set, _INITIALISING, settings.seed))
    fit(
        "tokenizer",
        TokenizerObjective(inputs.tokenizer),
        settings,
        inputs.run.folder,
        train_set,
        held_out,
        inputs.bar,
    )
    checkpoint.save(inputs.tokenizer, inputs.run.folder / "tokenizer")


def _write_tokens(inputs: StageInputs) -> None:
    part = inputs.run.folder / "tokens.part"
    for split, data in inputs.sets.items():
        inputs.run.tokenize(data, part / split, inputs.bar)
    part.rename(inputs.run.folder / "tokens")


def _train_prior(inputs: StageInputs) -> None:
    from vqkit.training.fit import fit

    settings, run = inputs.parts.prior_training, inputs.run
    train_set, held_out = run.tokens("train"), run.tokens("validation")
    torch.manual_seed(settings.seed)
    prior = inputs.parts.prior(train_set.layout)
    fit(
        "prior",
        PriorObjective(prior),
        settings,
        run.folder,
        train_set,
        held_out,
        inputs.bar,
    )
    checkpoint.save(prior, run.folder / "prior", {"tokenizer": run.fingerprint})


def _evaluate(inputs: StageInputs) -> None:
    inputs.run.save_evaluation(inputs.run.evaluate(bar=inputs.bar))


def report(run: Run) -> Path:
    """Writes report/index.html, one page that needs nothing else, and samples.png beside the run's numbers."""
    evaluation = run.evaluation
    data = run.dataset("validation")
    held_out = data.read(spread(len(data), _SHOWN))
    indices = run.tokenizer.encode(held_out.x, held_out.side)
    samples, labels = None, []
    if (run.folder / "prior").is_dir():
        names = run.tokenizer.signal.labels
        columns = len(names) if 1 < len(names) <= 16 else 8  # a column a class where there are few
        samples, drawn = run.sample(8 * columns), run.labels(8 * columns)
        labels = [] if drawn is None else [names[label] for label in drawn.tolist()]
        run.save_samples(samples, run.results["samples"], columns)
    health = CodebookHealth(run.layout)
    for indices_of_batch, _ in run.token_batches("validation"):
        health.add(indices_of_batch)
    findings = Findings(
        title=": ".join(dict.fromkeys([run.folder.resolve().name, run.recipe.data])),
        config_yaml=run.config,
        command=f"vqkit train {run.folder / 'config.yaml'} --out {run.folder}-again",
        evaluation=evaluation,
        originals=held_out.x,
        reconstructions=run.reconstruct(held_out.x),
        indices=indices,
        samples=samples,
        sample_labels=labels,
        layout=run.layout,
        token_counts=health.counts,
        metrics=run.metrics,
        facts=_facts(run),
    )
    write(findings, run.results["report"])
    return run.results["report"]


def _facts(run: Run) -> dict[str, str]:
    """What the numbers were made with."""
    counts = {"tokenizer": run.tokenizer} | ({"prior": run.prior} if (run.folder / "prior").is_dir() else {})
    parameters = {f"{name} parameters": f"{sum(p.numel() for p in m.parameters()):,}" for name, m in counts.items()}
    versions = {name: version(name) for name in ("vqkit", "torch", "lightning")}
    return {
        **parameters,
        **versions,
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
    }


def _report(inputs: StageInputs) -> None:
    with Progress("report", 1, "page", inputs.bar) as progress:
        report(inputs.run)
        progress.advance()


_STAGES: dict[str, tuple[Callable[[StageInputs], None], str]] = {
    "tokenizer": (_train_tokenizer, "tokenizer"),
    "tokens": (_write_tokens, "tokens"),
    "prior": (_train_prior, "prior"),
    "evaluation": (_evaluate, "evaluation.json"),
    "report": (_report, "report/index.html"),
}
"""In order: what makes each, and what in the folder says that it is done."""


def left(out: Path) -> list[str]:
    """The stages that are still to come in a run's folder."""
    return [stage for stage in _STAGES if not _done(out, stage)]


def _done(out: Path, stage: str) -> bool:
    return (out / _STAGES[stage][1]).exists()
