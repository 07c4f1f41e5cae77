"""What the report shows, gathered from a run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from vqkit.data import spread
from vqkit.evaluation import CodebookHealth
from vqkit.report import Findings, write
from vqkit.run import Run
from vqkit.signal import Batch, Indices, Layout

_SHOWN = 16  # held-out samples in the report


def report(run: Run) -> Path:
    """Writes report/index.html, one page that needs nothing else, and samples.png beside the run's numbers."""
    evaluation = run.evaluation
    data = run.dataset("validation")
    held_out = data.read(spread(len(data), _SHOWN))
    layout, indices, token_counts = _tokens(run, held_out)
    samples, labels = None, []
    if run.can_sample:
        names = run.tokenizer.signal.labels
        columns = len(names) if 1 < len(names) <= 16 else 8  # a column a class where there are few
        samples, drawn = run.sample(8 * columns), run.labels(8 * columns)
        labels = [] if drawn is None else [names[label] for label in drawn.tolist()]
        run.save_samples(samples, run.results["samples"], columns)
    findings = Findings(
        title=": ".join(dict.fromkeys([run.folder.resolve().name, run.recipe.data])),
        config_yaml=run.config,
        command=f"vqkit train {run.folder / 'config.yaml'} --out {run.folder}-again",
        evaluation=evaluation,
        originals=held_out.x,
        reconstructions={n: run.reconstruct(held_out.x, held_out.side, n) for n in run.tokenizer.prefixes},
        indices=indices,
        samples=samples,
        sample_labels=labels,
        layout=layout,
        token_counts=token_counts,
        metrics=run.metrics,
        facts=_facts(run),
    )
    write(findings, run.results["report"])
    return run.results["report"]


def _tokens(run: Run, shown: Batch) -> tuple[Layout, Indices, list[Tensor]]:
    """The layout, the indices of what is shown, and how often each code occurs in held-out tokens; nothing of all that
    where nothing is discrete."""
    if not run.tokenizer.discrete:
        return Layout((), ()), (), []
    health = CodebookHealth(run.layout)
    for indices, _ in run.token_batches("validation"):
        health.add(indices)
    return run.layout, run.tokenizer.encode(shown.x, shown.side), health.counts


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
