"""What the report shows, gathered from a run."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

from torch import Tensor

from vqkit.data import spread
from vqkit.evaluation import CodebookHealth, nearest
from vqkit.priors import Choice
from vqkit.report import Findings, Generation, write
from vqkit.run import Run, searched
from vqkit.signal import Batch, Indices, Layout

_SHOWN = 16  # held-out samples in the report
_COMPARED, _NEAR = 8, 3  # samples beside so many of their nearest train pictures
_TEMPERATURES, _GUIDANCE = (0.7, 0.85, 1.0), (2.0, 4.0)  # beside a guidance of 1, which each temperature has


def report(run: Run) -> Path:
    """Writes report/index.html, one page that needs nothing else, and samples.png beside the run's numbers."""
    evaluation = run.evaluation
    data = run.dataset("validation")
    held_out = data.read(spread(len(data), _SHOWN))
    layout, indices, token_counts = _tokens(run, held_out)
    findings = Findings(
        title=": ".join(dict.fromkeys([run.folder.resolve().name, run.recipe.data])),
        config_yaml=run.config,
        command=f"vqkit train {run.folder / 'config.yaml'} --out {run.folder}-again",
        evaluation=evaluation,
        originals=held_out.x,
        reconstructions={n: run.reconstruct(held_out.x, held_out.side, n) for n in run.tokenizer.prefixes},
        indices=indices,
        generation=_generation(run) if run.can_sample else None,
        layout=layout,
        token_counts=token_counts,
        metrics=run.metrics,
        facts=_facts(run),
    )
    write(findings, run.results["report"])
    return run.results["report"]


def _generation(run: Run) -> Generation:
    """Samples, written to samples.png as well, some of them drawn in other ways, and their nearest train pictures."""
    names, train = run.tokenizer.signal.labels, run.dataset("train")
    columns = len(names) if 1 < len(names) <= 16 else 8  # a column a class where there are few
    samples, drawn = run.sample(8 * columns), run.labels(8 * columns)
    run.save_samples(samples, run.results["samples"], columns)
    near = min(_NEAR, len(train))
    return Generation(
        samples,
        [] if drawn is None else [names[label] for label in drawn.tolist()],
        _choices(run, columns) if run.tokenizer.discrete else {},
        nearest(samples[:_COMPARED], searched(train, bar=False), run.tokenizer.signal, near),
    )


def _choices(run: Run, n: int) -> dict[str, Tensor]:
    """n samples of one seed at several temperatures and, of a prior that knows classes both given and left out, with
    more and more guidance."""
    rows = {f"temperature {value:g}": run.sample(n, choice=Choice(temperature=value)) for value in _TEMPERATURES}
    scales = _GUIDANCE if run.prior.guidable else ()
    return rows | {f"guidance {scale:g}": run.sample(n, choice=Choice(guidance=scale)) for scale in scales}


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
