"""Two levels of tokens and a PixelCNN for each, on Fashion-MNIST: nats of each level, and what samples teach.

    python benchmarks/two_levels.py --data FOLDER_WITH_FASHION_MNIST_IDX [--out RUN] [--quick]

The recipe `fashion-mnist-vqvae2` for as many steps as eight minutes of training take on two cores; the result has the
processor seconds of each stage. Then the classification accuracy score, as `vqkit evaluate --classification` has it, in
the layout of table 2 of Razavi et al. 2019 (https://arxiv.org/abs/1906.00446): classifiers that learned from real
pictures, from their reconstructions and from as many samples, on the test pictures. Samples are in the run's report.
Writes benchmarks/results/two_levels.json; with --quick, where nothing has learned anything, nothing but the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from machine import machine
from rich.console import Console

from vqkit import pipeline
from vqkit.evaluation import GENERATION, classification_rows, table
from vqkit.run import evaluate_samples

RESULT = Path(__file__).parent / "results" / "two_levels.json"
TRAINED = ["tokenizer", "tokens", "prior"]


class Steps(NamedTuple):
    """Of training the tokenizer, and the priors."""

    tokenizer: int
    prior: int


WHOLE, QUICK = Steps(3000, 2200), Steps(20, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, help="folder of the run, which goes on where it stopped; a temporary one")
    parser.add_argument("--quick", action="store_true", help="whether everything works, in minutes")
    chosen = parser.parse_args()
    out, steps = chosen.out or Path(tempfile.mkdtemp()) / "run", QUICK if chosen.quick else WHOLE
    changes = {"training.max_steps": steps.tokenizer, "prior_training.max_steps": steps.prior}
    seconds = {stage: trained(chosen.data, out, stage, changes) for stage in TRAINED}
    run = pipeline.train("fashion-mnist-vqvae2", data=chosen.data, out=out, stages=["evaluation"], **changes)
    if "classification" not in run.evaluation.get(GENERATION, {}):
        run.save_evaluation(run.evaluation | {GENERATION: evaluate_samples(run, classify=True)})
    print(f"report: {pipeline.report(run)}")
    found = run.evaluation
    Console().print(table(found))
    for row in classification_rows(found[GENERATION]["classification"]):
        print(f"{row.source:16}", *row.values, flush=True)
    if not chosen.quick:
        result: dict[str, Any] = {"machine": machine(), **steps._asdict(), "processor_seconds": seconds, **found}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")


def trained(data: str, out: Path, stage: str, changes: dict[str, Any]) -> float:
    """Processor seconds of a stage, kept beside the run, which does not say how long it took."""
    stored = out.with_name(f"{out.name}-{stage}.json")
    if not stored.exists():
        start = time.process_time()
        pipeline.train("fashion-mnist-vqvae2", data=data, out=out, stages=[stage], **changes)
        stored.write_text(json.dumps(round(time.process_time() - start, 1)))
    seconds: float = json.loads(stored.read_text())
    return seconds


if __name__ == "__main__":
    main()
