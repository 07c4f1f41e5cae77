"""What rate_distortion.md says, out of what the benchmarks stored: nothing is trained here."""

from __future__ import annotations

import math
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from drawing import BENCHMARKS, BLUE, GREEN, GREY, ORANGE, PURPLE, RED, fill, markdown, save, stored


class Point(NamedTuple):
    """Bits a picture, and PSNR in dB."""

    bits: float
    psnr: float


def pca() -> list[Point]:
    """By rising bits, each component coded with its own table of frequencies."""
    found = stored(BENCHMARKS / "pca_rate.json")["points"]
    return sorted(Point(point["unigram_bits"], point["psnr"]) for point in found)


def codec(name: str) -> list[Point]:
    """By rising bits."""
    found = stored(BENCHMARKS / "codec_rate.json")["points"]
    return sorted(Point(point["bits"], point["psnr"]) for point in found if point["codec"] == name)


def vq_vae() -> dict[str, Point]:
    """The same tokens under three priors."""
    found = stored(BENCHMARKS / "cifar10_sonnet.json")["held out"]
    tokens = found["nominal_bits"] * math.log(2) / found["uniform_nats_per_token"]
    unigram = found["unigram_nats_per_token"] * tokens / math.log(2)
    bits = {"uniform (nominal)": found["nominal_bits"], "unigram": unigram, "transformer": found["estimated_bits"]}
    return {prior: Point(each, found["psnr"]) for prior, each in bits.items()}


def families() -> dict[str, Point]:
    """The models of benchmarks/families.py on CIFAR-10 that have tokens, under learned priors; PCA has a curve."""
    cells = stored(BENCHMARKS / "families.json")["cifar10"]
    coded = {name: cell for name, cell in cells.items() if cell["estimated_bits"] and "PCA" not in name}
    return {name: Point(cell["estimated_bits"], cell["psnr"]) for name, cell in coded.items()}


def psnr_at(bits: float, curve: list[Point]) -> float:
    """PSNR on a line through the points. Raises ValueError where it does not reach so far."""
    if not curve[0].bits <= bits <= curve[-1].bits:
        raise ValueError(f"{bits:.0f} bits are beyond the curve; measure from {curve[0].bits:.0f} on, or below")
    return float(np.interp(bits, *zip(*curve, strict=True)))


def table() -> str:
    """The VQ-VAE beside PCA and AVIF at the same bits."""
    rows = []
    for prior, point in vq_vae().items():
        others = [psnr_at(point.bits, curve) for curve in (pca(), codec("AVIF"))]
        rows.append([prior, f"{point.bits:.0f}", *(f"{value:.2f}" for value in (point.psnr, *others))])
    return markdown(["prior", "bits a picture", "VQ-VAE, dB", "PCA, dB", "AVIF, dB"], rows)


def joint_training() -> str:
    """Tokenizers that went on learning with the rate in the loss, or without, and those of fewer codes."""
    rows = []
    for row in stored(BENCHMARKS / "joint_training.json")["rows"]:
        how = f"{row['codes']} codes"
        if row["rate_weight"]:
            how += f", rate weight {row['rate_weight']:g} under a {row['prior']}"
            how += f", temperature {row['temperature']:g}" * (row["temperature"] != 1)
        how += ", without revival" * (not row["revival"])
        rows.append(
            [how, f"{row['mse']:.5f}", *(f"{row[name]:.0f}" for name in ("bits", "unigram_bits", "perplexity"))]
        )
    return markdown(["tokenizer", "MSE", "bits", "under frequencies", "perplexity"], rows)


def rate_distortion() -> None:
    """PSNR over bits: a linear code, four codecs, and one tokenizer under three priors."""
    figure, axes = plt.subplots(figsize=(8, 4.2))
    for name, colour in (("AVIF", PURPLE), ("JPEG XL", GREEN), ("WebP", ORANGE), ("JPEG", RED)):
        axes.plot(*zip(*codec(name), strict=True), ".-", color=colour, alpha=0.8, linewidth=1.1, label=name)
    axes.plot(*zip(*pca(), strict=True), "s-", color="black", markersize=4, label="PCA, its own tables")
    points = vq_vae()
    axes.plot(*zip(*points.values(), strict=True), color=BLUE, linewidth=1, linestyle=":")
    for prior, marker in zip(points, "D^o", strict=True):
        axes.plot(*points[prior], marker, color=BLUE, markersize=8, label=f"VQ-VAE, {prior}", linestyle="")
    for name, point in families().items():
        axes.plot(*point, "x", color=GREY)
        axes.annotate(name, point, xytext=(5, -8), textcoords="offset points", fontsize=7.5, color=GREY)
    axes.set(xlabel="bits a picture", ylabel="PSNR in dB", xlim=(150, 1000), ylim=(18, 28.5))
    axes.set(title="CIFAR-10, held out: one tokenizer, one error, three rates")
    axes.legend(loc="lower right", ncols=2)
    save(figure, "rate_distortion", dpi=150)
    fill("rate_distortion", table())
    fill("rate_distortion", joint_training())
