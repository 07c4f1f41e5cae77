"""Bits a dimension of one network under four likelihoods of pixels as a VQ-VAE, and two as a VAE, at equal steps.

    python benchmarks/likelihoods.py --fashion-mnist FOLDER --cifar10 FOLDER [--out RUNS]

The latent is part of what is counted: bits a dimension are -ELBO / log 2 over pixels and channels, of test pictures,
once under the prior that the bottleneck was trained against and once under the learned one. Columns are those of
families.py. Writes benchmarks/results/likelihoods.json. CIFAR-10 stored as JPEG is easier than the original: compare
side by side only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from families import WIDTH, codes
from machine import machine
from runs import PICTURES, THREADS, part, table, training

STEPS, PRIOR_STEPS, BATCH = 1500, 500, 32


def models(channels: int) -> dict[str, dict[str, Any]]:
    """A VAE under two likelihoods, and a VQ-VAE under all."""
    scale = part("LearnedScale", channels=channels)
    likelihoods = {
        "Gaussian": part("DiscretizedDensity", density=part("Gaussian", scale=scale)),
        "Laplace": part("DiscretizedDensity", density=part("Laplace", scale=scale)),
        "mixture": part("LogisticMixture", components=5),
        "categorical": part("Categorical"),
    }
    settings = {
        "training": training(STEPS, BATCH),
        "prior_training": training(PRIOR_STEPS, weight_decay=0.05),
    }
    vae, vq = part("GaussianBottleneck", dim=64), codes(512)
    transformer = part("TransformerPrior", width=128, depth=4, heads=4)
    found = {f"VAE, {name}": (vae, likelihoods[name], None) for name in ("Gaussian", "mixture")}
    found |= {f"VQ-VAE, {name}": (vq, likelihood, transformer) for name, likelihood in likelihoods.items()}
    return {
        name: {
            "tokenizer": part("Convolutional", bottleneck=bottleneck, likelihood=likelihood, width=WIDTH, halvings=2),
            "prior": prior,
            **settings,
        }
        for name, (bottleneck, likelihood, prior) in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for data in PICTURES:
        parser.add_argument(f"--{data}", required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="folder of the runs; a temporary one by default")
    chosen = parser.parse_args()
    out = chosen.out or Path(tempfile.mkdtemp())
    tables = {}
    for data, modality in PICTURES.items():
        source = getattr(chosen, data.replace("-", "_"))
        tables[data], _ = table(data, source, models(modality["channels"]), out)
    result = {
        "machine": machine(),
        "threads a model": THREADS,
        "steps": STEPS,
        "batch_size": BATCH,
        "prior_steps": PRIOR_STEPS,
        **tables,
    }
    path = Path(__file__).parent / "results" / "likelihoods.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
