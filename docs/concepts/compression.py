"""What compression.md says, out of what the benchmarks stored: nothing is trained here."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from drawing import BENCHMARKS, BLUE, GREEN, ORANGE, PURPLE, RED, fill, markdown, save, stored
from rate_distortion import pca

from vqkit.evaluation.bjontegaard import frontier

COLOURS = {"AVIF": PURPLE, "JPEG XL": GREEN, "WebP": ORANGE, "JPEG": RED}
PHOTOGRAPHS, SMALL, SMALLEST = "photographs", "cifar10-transform", "cifar10-residual"


class Curve(NamedTuple):
    """Rising bits, a picture or a pixel, and PSNR in dB."""

    bits: list[float]
    psnr: list[float]

    def at(self, bits: float) -> float:
        """PSNR between points, on lines over the logarithm of bits. Raises ValueError where they do not reach it."""
        if not self.bits[0] <= bits <= self.bits[-1]:
            raise ValueError(f"{bits} bits are not between {self.bits[0]:.3g} and {self.bits[-1]:.3g}")
        return float(np.interp(np.log(bits), np.log(self.bits), self.psnr))


def curves(comparison: str, rate: str) -> dict[str, Curve]:
    """Of each codec, the points that no other one of its own beats."""
    points = stored(BENCHMARKS / "rate_distortion" / comparison / "comparison.json")["points"]
    found: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        found.setdefault(point["codec"], []).append((point[rate], point["psnr"]))
    return {codec: Curve(*map(list, zip(*frontier(each), strict=True))) for codec, each in found.items()}


def small() -> dict[str, Curve]:
    """CIFAR-10 in sheets, PCA under its tables beside the codecs."""
    points = pca()
    own = {"PCA": Curve([point.bits for point in points], [point.psnr for point in points])}
    return own | curves("cifar10-sheets", "bits_per_picture")


def ahead(found: dict[str, Curve], codec: str, anchor: str, low: float, high: float) -> float:
    """How many dB a codec lies above another on average between two rates, over their logarithm."""
    rates = np.geomspace(low, high, 101)  # whose ends are exact
    return float(np.mean([found[codec].at(rate) - found[anchor].at(rate) for rate in rates]))


def rows(found: dict[str, Curve], codecs: tuple[str, ...], rates: tuple[float, ...]) -> list[list[str]]:
    """PSNR of some codecs at those of some rates that they reach; those that are recipes are named as ours."""
    names = {own: f"vqkit, `{own}`" for own in (PHOTOGRAPHS, SMALL, SMALLEST)}

    def cell(curve: Curve, rate: float) -> str:
        return f"{curve.at(rate):.2f}" if curve.bits[0] <= rate <= curve.bits[-1] else ""

    return [[names.get(name, name), *(cell(found[name], rate) for rate in rates)] for name in codecs]


def beside(comparison: str, rates: tuple[float, ...]) -> str:
    """PSNR of every codec at some rates of photographs."""
    found = curves(comparison, "bits_per_pixel")
    header = [f"{comparison}, bits a pixel", *(f"{rate:g}" for rate in rates)]
    return markdown(header, rows(found, (PHOTOGRAPHS, *COLOURS), rates))


def beside_small() -> str:
    """PSNR of every codec at some rates of CIFAR-10 in sheets."""
    found, rates = small(), (250, 350, 450, 550)
    header = ["CIFAR-10, bits a picture", *map(str, rates)]
    return markdown(header, rows(found, (SMALLEST, SMALL, "PCA", *COLOURS), rates))


RUNS = {
    "cifar10-transform": "CIFAR-10, `cifar10-transform`",
    "cifar10-sonnet-joint": "CIFAR-10, 512 codes, trained with a rate",
    "photographs": "photographs, `photographs`",
    "fashion-mnist-masked": "Fashion-MNIST, 512 codes, a masked prior",
}
"""Those of the codec's benchmark."""


def promised() -> str:
    """What files have of each prior, and what the learned one promised."""
    runs, found = stored(BENCHMARKS / "codec.json")["runs"], []
    for run, name in RUNS.items():
        rates = runs[run]["rates"]
        bits = [rates[prior]["coded_bits"] for prior in ("uniform", "unigram", "learned")]
        found.append([name, *(f"{x:,.0f}" for x in (*bits, rates["learned"]["estimated_bits"]))])
    return markdown(["bits a sample", "uniform", "frequencies", "learned", "promised"], found)


TABLES = (
    promised,
    lambda: beside("photographs", (0.05, 0.1, 0.15, 0.2, 0.25)),
    lambda: beside("others", (0.05, 0.1, 0.15, 0.18)),
    beside_small,
)


def compression() -> None:
    """PSNR over bits: photographs, and CIFAR-10 with a hundred pictures a file."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4.2), layout="constrained")
    for axes, found, owns, ticks, rate in (
        (left, curves("photographs", "bits_per_pixel"), (PHOTOGRAPHS,), (0.02, 0.05, 0.1, 0.2, 0.4), "bits a pixel"),
        (right, small(), (SMALL, SMALLEST), (80, 150, 300, 600, 900), "bits a picture, 100 a file"),
    ):
        for name, colour in COLOURS.items():
            axes.plot(*found[name], ".-", color=colour, alpha=0.8, linewidth=1.1, label=name)
        if "PCA" in found:
            axes.plot(*found["PCA"], "s-", color="black", markersize=4, label="PCA, its own tables")
        for own, marker in zip(owns, "oD", strict=False):
            axes.plot(*found[own], f"{marker}-", color=BLUE, markersize=6, label=f"vqkit, {own}")
        inside = [y for each in found.values() for x, y in zip(*each, strict=True) if ticks[0] <= x <= ticks[-1]]
        axes.set(xscale="log", xlim=(ticks[0], ticks[-1]), ylim=(min(inside) - 0.3, max(inside) + 0.3))
        axes.set_xticks(ticks, map(str, ticks))
        axes.set_xticks([], minor=True)
        axes.set(xlabel=rate, ylabel="PSNR in dB", title="photographs" if axes is left else "CIFAR-10")
        axes.legend(loc="lower right", fontsize=7)
    save(figure, "compression", dpi=150)
    for table in TABLES:
        fill("compression", table())
