"""Priors over the same tokens, each of about a million parameters and trained for as long as any other.

    python benchmarks/priors.py --fashion-mnist FOLDER --cifar10 FOLDER [--minutes 5] [--out RUNS]

The tokens are those of the recipes `fashion-mnist` (7 x 7 of 512 codes) and `cifar10-sonnet` (8 x 8 of 512). Each prior
is a run of its own, RUNS/DATA-PRIOR, a copy of RUNS/DATA but for the prior, on one core while another is on the next;
how many steps it trains is found from how long the first ones take. All but the unigram know the class. Nats are a
token's, of the first 10,000 pictures of each split; a masked prior's are those of the very walk that it samples by.
`seconds` are those of drawing the tokens of 64 pictures at once. Samples of each go to RUNS/DATA-PRIOR/samples.png.
Writes benchmarks/results/priors.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from machine import machine
from runs import PICTURES, THREADS, part, processes, training

from vqkit import pipeline
from vqkit.data import spread, sweep
from vqkit.priors import sample
from vqkit.run import EVALUATED, Run
from vqkit.training.metrics import read_rows
from vqkit.training.objectives import PriorObjective

RECIPES = {"fashion-mnist": "fashion-mnist", "cifar10": "cifar10-sonnet"}
PRIORS = {
    "unigram": part("UnigramPrior"),
    "PixelCNN": part("PixelCNN", width=64, depth=10, dropout=0.1),
    "PixelSNAIL": part("PixelCNN", width=64, depth=8, attention_every=4, heads=4, dropout=0.1),
    "transformer": part("TransformerPrior", width=128, depth=4, heads=4, dropout=0.1),
    "RAR": part("TransformerPrior", width=128, depth=4, heads=4, dropout=0.1),  # its updates follow from its steps
    "masked": part("MaskedTransformerPrior", width=128, depth=3, joint_depth=1, heads=4, dropout=0.1),
}
COLUMNS = ("parameters", "steps", "minutes", "train", "validation", "bits", "seconds")
PROBE, ANNEALED, DRAWN, ROUNDS = 100, 0.7, 64, 3  # steps that tell how long one takes; share of RAR's steps; samples


def trained(recipe: str, source: str, base: Path, out: Path, prior: dict[str, Any], steps: int) -> float:
    """A copy of the run `base` with another prior, in `out`; seconds of its training."""
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(base, out, ignore=shutil.ignore_patterns("prior"))
    settings = training(steps, weight_decay=0.05, validate_every=500)
    start = time.perf_counter()
    changes = {"prior": prior, "prior_training": settings}
    pipeline.train(recipe, data=source, out=out, stages=["prior"], overwrite=True, bar=False, **changes)
    return time.perf_counter() - start


def steps_in(minutes: float, recipe: str, source: str, base: Path, prior: dict[str, Any]) -> int:
    """How many steps of training take so long, by the last of the first ones."""
    with tempfile.TemporaryDirectory() as probe:
        trained(recipe, source, base, Path(probe) / "run", prior, PROBE)
        last = read_rows(Path(probe) / "run" / "metrics-prior.csv")[-1]
    return max(1, round(minutes * 60 * last["samples_per_second"] / training(1)["batch_size"]))


def tokenized(recipe: str, source: str, base: Path) -> None:
    """The run whose tokens all priors share."""
    if not (base / "tokens").exists():
        pipeline.train(recipe, data=source, out=base, stages=["tokenizer", "tokens"], bar=False)


def measured(recipe: str, source: str, base: Path, name: str, minutes: float) -> dict[str, Any]:
    """A prior, trained for so long, and what is told of it, which stays in its folder."""
    prior, folder = PRIORS[name], base.with_name(f"{base.name}-{name.lower()}")
    asked = {"minutes_asked": minutes, "prior": prior}
    stored = folder / "row.json"
    if not stored.exists() or not asked.items() <= json.loads(stored.read_text()).items():
        steps = 1 if name == "unigram" else steps_in(minutes, recipe, source, base, prior)
        if name == "RAR":
            init = {**prior["init_args"], "random_order_updates": round(ANNEALED * steps)}
            prior = {**prior, "init_args": init}
        seconds = trained(recipe, source, base, folder, prior, steps)
        stored.write_text(json.dumps(asked | row(Run(folder, "cpu"), seconds / 60, steps)))
    told: dict[str, Any] = json.loads(stored.read_text())
    return told


def row(run: Run, minutes: float, steps: int) -> dict[str, Any]:
    """What is told of a prior."""
    prior, objective = run.prior, PriorObjective(run.prior)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in prior.parameters()), "steps": steps}
    found["minutes"] = round(minutes, 2)
    for split in ("train", "validation"):
        tokens = run.tokens(split)
        batches = sweep(tokens, 256, spread(len(tokens), EVALUATED))
        found[split] = objective.validate(batches)["nats_per_token"]
    found["bits"] = found["validation"] * sum(run.layout.tokens) / torch.tensor(2.0).log().item()
    label, generator, seconds = run.labels(DRAWN), torch.Generator().manual_seed(0), []
    for _ in range(1 + ROUNDS):
        start = time.perf_counter()
        sample(prior, prior.layout, DRAWN, {} if label is None else {"label": label}, generator=generator)
        seconds.append(time.perf_counter() - start)
    found["seconds"] = statistics.median(seconds[1:])  # the first warms up
    run.save_samples(run.sample(DRAWN), run.folder / "samples.png")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for data in PICTURES:
        parser.add_argument(f"--{data}", required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=5, help="of training of each prior")
    parser.add_argument("--out", type=Path, help="folder of the runs, which go on where they stopped; a temporary one")
    chosen = parser.parse_args()
    out = chosen.out or Path(tempfile.mkdtemp())
    torch.set_num_threads(THREADS)
    result: dict[str, Any] = {"machine": machine(), "minutes": chosen.minutes}
    sources = {data: getattr(chosen, data.replace("-", "_")) for data in RECIPES}
    with processes() as pool:
        for done in [pool.submit(tokenized, RECIPES[data], source, out / data) for data, source in sources.items()]:
            done.result()
        jobs = {
            data: {
                name: pool.submit(measured, RECIPES[data], source, out / data, name, chosen.minutes) for name in PRIORS
            }
            for data, source in sources.items()
        }
        for data, rows in jobs.items():
            print(f"{data:16}" + "".join(f"{column:>12}" for column in COLUMNS), flush=True)
            result[data] = {}
            for name, job in rows.items():
                result[data][name] = told = job.result()
                texts = (f"{told[column]:,.{0 if told[column] > 99 else 3}f}" for column in COLUMNS)
                print(f"{name:16}" + "".join(f"{text:>12}" for text in texts), flush=True)
    path = Path(__file__).parent / "results" / "priors.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
