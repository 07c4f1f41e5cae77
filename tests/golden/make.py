"""Writes the stored files that tests/test_golden.py reads; run it only when a format is changed on purpose.

python tests/golden/make.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import vqkit

SETTINGS = {
    "training.max_steps": 20,
    "prior_training.max_steps": 10,
    "training.precision": "float32",
    "prior_training.precision": "float32",
    "tokenizer.width": 4,
    "tokenizer.residual_width": 2,
    "tokenizer.bottleneck.codebook_size": 16,
    "tokenizer.bottleneck.dim": 4,
    "prior.width": 8,
    "prior.depth": 1,
    "prior.heads": 2,
}

if __name__ == "__main__":
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        run = vqkit.train("digits", out=folder, stages=["tokenizer", "tokens", "prior"], **SETTINGS)
        for part in ("tokenizer", "prior", "tokens/validation"):
            target = here / Path(part).name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(run.folder / part, target)
