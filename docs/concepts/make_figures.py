"""Draws the figures of these pages: python docs/concepts/make_figures.py [NAME ...]

The numbers in them are printed, or put into the tables of the page. Most take seconds on one core. What they show is
computed in experiments.py, or in the module of the page's name; the runs on scenes that three pages share are trained
when the first of them is drawn, which takes minutes.
"""

# ruff: noqa: T201  it prints
from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from compression import compression
from drawing import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, save
from experiments import (
    CODES,
    CODES_1D,
    CODES_2D,
    TARGET_1D,
    TARGET_2D,
    clusters,
    estimated_gradient,
    follow,
    gap_to_means,
    kl_to_uniform,
    long_codes,
    priors,
    train,
    usage_history,
)
from interpolation import interpolation
from levels import levels
from matplotlib.axes import Axes
from pca_to_vqvae import pca_to_vqvae
from priors import walks
from rate_distortion import rate_distortion
from torch import Tensor

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    Quantizer,
    ResidualQuantizer,
    RotationTrick,
    SimVectorQuantizer,
    StraightThrough,
    UniformScalarQuantizer,
    VectorQuantizer,
    nearest_code,
)

# ---------------------------------------------------------------- gradients.md


def gradients() -> None:
    """A decoder that is the identity: the loss is the squared distance of z_q from a target."""
    figure = plt.figure(figsize=(8, 3.9))
    grid = figure.add_gridspec(2, 2, width_ratios=(1.1, 1))
    upper, lower, right = (figure.add_subplot(part) for part in (grid[0, 0], grid[1, 0], grid[:, 1]))
    x = torch.linspace(-2.3, 2.3, 2000)
    z_q = CODES_1D[nearest_code(x[:, None], CODES_1D[:, None])]
    for axes in (upper, lower):
        for boundary in (CODES_1D[1:] + CODES_1D[:-1]) / 2:
            axes.axvline(float(boundary), color="#dddddd", linewidth=1, zorder=0)
    upper.plot(x, (x - TARGET_1D).square(), color=GREY, linestyle=":", label="without a quantizer")
    for number, cell in enumerate(z_q.unique()):
        inside, named = z_q == cell, number == 0
        upper.plot(
            x[inside], (z_q - TARGET_1D).square()[inside], color=BLUE, label="with it: flat in each cell" * named
        )
        lower.plot(x[inside], torch.zeros(int(inside.sum())), color=BLUE, label="true: 0; none at boundaries" * named)
        slope = 2 * (z_q - TARGET_1D)[inside]
        lower.plot(x[inside], slope, color=ORANGE, label="straight-through: that at the code" * named)
    lower.plot(x, 2 * (x - TARGET_1D), color=GREY, linestyle=":")
    for axes, height in ((upper, -0.6), (lower, -6.3)):
        axes.plot(CODES_1D, torch.full((4,), height), "o", color="black", markersize=5, clip_on=False, zorder=9)
        axes.set(xlim=(-2.3, 2.3))
    upper.set(ylabel="loss", ylim=(-0.6, 10.5), title="One dimension: codes are black", xticklabels=[])
    lower.set(xlabel="z_e", ylabel="its gradient", ylim=(-6.3, 7))
    upper.legend(loc="upper right")
    lower.legend(loc="upper left", ncols=1, borderaxespad=0)
    draw_estimators(right)
    save(figure, "gradients")
    for name, learn, estimator in (
        ("no estimator", False, StraightThrough()),
        ("straight-through", True, StraightThrough()),
        ("rotation trick", True, RotationTrick()),
    ):
        quantizer = EMAVectorQuantizer(8, 64, 0.25 * learn, decay=0.9, estimator=estimator)
        history = train(quantizer, 300, learn=learn, every=300).history
        print(f"gradients: {name}: mse {history['mse'][-1]:.4f}")


