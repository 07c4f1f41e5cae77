"""Rate-distortion curves of codecs, a figure for each measure of quality."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vqkit.evaluation import MEASURES
from vqkit.evaluation.comparison import QUALITIES, Comparison
from vqkit.report.svg import INK, LINES, RULE, SOFT, standalone, tidy

_COLUMNS = 126  # characters of the caption in a line
_RATES = FuncFormatter(lambda rate, _: f"{rate:,.6g}")


def rate_distortion_figures(comparison: Comparison) -> dict[str, str]:
    """SVG files by the name of a quality: those of `QUALITIES` that a codec has, over bits a pixel, on a log scale, and
    bits a picture. The anchors' lines are dashed; codecs beyond the palette share its colours."""
    return {
        quality: _figure(comparison, curves, MEASURES[quality].title)
        for quality in QUALITIES
        if (curves := comparison.curves(quality))
    }


def _figure(comparison: Comparison, curves: dict[str, list[tuple[float, float]]], title: str) -> str:
    figure = Figure(figsize=(8.0, 5.2), facecolor="none")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot(facecolor="none")
    colours = _colours(comparison)
    for codec, curve in curves.items():
        style = "--" if codec in comparison.anchors else "-"
        axes.plot(
            *zip(*curve, strict=True), f"{style}o", color=colours[codec], linewidth=1.6, markersize=3.5, label=codec
        )
    axes.set_xscale("log")
    axes.set_xlabel("bits a pixel")
    tidy(axes)
    pixels = comparison.pixels / comparison.pictures
    above = axes.secondary_xaxis("top", functions=(partial(np.multiply, pixels), partial(np.multiply, 1 / pixels)))
    above.set_xlabel("bits a picture", color=SOFT, size=9)
    above.spines["top"].set_visible(False)
    above.tick_params(which="both", colors=SOFT, length=0, labelsize=9)
    for axis in (axes.xaxis, above.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(_RATES)
        axis.set_minor_locator(NullLocator())
    axes.grid(axis="x", color=RULE, linewidth=0.8)
    axes.set_ylabel(title, color=SOFT, size=9)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK)
    figure.supxlabel(textwrap.fill(comparison.caption, _COLUMNS), x=0.02, ha="left", size=7.5, color=SOFT)
    return standalone(figure, f"{title} over bits a pixel")


def _colours(comparison: Comparison) -> dict[str, str]:
    """A codec has the same colour in every figure; those that are no anchors come first."""
    names: Sequence[str] = list(dict.fromkeys(point.codec for point in comparison.points))
    ordered = sorted(names, key=lambda name: name in comparison.anchors)
    return {name: LINES[number % len(LINES)] for number, name in enumerate(ordered)}
