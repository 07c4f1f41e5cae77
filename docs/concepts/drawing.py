"""How all figures look, where they go, and the tables beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from vqkit.modality import Image as Pictures

HERE = Path(__file__).parent
IMAGES, MEASURED, BENCHMARKS = HERE / "images", HERE / "measured", HERE.parents[1] / "benchmarks" / "results"
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#2f6db3", "#e08214", "#3a923a", "#c03d3e", "#7b5aa6", "#8c8c8c"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}


def save(figure: Figure, name: str, dpi: int = 200) -> None:
    """As a PNG of 256 colours, which is small; those that k-means finds are fair to pictures."""
    IMAGES.mkdir(exist_ok=True)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(256, kmeans=10).save(IMAGES / f"{name}.png", optimize=True)


def picture_rows(rows: Mapping[str, Tensor], below: float = 0.0) -> Figure:
    """A row of pictures uint8 [N, C, H, W] for each name, which stands to its left; `below` inches are left free."""
    width, label, gap = 8.0, 1.5, 0.05
    side = (width - label) / len(next(iter(rows.values())))
    height = len(rows) * (side + gap) + below
    figure = plt.figure(figsize=(width, height), layout="none")
    for number, (name, x) in enumerate(rows.items(), 1):
        bottom = (height - number * (side + gap)) / height
        axes = figure.add_axes((label / width, bottom, 1 - label / width, side / height))
        axes.imshow(Pictures(x.shape[-1], x.shape[1]).preview(x, len(x)), interpolation="nearest", aspect="auto")
        axes.set_axis_off()
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, ha="right", va="center")
    return figure


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def store(name: str, measured: Mapping[str, Any]) -> None:
    """The numbers of a page, for the test that compares it with them."""
    MEASURED.mkdir(exist_ok=True)
    (MEASURED / f"{name}.json").write_text(json.dumps(measured, indent=1) + "\n")


def stored(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def fill(page: str, table: str) -> None:
    """Puts a table in the place of the page's one with the same header. Raises ValueError where there is none."""
    path = HERE / f"{page}.md"
    header = table.splitlines()[0]
    before, found, after = path.read_text().partition(f"{header}\n")
    if not found:
        raise ValueError(f"{path} has no table with the header {header}; write that line where it is to stand")
    rest = after.splitlines(keepends=True)
    while rest and rest[0].startswith("|"):
        del rest[0]
    path.write_text(f"{before}{table}\n{''.join(rest)}")
