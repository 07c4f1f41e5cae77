"""From PCA to VQ-VAE-2: every kind of autoencoder in one harness, at equal steps.

    python benchmarks/families.py --fashion-mnist FOLDER --cifar10 FOLDER [--out RUNS] [--quick]

Each is a run of its own, RUNS/DATA/MODEL, with its report. They differ in bottlenecks and levels alone: nets of about
as many parameters, one likelihood (a Gaussian of a learned scale, its mass put on the 256 levels), the same steps, and
one prior over tokens, which is told the class. The table is of test pictures. MSE is on [0, 1]; `nominal` and
`estimated` are bits a picture, the second under the learned prior; NLL, without the latent, and what follows, with it,
are in bits a dimension: under the prior that the bottleneck was trained against, and under the learned one. There is no
MS-SSIM of pictures below 176 pixels, so SSIM stands here. `parameters` are those of nets and codebooks; PCA has more.
Rows of originals, reconstructions and samples go to RUNS/DATA-reconstructions.png and RUNS/DATA-samples.png.

Writes benchmarks/results/families.json; with --quick, where everything is small, nothing but the runs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from machine import machine
from matplotlib import pyplot as plt
from runs import PICTURES, THREADS, part, table, training
from torch import Tensor

from vqkit.data import open_dataset, open_source, spread
from vqkit.modality import Image
from vqkit.run import Run

matplotlib.use("agg")


class Scale(NamedTuple):
    """How much is done: steps of tokenizer and prior, and how many train pictures there are, None for all."""

    steps: int
    prior_steps: int
    pictures: int | None


WHOLE, QUICK = Scale(3000, 500, None), Scale(40, 20, 600)
DIM = 8  # numbers a position of the continuous latents, and as many in all has the PCA
WIDTH = 64
TWO_LEVELS = {  # nets that together have about as many parameters: narrower residual layers, one for two
    "halvings": [2, 1],
    "width": 60,
    "residual_layers": 1,
    "residual_width": 16,
}
SIZES = {"fashion-mnist": 16, "cifar10": 4}  # codebooks of the second level, on the finer grid
STEP = {"fashion-mnist": 1.0, "cifar10": 1.2}  # of the quantized PCA, in units of normalised pixels
SHOWN = 12  # pictures


def models(data: str, scale: Scale) -> dict[str, dict[str, Any]]:
    """What each changes in the recipe."""
    gaussian = part("Gaussian", scale=part("LearnedScale", channels=PICTURES[data]["channels"]))
    likelihood = part("DiscretizedDensity", density=gaussian)
    transformer = part("TransformerPrior", width=128, depth=4, heads=4)
    numbers = DIM * (PICTURES[data]["size"] // 4) ** 2
    levels = [codes(512, 16), codes(SIZES[data], 4)]

    def net(bottleneck: Any, **changes: Any) -> dict[str, Any]:
        common = {"likelihood": likelihood, "width": WIDTH, "halvings": 2}
        return part("Convolutional", bottleneck=bottleneck, **{**common, **changes})

    def pca(bottleneck: Any) -> dict[str, Any]:
        # The outputs are of least squared error as they are; nets learn to allow for what clamping does to the mean.
        scored = part("Scored", objective=part("Gaussian"), likelihood=likelihood)
        return part("PCA", bottleneck=bottleneck, likelihood=scored)

    scalar = part("UniformScalarQuantizer", dim=numbers, step=STEP[data], dead_zone=1.2)
    found = {
        "PCA": (pca(part("Identity", dim=numbers)), None),
        "PCA, quantized": (pca(scalar), part("UnigramPrior", smoothing=0.01)),
        "AE": (net(part("Identity", dim=DIM)), None),
        "VAE": (net(part("GaussianBottleneck", dim=DIM)), None),
        "beta-VAE": (net(part("GaussianBottleneck", dim=DIM, beta=4.0)), None),
        "VQ-VAE": (net(codes(512)), transformer),
        "residual VQ": (net(part("ResidualQuantizer", quantizer=codes(512), depth=2)), transformer),
        "FSQ": (net(part("FiniteScalarQuantizer", levels=[8, 8, 8])), transformer),
        "VQ-VAE-2": (net(levels, **TWO_LEVELS), transformer),
    }
    settings = {"training": training(scale.steps), "prior_training": training(scale.prior_steps, weight_decay=0.05)}
    return {name: {"tokenizer": tokenizer, "prior": prior, **settings} for name, (tokenizer, prior) in found.items()}


def codes(size: int, dim: int = 64) -> dict[str, Any]:
    # The learned scale weighs pixels ten times as much as 0.35 would, so the commitment has to keep up with it.
    return part("EMAVectorQuantizer", dim=dim, codebook_size=size, commitment_weight=2.5, revival=0.1)


def smaller(data: str, source: str, pictures: int, out: Path) -> str:
    """The first pictures of each split of a source as a file of its own."""
    arrays, opened = {}, open_source(source)
    for split, count in (("train", pictures), ("test", pictures // 4)):
        batch = open_dataset(opened, Image(**PICTURES[data]), split).read(range(count))
        arrays |= {f"x_{split}": batch.x.movedim(1, -1).numpy(), f"y_{split}": batch.side["label"].numpy()}
    np.savez(out, **arrays)
    return str(out)


def show(rows: Mapping[str, Tensor], run: Run, path: Path) -> None:
    """A row of pictures uint8 [N, C, H, W] for each name."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(11, 1.05 * len(rows)), dpi=150)
    for axis, (name, x) in zip(axes, rows.items(), strict=True):
        axis.imshow(run.recipe.modality.preview(x, len(x)), cmap="gray", interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for data in PICTURES:
        parser.add_argument(f"--{data}", required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="folder of the runs; a temporary one by default")
    parser.add_argument("--quick", action="store_true", help="few steps on few pictures: whether everything works")
    chosen = parser.parse_args()
    scale, out = QUICK if chosen.quick else WHOLE, chosen.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    tables = {}
    for data in PICTURES:
        source = getattr(chosen, data.replace("-", "_"))
        if scale.pictures is not None:
            source = smaller(data, source, scale.pictures, out / f"{data}.npz")
        tables[data], runs = table(data, source, models(data, scale), out)
        first = runs["AE"]
        held_out = first.dataset("validation")
        x = held_out.read(spread(len(held_out), SHOWN)).x
        reconstructed = {name: run.reconstruct(x) for name, run in runs.items()}
        show({"original": x, **reconstructed}, first, out / f"{data}-reconstructions.png")
        drawn = {name: run.sample(SHOWN) for name, run in runs.items() if run.can_sample}
        show(drawn, first, out / f"{data}-samples.png")
    if not chosen.quick:
        result = {
            "machine": machine(),
            "threads a model": THREADS,
            "steps": scale.steps,
            "prior_steps": scale.prior_steps,
            **tables,
        }
        path = Path(__file__).parent / "results" / "families.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
