"""What training logged and how codes are used, as charts for the page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from torch import Tensor

from vqkit.report.svg import COLOURS, LINES, inline, tidy

_POINTS = 300
_DECAYING = {"Loss", "Mean squared error", "Learning rate"}

_GROUPS: dict[str, tuple[str, ...]] = {
    "Loss": ("loss", "decoder_loss", "mean_loss", "latent_loss", "nats_per_token"),
    "Mean squared error": ("mse",),
    "Perplexity": ("perplexity", "batch_perplexity"),
    "Codebook usage": ("usage", "batch_usage"),
    "KL, nats a sample": ("kl",),
    "KL weight": ("kl_weight",),
    "Active latent channels": ("active",),
    "Mean vector norm": ("z_e_norm", "code_norm"),
    "Samples a second": ("samples_per_second",),
    "Learning rate": ("learning_rate",),
}


class Key(NamedTuple):
    """One entry of a legend: `colour` is a CSS value."""

    name: str
    colour: str
    dashed: bool


class Chart(NamedTuple):
    """`svg` is safe to inline; `legend` is empty where one line needs none."""

    title: str
    svg: Markup
    legend: list[Key]


class _Line(NamedTuple):
    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    dashed: bool


def training_charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """One chart for each group of columns that exists, over `step`, and one for each column that no group knows.

    `validation_x` is dashed, and `x_0`, `x_1` are the levels of `x`. Cells that are no finite number are skipped, and a
    line of more than 300 points is averaged in bins.
    """
    titles = {name: title for title, names in _GROUPS.items() for name in names}
    charts: dict[str, list[_Line]] = {title: [] for title in _GROUPS}
    colours: dict[tuple[str, str], str] = {}  # a column and its validation share one
    for column in dict.fromkeys(name for row in rows for name in row if name != "step"):
        x, y = _points(rows, column)
        if not len(x):
            continue
        plain = column.removeprefix("validation_")
        name = re.sub(r"_\d+$", "", plain)
        title = titles.get(name, name.replace("_", " ").capitalize())
        taken = sum(key[0] == title for key in colours)
        colour = colours.setdefault((title, plain), LINES[taken % len(LINES)])
        line = _Line(_named(column), x, y, colour, column != plain)
        charts.setdefault(title, []).append(line)
    return [
        _chart(title, lines, "step", log=title in _DECAYING and _spans_decades(lines))
        for title, lines in charts.items()
        if lines
    ]


def usage_chart(title: str, counts: Tensor, sizes: tuple[int, ...]) -> Chart:
    """Counts [Q, K] of one level -> how often each code occurs, the most used first, on log axes, a line a codebook.
    A line ends where its dead codes start. Codebooks beyond the palette share its colours."""
    lines = []
    for number, (histogram, size) in enumerate(zip(counts, sizes, strict=True)):
        descending = histogram[:size].sort(descending=True).values.cpu().numpy()
        used = descending[descending > 0]
        name = f"codebook {number + 1}"
        lines.append(_Line(name, np.arange(1, len(used) + 1), used, LINES[number % len(LINES)], False))
    return _chart(title, lines, "code, by rank", log=True, width=max(sizes), filled=len(lines) == 1)


def _named(column: str) -> str:
    """A column in words; levels and codebooks count from 1, as on the whole page."""
    return re.sub(r"_(\d+)$", lambda found: f" {int(found[1]) + 1}", column).replace("_", " ")


def _points(rows: Sequence[Mapping[str, Any]], column: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.array(
        [
            (x, y)
            for row in rows
            if math.isfinite(x := _number(row.get("step"))) and math.isfinite(y := _number(row.get(column)))
        ]
    ).reshape(-1, 2)
    if len(pairs) > _POINTS:
        pairs = np.array([part.mean(0) for part in np.array_split(pairs, _POINTS)])
    return pairs[:, 0], pairs[:, 1]


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def _spans_decades(lines: Sequence[_Line]) -> bool:
    low, high = min(line.y.min() for line in lines), max(line.y.max() for line in lines)
    return bool(low > 0 and high > 30 * low)


def _chart(
    title: str, lines: Sequence[_Line], x_label: str, log: bool, width: float | None = None, filled: bool = False
) -> Chart:
    figure = Figure(figsize=(4.6, 2.7), facecolor="none")
    figure.set_layout_engine("constrained", w_pad=0.12)  # inches: the page may have a wider font
    axes = figure.add_subplot(facecolor="none")
    if log:
        axes.set_yscale("log")
    for line in lines:
        lonely = "o" if len(line.x) == 1 else None
        style = "--" if line.dashed else "-"
        axes.plot(line.x, line.y, style, color=line.colour, linewidth=1.6, marker=lonely, markersize=4)
        if filled:
            axes.fill_between(line.x, line.y, 0.5, color=line.colour, alpha=0.18, linewidth=0)
    if width is not None:
        axes.set_xlim(0, width)
        axes.set_ylim(bottom=0.5)  # a count of one stays above the axis
    axes.set_xlabel(x_label)
    tidy(axes)
    legend = [Key(line.name, f"var({COLOURS[line.colour]})", line.dashed) for line in lines] if len(lines) > 1 else []
    return Chart(title, inline(figure, title), legend)
