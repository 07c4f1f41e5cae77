"""Matplotlib figures -> SVG in the one look that all figures have, whose colours are those of palette.css."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PALETTE = Path(__file__).with_name("palette.css").read_text(encoding="utf-8")
"""The page's CSS variables, for a light and a dark scheme."""

# Matplotlib wants real colours: each of these stands for a CSS variable and is swapped for it in the SVG's text.
COLOURS = {"#010203": "--ink-soft", "#010204": "--rule", "#010205": "--ink"} | {
    f"#0102{10 + number}": f"--line-{number}" for number in range(1, 9)
}
"""The colours that a figure is drawn in, each with the CSS variable that it stands for."""

SOFT, RULE, INK, *LINES = COLOURS


def tidy(axes: Axes) -> None:
    """Horizontal rules and a base line, small soft text, nothing else."""
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.tick_params(which="both", colors=SOFT, length=0, labelsize=9)
    axes.xaxis.label.set(color=SOFT, size=9)
    axes.margins(x=0.02)


def inline(figure: Figure, title: str) -> Markup:
    """An SVG for a page that has the palette, so that it follows the light and dark scheme. It takes its size from the
    page, and has no prolog."""
    view_box, body = _drawn(figure)
    for colour, variable in COLOURS.items():
        body = body.replace(colour, f"var({variable})")
    return Markup('<svg {} role="img" aria-label="{}">').format(Markup(view_box), title) + Markup(body)


def standalone(figure: Figure, title: str) -> str:
    """An SVG file of its own, in the light scheme, since many programs that show such files know no CSS variables."""
    view_box, body = _drawn(figure)
    light = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]+)", PALETTE[: PALETTE.index("@media")]))
    for colour, variable in COLOURS.items():
        body = body.replace(colour, light[variable])
    start = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {}><title>{}</title>'
    ground = Markup('<rect width="100%" height="100%" fill="{}"/>').format(light["--card"])
    return str(Markup(start).format(Markup(view_box), title) + ground + Markup(body))


def _drawn(figure: Figure) -> tuple[str, str]:
    """The viewBox attribute, and all within the svg element and its end."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vqkit"}):  # text as text, the same each time
        FigureCanvasSVG(figure).print_svg(  # type: ignore[no-untyped-call]
            buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    text = re.sub(r"<!--.*?-->| xmlns(:xlink)?=\"[^\"]*\"", "", buffer.getvalue(), flags=re.DOTALL)
    view_box = re.search(r'<svg [^>]*?(viewBox="[^"]*")', text)
    assert view_box is not None
    body = text[text.index(">", view_box.end()) + 1 :]
    # Ids are unique in a document, and of many only those that are referred to are needed.
    prefix = hashlib.sha256(body.encode()).hexdigest()[:8]
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", body)
    return view_box[1], re.sub(r'(url\(|href=")#', rf"\1#{prefix}-", body)