def draw_estimators(axes: Axes) -> None:
    """A step down the gradient of either estimator, at points of the plane, on the cells of the codes."""
    draw_cells(axes, nearest_code(plane(2.1, 400), CODES_2D), len(CODES_2D), 2.1)
    ticks = torch.linspace(-1.75, 1.75, 6)
    points = torch.cartesian_prod(ticks, ticks)
    points = points[points.norm(dim=1) > 0.9]  # near 0 the rotation trick's scale |z_q| / |z_e| is large
    for estimator, colour in ((StraightThrough(), ORANGE), (RotationTrick(), PURPLE)):
        step = -0.16 * estimated_gradient(estimator, points)
        axes.quiver(
            *points.t(), *step.t(), color=colour, angles="xy", scale_units="xy", scale=1, width=0.007, headwidth=4
        )
    axes.plot(*CODES_2D.t(), "o", color="black", markersize=5)
    axes.plot(*TARGET_2D, "*", color=GREEN, markersize=12, markeredgecolor="white")
    axes.plot([], [], color=ORANGE, label="straight-through")
    axes.plot([], [], color=PURPLE, label="rotation trick")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    axes.set(title="Two: a step downhill, to the star")


# ---------------------------------------------------------------- k_means.md


def k_means() -> None:
    """The codes' way to the means, and how near they come by each way of learning."""
    torch.manual_seed(7)
    start = 0.35 * torch.randn(6, 2)
    ways: dict[str, tuple[VectorQuantizer | EMAVectorQuantizer, str]] = {
        "codebook loss, SGD, rate 1": (VectorQuantizer(2, 6, 0.0, revival=0), GREY),
        "EMA, decay 0.9": (EMAVectorQuantizer(2, 6, decay=0.9, revival=0), BLUE),
        "EMA, decay 0.99": (EMAVectorQuantizer(2, 6, decay=0.99, revival=0), ORANGE),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for name, (quantizer, colour) in ways.items():
        quantizer.codebook.vectors.data.copy_(start)
        path = follow(quantizer, 64)
        gaps = [gap_to_means(codes) for codes in path]
        right.semilogy(gaps, color=colour, label=name)
        print(f"k_means: {name}: gap {gaps[0]:.2f} at the start, {gaps[-1]:.3f} after 400 steps")
        if name == "EMA, decay 0.9":
            draw_cells(left, nearest_code(plane(2.5, 400), path[-1]), 6, 2.5)
            left.plot(*clusters().t(), ".", color="#555555", markersize=2, alpha=0.5)
            for k in range(6):
                left.plot(*path[:, k].t(), color="black", linewidth=1.1)
            left.plot(
                *path[0].t(), "o", color="white", markeredgecolor="black", markersize=5, label="codes at the start"
            )
            left.plot(*path[-1].t(), "o", color="black", markersize=6, label="after 400 updates")
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)
    left.set(title="Six codes and what each wins (decay 0.9)")
    right.set(
        xlabel="step, of 64 vectors each", ylabel="distance to the mean of what a code wins", title="Codes become means"
    )
    right.set(yticks=[0.01, 0.1, 1], yticklabels=["0.01", "0.1", "1"])
    right.legend()
    save(figure, "k_means")


# ---------------------------------------------------------------- commitment.md


WEIGHTS = {0.0: RED, 0.01: ORANGE, 0.25: BLUE, 4.0: GREEN, 64.0: PURPLE}


