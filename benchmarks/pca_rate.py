"""Rate and distortion of PCA of whole CIFAR-10 pictures, the transform codec that a tokenizer has to beat.

    python benchmarks/pca_rate.py --data FOLDER_WITH_CIFAR10_PARQUET

1,024 components, one uniform step with a dead zone for all. PCA and a table of symbol frequencies for each component
are of the 50,000 train pictures; error and bits under these tables are of the 10,000 test pictures. About a minute a
point on a core; writes benchmarks/results/pca_rate.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from machine import machine

from vqkit.autoencoders import PCA
from vqkit.bottlenecks import UniformScalarQuantizer
from vqkit.data import Dataset, open_dataset, open_source, sweep
from vqkit.evaluation import Fidelity, Rate
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.priors import UnigramPrior

COMPONENTS, READ = 1024, 250
SMOOTHING = 0.01  # 1.0 would give the 255 symbols of each table half a per cent of it: 7 bits a picture
POINTS = ((1.7, 1.2), (1.2, 1.2), (1.0, 1.2), (1.0, 1.0))  # step in units of normalised pixels, dead zone in steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "pca_rate.json")
    chosen = parser.parse_args()
    source = open_source(chosen.data)
    train_set, test_set = (open_dataset(source, Image(32, 3), split) for split in ("train", "test"))
    print(f"{'step':>6}{'dead zone':>11}{'bits':>8}{'nominal':>9}{'mse':>9}{'psnr':>7}{'fit, s':>8}")
    points = []
    for step, dead_zone in POINTS:
        point = measure(step, dead_zone, train_set, test_set)
        print(
            f"{step:6}{dead_zone:11}{point['unigram_bits']:8.1f}{point['nominal_bits']:9.0f}{point['mse']:9.5f}"
            f"{point['psnr']:7.2f}{point['fit_seconds']:8.1f}",
            flush=True,
        )
        points.append(point)
    result = {"machine": machine(), "components": COMPONENTS, "smoothing": SMOOTHING, "points": points}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(step: float, dead_zone: float, train_set: Dataset, test_set: Dataset) -> dict[str, Any]:
    """Bits a picture, mean squared error on [0, 1] and PSNR in dB."""
    start = time.perf_counter()
    quantizer = UniformScalarQuantizer(COMPONENTS, step, dead_zone=dead_zone)
    model = PCA(quantizer, Gaussian()).fit(train_set.signal, lambda: sweep(train_set, READ))
    seconds = time.perf_counter() - start
    unigram = UnigramPrior(model.layout(), SMOOTHING)
    unigram.fit((model.encode(batch.x), {}) for batch in sweep(train_set, READ))
    fidelity, rate = Fidelity(model.signal), Rate(unigram.layout, None, unigram)
    for batch in sweep(test_set, READ):
        indices = model.encode(batch.x)
        rate.add(indices, {})
        fidelity.add(batch.x, model.decode(indices))
    nats_a_token = rate.measured().numbers["unigram_nats_per_token"]
    error = fidelity.measured().numbers
    return {
        "step": step,
        "dead_zone": dead_zone,
        "unigram_bits": nats_a_token / math.log(2) * sum(unigram.layout.tokens),
        "nominal_bits": unigram.layout.nominal_bits,
        "mse": error["mse"],
        "psnr": error["psnr"],
        "ssim": error["ssim"],
        "fit_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
