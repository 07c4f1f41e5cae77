"""Scenes of coloured shapes, drawn on demand: a picture, the kind of its main shape, and a sentence about it."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from vqkit.data.records import Records, Source
from vqkit.modality import Array, Cell

Point = tuple[float, float]
Colour = tuple[int, int, int]


def _regular(corners: int, inner: float = 1.0) -> list[Point]:
    """A regular polygon with a corner at the top; `inner` < 1 pulls every second corner in, to a star."""
    angles = (2 * math.pi * i / corners - math.pi / 2 for i in range(corners))
    radii = (inner if i % 2 else 1.0 for i in range(corners))
    return [(r * math.cos(a), r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]


def _cross(t: float) -> list[Point]:
    """A plus sign whose arms are 2t thick."""
    corner, left, right = (-t, -t), (-t, -1.0), (t, -1.0)
    outline: list[Point] = []
    for cos, sin in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        outline += [(x * cos - y * sin, x * sin + y * cos) for x, y in (corner, left, right)]
    return outline


def _moon() -> list[Point]:
    """A crescent: the arc of a circle, and back along that of a smaller one beside it."""
    outer = [math.pi * (0.3 + 1.4 * i / 31) for i in range(32)]
    inner = [math.pi * (1.57 - 1.14 * i / 31) for i in range(32)]
    back = [(0.42 + 0.83 * math.cos(a), 0.83 * math.sin(a)) for a in inner]
    return [(math.cos(a), math.sin(a)) for a in outer] + back


def _heart() -> list[Point]:
    angles = [2 * math.pi * i / 48 for i in range(48)]
    down = [5 * math.cos(2 * a) + 2 * math.cos(3 * a) + math.cos(4 * a) - 13 * math.cos(a) for a in angles]
    return [(math.sin(a) ** 3, y / 16 - 0.1) for a, y in zip(angles, down, strict=True)]


OUTLINES: dict[str, list[Point]] = {
    "circle": [(0.92 * x, 0.92 * y) for x, y in _regular(48)],
    "cross": _cross(0.33),
    "heart": _heart(),
    "hexagon": _regular(6),
    "moon": _moon(),
    "square": [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
    "star": _regular(10, inner=0.45),
    "triangle": [(x, y + 0.2) for x, y in _regular(3)],
}
"""Each kind of shape, about the unit circle, y down. Their order is that of the labels."""

COLOURS: dict[str, Colour] = {
    "red": (214, 57, 52),
    "orange": (238, 132, 40),
    "yellow": (242, 200, 58),
    "green": (64, 158, 86),
    "teal": (38, 150, 160),
    "blue": (58, 104, 204),
    "purple": (128, 78, 176),
    "pink": (232, 118, 164),
}
BACKGROUNDS: tuple[Colour, ...] = (
    (246, 240, 226),
    (222, 234, 242),
    (226, 238, 222),
    (236, 228, 240),
    (64, 70, 84),
    (44, 60, 72),
)


class Shape(NamedTuple):
    """One shape of a scene; centre and radius in units of the picture's side, angle in radians."""

    kind: str
    colour: str
    tint: Colour
    centre: Point
    radius: float
    angle: float


class Scene(NamedTuple):
    """What is drawn, back to front, and the sentence about it; the first shape is the main one."""

    background: Colour
    shapes: tuple[Shape, ...]
    caption: str


def scene(seed: int, index: int) -> Scene:
    """The scene number `index`, a function of (seed, index) alone."""
    rng = random.Random(f"{seed}/{index}")
    background = rng.choice(BACKGROUNDS)
    colours = rng.sample(list(COLOURS), 2)

    def shape(colour: str, centre: Point, radius: float) -> Shape:
        red, green, blue = (min(255, max(0, c + rng.randint(-12, 12))) for c in COLOURS[colour])
        return Shape(rng.choice(list(OUTLINES)), colour, (red, green, blue), centre, radius, rng.uniform(-0.3, 0.3))

    if rng.random() < 0.25:
        radius = rng.uniform(0.22, 0.38)
        centre = rng.uniform(radius + 0.04, 0.96 - radius), rng.uniform(radius + 0.04, 0.96 - radius)
        main = shape(colours[0], centre, radius)
        return Scene(background, (main,), f"{_article(main.colour)} {main.kind}")

    radius, small = rng.uniform(0.2, 0.28), rng.uniform(0.1, 0.14)
    extent = 2 * (radius + small) + rng.uniform(0.03, 0.08)
    start = rng.uniform(0.04, 0.96 - extent)
    across = rng.uniform(radius + 0.04, 0.96 - radius)
    aside = across + rng.uniform(-0.1, 0.1)
    relation = rng.choice(("above", "below", "left of", "right of"))
    ends = (start + radius, start + extent - small)  # main first along the axis, mirrored for below and right of
    along, beyond = ends if relation in ("above", "left of") else (1 - ends[0], 1 - ends[1])
    upright = relation in ("above", "below")
    main = shape(colours[0], (across, along) if upright else (along, across), radius)
    other = shape(colours[1], (aside, beyond) if upright else (beyond, aside), small)
    where = relation if upright else f"to the {relation}"
    caption = f"{_article(main.colour)} {main.kind} {where} a small {other.colour} {other.kind}"
    return Scene(background, (main, other), caption)


def _article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def draw(scene: Scene, size: int, oversampling: int = 4) -> Array:
    """uint8 [size, size, 3]; drawn larger and averaged down, so that edges are smooth."""
    side = size * oversampling
    ramp = np.outer(np.linspace(1.04, 0.86, side), scene.background).clip(0, 255).astype(np.uint8)
    canvas = Image.fromarray(np.repeat(ramp[:, None], side, axis=1))
    pen = ImageDraw.Draw(canvas)
    shadow = tuple(round(c * 0.74) for c in scene.background)
    for offset, shaded in ((0.022, True), (0.0, False)):
        for shape in scene.shapes:
            cos, sin = math.cos(shape.angle) * shape.radius, math.sin(shape.angle) * shape.radius
            x, y = shape.centre[0] + offset, shape.centre[1] + offset
            points = [((x + u * cos - v * sin) * side, (y + u * sin + v * cos) * side) for u, v in OUTLINES[shape.kind]]
            pen.polygon(points, fill=shadow if shaded else shape.tint)
    return np.asarray(canvas.reduce(oversampling))


class Drawings(Sequence[Cell]):
    """`count` scenes as uint8 [size, size, 3], each drawn when it is asked for."""

    def __init__(self, scenes: Sequence[Scene], size: int) -> None:
        self.scenes, self.size = scenes, size

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, row: int) -> Cell:  # type: ignore[override]
        return draw(self.scenes[row], self.size)


def shapes(size: int = 64, count: int = 10_000, seed: int = 0) -> Source:
    """`count` scenes of `size` x `size` pixels; labels are the kind of the main shape, captions say the rest."""
    if size < 8 or count < 1:
        raise ValueError(
            f"shapes of size {size}, {count} of them, cannot be drawn; take a size from 8 up and a count from 1"
        )
    scenes = [scene(seed, i) for i in range(count)]
    names = tuple(OUTLINES)
    labels = np.array([names.index(s.shapes[0].kind) for s in scenes], np.int64)
    keys = [f"shapes/{seed}/{i}" for i in range(count)]
    return Source(
        "shapes", {"train": Records(Drawings(scenes, size), keys, labels, names, [s.caption for s in scenes])}
    )