def commitment() -> None:
    """The length of z_e and the error by the weight of the commitment, and the error by how fast the codes follow."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 3))
    for weight, colour in WEIGHTS.items():
        history = train(EMAVectorQuantizer(8, 16, weight, decay=0.9, revival=0), 300).history
        mse, length, distance = (history[name][-1] for name in ("mse", "length", "distance"))
        left.plot(history["step"], history["length"], color=colour)
        left.text(308, length, f"{weight:g}", color=colour, va="center", fontweight="bold")
        middle.plot(f"{weight:g}", mse, "o", color=colour, markersize=7)
        print(f"commitment {weight:g}: mse {mse:.4f}, |z_e| {length:.2f}, |z_e - z_q| {distance:.2f}")
    left.set(xlabel="step", ylabel="mean |z_e|", title="z_e, by commitment_weight", yscale="log", xlim=(0, 380))
    left.set(yticks=[0.3, 1, 3, 10], yticklabels=["0.3", "1", "3", "10"], xticks=range(0, 301, 100))
    middle.set(xlabel="commitment_weight", ylabel="mse after 300 steps", title="Reconstruction", ylim=(0, 0.035))
    ways: list[tuple[str, Quantizer, str, str]] = [
        (f"decay {decay:g}", EMAVectorQuantizer(8, 16, decay=decay, revival=0), colour, "-")
        for decay, colour in ((0.9, BLUE), (0.99, ORANGE), (0.999, RED))
    ]
    ways += [
        (f"codebook_weight {weight:g}", VectorQuantizer(8, 16, codebook_weight=weight, revival=0), colour, style)
        for weight, colour, style in ((0.01, "#bbbbbb", "-"), (10.0, "black", ":"))
    ]
    for name, quantizer, colour, style in ways:
        history = train(quantizer, 200).history
        right.plot(history["step"], history["mse"], color=colour, linestyle=style, label=name)
        print(f"commitment, {name}: mse {history['mse'][-1]:.4f}")
    right.legend(loc="upper right", borderaxespad=0, handlelength=1.4)
    right.set(xlabel="step", ylabel="mse", title="How fast codes follow", xlim=(60, 200), ylim=(0, 0.14))
    save(figure, "commitment")


# ---------------------------------------------------------------- rate.md


def rate() -> None:
    """The KL of a posterior that sharpens to one-hot, and what held-out tokens cost while a prior learns."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
    sharpness = torch.logspace(-1.5, 2, 100)
    logits = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    kl = [kl_to_uniform((s * logits).softmax(1)) for s in sharpness]
    left.semilogx(sharpness, kl, color=BLUE, label="KL(q || uniform)")
    left.axhline(math.log(64), color="black", linestyle=":", label="ln 64 = 4.16, one-hot's")
    left.legend(loc="upper left", bbox_to_anchor=(0, 0.93))
    left.set(xticks=[0.1, 1, 10, 100], xticklabels=["0.1", "1", "10", "100"])
    left.set(xlabel="sharpness of q", ylabel="nats a position", title="One-hot: the KL is a constant")
    learned, unigram, bound = priors(train(EMAVectorQuantizer(8, 64, decay=0.9), 400))
    right.axhline(bound, color="black", linestyle=":", label=f"uniform, 16 ln 64 = {bound:.1f}")
    right.axhline(unigram, color=GREY, label=f"unigram, {unigram:.1f}")
    steps, nats = zip(*learned.items(), strict=True)
    right.plot(steps, nats, color=ORANGE, label=f"transformer, {nats[-1]:.1f} at the end")
    right.set(xlabel="training step of the prior", ylabel="nats a held-out picture", title="A learned prior costs less")
    right.set(ylim=(0, 1.45 * bound), xlim=(0, 200))
    right.legend(loc="upper right", borderaxespad=0)
    save(figure, "rate")
    print(f"rate: {nats[-1]:.1f} nats under the transformer, {unigram:.1f} unigram, {bound:.1f} uniform")


# ---------------------------------------------------------------- collapse.md


def collapse() -> None:
    """The usage over training without and with each cure."""
    plain, adrift = VectorQuantizer(8, CODES, revival=0), long_codes(revival=0)
    indexed = {weight: IndexBackpropagationQuantizer(8, CODES, entropy_weight=weight) for weight in (0.0, 1.0)}
    panels: dict[str, list[tuple[str, Quantizer, bool, str]]] = {
        "Initialisation from data": [
            ("off, codes ten times too long", adrift, False, RED),
            ("off, codes of the right length", plain, False, GREY),
            ("on: k-means of z_e", VectorQuantizer(8, CODES, revival=0), True, BLUE),
        ],
        "Revival": [
            ("off, codes ten times too long", adrift, False, RED),
            ("on, from the same codes", long_codes(decay=0.9), False, BLUE),
        ],
        "Entropy loss": [
            ("off", indexed[0.0], False, RED),
            ("on", indexed[1.0], False, BLUE),
        ],
        "Codes that move together": [
            ("off: a free vector each", plain, False, GREY),
            ("on: one linear map of all", SimVectorQuantizer(8, CODES), False, BLUE),
        ],
    }
    figure, axes = plt.subplots(2, 2, figsize=(8, 4.6), sharex=True, sharey=True)
    for panel, (title, ways) in zip(axes.flat, panels.items(), strict=True):
        for name, quantizer, initialise, colour in ways:
            history = usage_history(quantizer, initialise)
            panel.plot(history["step"], history["usage"], color=colour, label=name)
            panel.set(title=title, ylim=(0, 1.03), xlim=(0, 240))
            print(f"collapse: {title}, {name}: usage {history['usage'][-1]:.3f}, mse {history['mse'][-1]:.4f}")
        panel.legend(loc="lower right" if title == "Entropy loss" else "best")
    for panel in axes[1]:
        panel.set(xlabel="step")
    for panel in axes[:, 0]:
        panel.set(ylabel=f"share of {CODES} codes in use")
    save(figure, "collapse")


