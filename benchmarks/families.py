"""From PCA to VQ-VAE-2: every kind of autoencoder in one harness, at equal steps and about equal parameters.

    python benchmarks/families.py --fashion-mnist FOLDER --cifar10 FOLDER [--out RUNS] [--quick]

Each is a run of its own, RUNS/DATA/MODEL, with its report. They differ in bottlenecks and levels alone: one network,
one likelihood (a Gaussian of a learned scale, its mass put on the 256 levels), the same steps, and one prior over
tokens. The table has test pictures only. MSE is on [0, 1]; `nominal` and `estimated` are bits a picture, the second
under the learned prior; bits a dimension are of pixels and latent together, under the prior that the bottleneck was
trained against and under the learned one. There is no MS-SSIM of pictures below 176 pixels, so SSIM stands here. Rows
of originals, reconstructions and samples go to RUNS/DATA-reconstructions.png and RUNS/DATA-samples.png. A stopped
benchmark goes on with the model it was at; with --quick everything is small and nothing is stored but the runs, without it
benchmarks/results/families.json is written.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from machine import machine
from matplotlib import pyplot as plt
from torch import Tensor

from vqkit import pipeline
from vqkit.data import open_dataset, open_source, spread
from vqkit.modality import Image
from vqkit.run import Run

matplotlib.use("agg")


class Setting(NamedTuple):
    """A data set: its pictures, the halvings of one level and of two, and the step of the quantized PCA in units of
    normalised pixels."""

    modality: dict[str, Any]
    one_level: int
    two_levels: list[int]
    two_codebooks: tuple[int, int]
    step: float

    @property
    def numbers(self) -> int:
        """Of the continuous latent: as many components does the PCA have."""
        return DIM * (self.modality["size"] >> self.one_level) ** 2


class Scale(NamedTuple):
    """How much is done: steps of tokenizer and prior, and how many pictures there are of each split, None for all."""

    steps: int
    prior_steps: int
    pictures: int | None


DIM = 8  # numbers a position of the continuous latents
WIDTH, NARROW = 64, 40  # the second where there are two levels, for about as many parameters
SETTINGS = {
    "fashion-mnist": Setting({"size": 28, "channels": 1}, 2, [2, 1], (512, 16), 1.0),
    "cifar10": Setting({"size": 32, "channels": 3}, 2, [3, 2], (512, 512), 1.2),
}
WHOLE, QUICK = Scale(3000, 800, None), Scale(60, 30, 1000)
COLUMNS = ("MSE", "PSNR", "SSIM", "nominal", "estimated", "b/dim", "learned", "parameters", "seconds")
DECIMALS = (5, 2, 3, 0, 0, 3, 3, 0, 0)
MEASURES = (
    "mse",
    "psnr",
    "ssim",
    "nominal_bits",
    "estimated_bits",
    "bits_per_dim_training_prior",
    "bits_per_dim_learned_prior",
)


def models(setting: Setting) -> dict[str, dict[str, Any]]:
    """What each changes in the recipe."""
    likelihood = part(
        "DiscretizedDensity",
        density=part("Gaussian", scale=part("LearnedScale", channels=setting.modality["channels"])),
    )

    def convolutional(bottleneck: Any, width: int = WIDTH, halvings: Any = setting.one_level) -> dict[str, Any]:
        return part("Convolutional", bottleneck=bottleneck, likelihood=likelihood, width=width, halvings=halvings)

    def pca(bottleneck: Any) -> dict[str, Any]:
        return part("PCA", bottleneck=bottleneck, likelihood=likelihood)

    first, second = (ema(size) for size in setting.two_codebooks)
    transformer = part("TransformerPrior", width=128, depth=4, heads=4)
    scalar = part("UniformScalarQuantizer", dim=setting.numbers, step=setting.step, dead_zone=1.2)
    return {
        "PCA": {"tokenizer": pca(part("Identity", dim=setting.numbers)), "prior": None},
        "PCA, quantized": {"tokenizer": pca(scalar), "prior": part("UnigramPrior", smoothing=0.01)},
        "AE": {"tokenizer": convolutional(part("Identity", dim=DIM)), "prior": None},
        "VAE": {"tokenizer": convolutional(part("GaussianBottleneck", dim=DIM)), "prior": None},
        "beta-VAE": {"tokenizer": convolutional(part("GaussianBottleneck", dim=DIM, beta=4.0)), "prior": None},
        "VQ-VAE": {"tokenizer": convolutional(ema(512)), "prior": transformer},
        "residual VQ": {
            "tokenizer": convolutional(part("ResidualQuantizer", quantizer=ema(512), depth=2)),
            "prior": transformer,
        },
        "FSQ": {"tokenizer": convolutional(part("FiniteScalarQuantizer", levels=[8, 8, 8])), "prior": transformer},
        "VQ-VAE-2": {"tokenizer": convolutional([first, second], NARROW, setting.two_levels), "prior": transformer},
    }


def part(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def ema(codebook_size: int) -> dict[str, Any]:
    # The learned scale weighs pixels ten times as much as 0.35 would, so the commitment has to keep up with it.
    return part("EMAVectorQuantizer", dim=64, codebook_size=codebook_size, commitment_weight=2.5, revival=0.1)


def measure(source: str, setting: Setting, changes: dict[str, Any], scale: Scale, out: Path) -> dict[str, Any]:
    """One model from end to end: what `vqkit evaluate` says of the test split, and what it took."""
    training = {"training.max_steps": scale.steps, "training.batch_size": 64, "training.learning_rate": 2e-3}
    prior = {"max_steps": scale.prior_steps, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 0.05}
    changes = {"modality.init_args": setting.modality, **training, "prior_training": prior, **changes}
    start = time.perf_counter()
    trained = ["tokenizer"] if changes["prior"] is None else ["tokenizer", "tokens", "prior"]
    pipeline.train("image", data=source, out=out, stages=trained, bar=False, **changes)
    seconds = time.perf_counter() - start
    pipeline.train("image", data=source, out=out, bar=False, **changes)
    run = Run(out)
    held_out = run.evaluation["validation"]
    parameters = sum(p.numel() for p in run.tokenizer.parameters())
    return {**{name: held_out.get(name) for name in MEASURES}, "parameters": parameters, "seconds": round(seconds, 1)}


def smaller(source: str, setting: Setting, pictures: int, out: Path) -> str:
    """The first pictures of each split of a source as a file of its own."""
    arrays, opened = {}, open_source(source)
    for split, count in (("train", pictures), ("test", pictures // 4)):
        batch = open_dataset(opened, Image(**setting.modality), split).read(range(count))
        arrays |= {f"x_{split}": batch.x.movedim(1, -1).numpy(), f"y_{split}": batch.side["label"].numpy()}
    np.savez(out, **arrays)
    return str(out)


def show(rows: dict[str, Tensor], run: Run, path: Path) -> None:
    """A row of pictures uint8 [N, C, H, W] for each name."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(11, 1.05 * len(rows)), dpi=150)
    for axis, (name, x) in zip(axes, rows.items(), strict=True):
        axis.imshow(run.recipe.modality.preview(x, len(x)), cmap="gray", interpolation="nearest")
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def pictures(runs: dict[str, Run], out: Path) -> None:
    """What all models of a data set make of the same test pictures, and what those with a prior draw."""
    first = next(iter(runs.values()))
    data = first.dataset("validation")
    held_out = data.read(spread(len(data), 12))
    show(
        {"original": held_out.x, **{name: run.reconstruct(held_out.x) for name, run in runs.items()}},
        first,
        out.with_name(f"{out.name}-reconstructions.png"),
    )
    drawn = {name: run.sample(12) for name, run in runs.items() if run.can_sample}
    show(drawn, first, out.with_name(f"{out.name}-samples.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in SETTINGS:
        parser.add_argument(f"--{name}", required=True, metavar="FOLDER")
    parser.add_argument("--out", type=Path, help="folder of the runs; a temporary one by default")
    parser.add_argument("--quick", action="store_true", help="few steps on few pictures: whether everything works")
    chosen = parser.parse_args()
    scale, out = QUICK if chosen.quick else WHOLE, chosen.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    tables = {}
    for data, setting in SETTINGS.items():
        source = getattr(chosen, data.replace("-", "_"))
        if scale.pictures is not None:
            source = smaller(source, setting, scale.pictures, out / f"{data}.npz")
        tables[data] = table(data, setting, source, scale, out / data)
    if not chosen.quick:
        result = {"machine": machine(), "steps": scale.steps, "prior_steps": scale.prior_steps, **tables}
        path = Path(__file__).parent / "results" / "families.json"
        path.write_text(json.dumps(result, indent=1) + "\n")


def table(data: str, setting: Setting, source: str, scale: Scale, out: Path) -> dict[str, Any]:
    """The numbers of every model on a data set, printed as they come."""
    print(f"{data:16}" + "".join(f"{column:>11}" for column in COLUMNS), flush=True)
    cells, runs = {}, {}
    for name, changes in models(setting).items():
        runs[name] = out / name.lower().replace(", ", "-").replace(" ", "-")
        stored = runs[name].with_suffix(".json")  # a run does not say how long it took
        if not stored.exists():
            shutil.rmtree(runs[name], ignore_errors=True)
            stored.parent.mkdir(parents=True, exist_ok=True)
            stored.write_text(json.dumps(measure(source, setting, changes, scale, runs[name])))
        cells[name] = json.loads(stored.read_text())
        shown = ("-" if v is None else f"{v:,.{d}f}" for v, d in zip(cells[name].values(), DECIMALS, strict=True))
        print(f"{name:16}" + "".join(f"{text:>11}" for text in shown), flush=True)
    pictures({name: Run(folder) for name, folder in runs.items()}, out)
    return cells


if __name__ == "__main__":
    main()
