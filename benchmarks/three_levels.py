"""VQ-VAE-2 with three levels on photographs of 128x128: NLL and MSE of every part, train beside held out.

    python benchmarks/three_levels.py --data FOLDER_OF_PICTURES [--out RUN]

The recipe `vqvae2-128` for fewer steps, from pictures to its report, which has the pictures level by level. What it
prints is what table 1 of Razavi et al. 2019 (https://arxiv.org/abs/1906.00446) tells of theirs: nats a token of each
level under the prior, the NLL given all levels, and the squared error. Writes benchmarks/results/three_levels.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from machine import machine
from rich.console import Console
from runs import training

from vqkit import pipeline
from vqkit.evaluation import table

STEPS, PRIOR_STEPS, BATCH = 1500, 500, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, help="folder of the run, which goes on where it stopped; a temporary one")
    chosen = parser.parse_args()
    out = chosen.out or Path(tempfile.mkdtemp())
    settings = {
        "training": training(STEPS, BATCH, validate_every=500),
        "prior_training": training(PRIOR_STEPS, BATCH, weight_decay=0.1, validate_every=100),
        "prior.init_args": {"width": 128, "depth": 4, "heads": 4, "dropout": 0.1},
    }
    run = pipeline.train("vqvae2-128", data=chosen.data, out=out, **settings)
    Console().print(table(run.evaluation))
    print(f"report: {run.results['report']}")
    best = min(row["validation_nats_per_token"] for row in run.metrics["prior"] if "validation_nats_per_token" in row)
    result = {"machine": machine(), "steps": STEPS, "prior_steps": PRIOR_STEPS, "batch_size": BATCH}
    result |= {"prior at its best, nats a held-out token": best, **run.evaluation}
    path = Path(__file__).parent / "results" / "three_levels.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