# ---------------------------------------------------------------- bottlenecks.md


def bottlenecks() -> None:
    """What each way of quantizing makes of a plane: the cells, and the points z that they become."""
    x = clusters()
    members: dict[str, Quantizer] = {
        "VectorQuantizer": EMAVectorQuantizer(2, 16),
        "CosineSimilarityQuantizer": CosineSimilarityQuantizer(EMAVectorQuantizer(2, 12)),
        "ProductQuantizer": ProductQuantizer([EMAVectorQuantizer(1, 4), EMAVectorQuantizer(1, 4)]),
        "ResidualQuantizer": ResidualQuantizer(EMAVectorQuantizer(2, 4), 2),
        "FiniteScalarQuantizer": FiniteScalarQuantizer((5, 4)),
        "UniformScalarQuantizer": UniformScalarQuantizer(2, 0.8, 5, dead_zone=5 / 3),
        "LookupFreeQuantizer": LookupFreeQuantizer(2),
        "BinarySphericalQuantizer": BinarySphericalQuantizer(2),
    }
    figure, axes = plt.subplots(2, 4, figsize=(8, 4.4))
    for panel, (name, quantizer) in zip(axes.flat, members.items(), strict=True):
        quantizer.initialise([x])
        quantizer.eval()
        latent = quantizer(plane(2.2, 400).t()[None])
        assert latent.indices is not None
        points, cells = latent.z[0].t().detach().unique(dim=0, return_inverse=True)
        draw_cells(panel, cells, len(points), 2.2)
        panel.plot(*x[::3].t(), ".", color="#555555", markersize=1.5, alpha=0.5)
        panel.plot(*points.t(), "o", color="black", markersize=3.5)
        panel.set_title(name, fontsize=8.5)
    save(figure, "bottlenecks")


# ---------------------------------------------------------------- what they share


def plane(half: float, n: int) -> Tensor:
    """[n * n, 2]: the points of a square around 0, row by row."""
    ticks = torch.linspace(-half, half, n)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], 1)


def draw_cells(axes: Axes, indices: Tensor, codes: int, half: float) -> None:
    """A square plane coloured by `indices` [n * n] of its points, with white lines between the cells."""
    side = math.isqrt(len(indices))
    cells = indices.view(side, side)
    order = torch.randperm(codes, generator=torch.Generator().manual_seed(2))  # neighbours get unlike colours
    colours = torch.tensor([plt.get_cmap("Set3")(int(k) % 12)[:3] for k in order]) * 0.55 + 0.45
    picture = colours[cells]
    edges = F.pad((cells.diff(dim=0) != 0)[:, 1:] | (cells.diff(dim=1) != 0)[1:], (1, 0, 1, 0))
    picture[edges] = 1.0
    axes.imshow(picture, origin="lower", extent=(-half, half, -half, half))
    axes.set(xticks=[], yticks=[], xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.spines[:].set_visible(False)


FIGURES: tuple[Callable[[], None], ...] = (
    pca_to_vqvae,
    gradients,
    k_means,
    commitment,
    rate,
    rate_distortion,
    compression,
    walks,
    collapse,
    bottlenecks,
    levels,
    interpolation,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = {figure.__name__: figure for figure in FIGURES}
    parser.add_argument("figures", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all by default")
    chosen = parser.parse_args().figures or list(names)
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no figure {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    torch.set_num_threads(1)
    with plt.style.context(STYLE):
        for name in chosen:
            torch.manual_seed(0)
            names[name]()


if __name__ == "__main__":
    main()
