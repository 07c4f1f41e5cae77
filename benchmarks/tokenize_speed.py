"""`vqkit tokenize` on CIFAR-10 Parquet beside the bare forward pass of its encoder.

    python benchmarks/tokenize_speed.py --data FOLDER_WITH_CIFAR10_PARQUET --run RUN

The bare pass is the float32 encoder on preloaded, contiguous NCHW tensors, batch 256; tokenize decodes the JPEGs,
encodes, searches and writes Parquet. Both in one run, in turn; writes benchmarks/results/tokenize_speed.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from machine import machine

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder
from vqkit.data import Dataset, open_source
from vqkit.run import Run, tokenize

ROUNDS, BATCH = 5, 256


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--run", required=True)
    chosen = arguments.parse_args()
    torch.set_num_threads(2)
    run = Run(chosen.run)
    plain = checkpoint.load(run.folder / "tokenizer", Autoencoder)  # contiguous, as it was stored
    records = open_source(chosen.data).split("test")
    modality = run.recipe.modality
    preloaded = plain.signal.normalise(Dataset(records, modality).read(range(len(records.keys))).x).contiguous()
    whole, bare = [], []
    for number in range(ROUNDS + 1):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            tokenize(run, Dataset(records, modality), folder)
            middle = time.perf_counter()
        with torch.inference_mode():
            for x in preloaded.split(BATCH):
                plain.levels[0].project(plain.encoder(x)[0])
        end = time.perf_counter()
        if number:
            whole.append(len(preloaded) / (middle - start))
            bare.append(len(preloaded) / (end - middle))
    ratios = [a / b for a, b in zip(whole, bare, strict=True)]
    result = {
        "machine": machine(),
        "tokenize_images_per_second": round(statistics.median(whole)),
        "bare_encoder_images_per_second": round(statistics.median(bare)),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(r, 3) for r in ratios],
    }
    print(json.dumps(result, indent=1))
    (Path(__file__).parent / "results" / "tokenize_speed.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
