"""Codecs beside each other: their curves, what lies between these, and how that is told."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rich.console import Group
from rich.table import Column, Table
from torch import Tensor

from vqkit.evaluation.bjontegaard import Delta, bd_psnr, bd_rate, frontier
from vqkit.evaluation.classical import libraries
from vqkit.evaluation.measures import ABSENT, MEASURES
from vqkit.evaluation.rate_distortion import PictureCodec, Point, operating_point
from vqkit.progress import Progress

QUALITIES = ("psnr", "ssim", "ms_ssim")
"""What curves are drawn of: better where it is higher. PSNR is of the mean MSE, so it stands for that too."""


class Difference(NamedTuple):
    """What lies between the PSNR curves of a codec and an anchor, as `bd_rate` in per cent and `bd_psnr` in dB; None
    where they have no PSNR, or no rate, in common."""

    codec: str
    anchor: str
    bd_rate: Delta | None
    bd_psnr: Delta | None


class Comparison(NamedTuple):
    """Points of several codecs, all of the same pictures.

    `source` says which, in words; `pixels` are those of all `pictures` together. `anchors` name
    the codecs that all others are compared with; `bare` says that the files of those others have no header.
    """

    points: Sequence[Point]
    source: str
    pictures: int
    pixels: int
    pictures_per_file: int
    anchors: Sequence[str] = ()
    bare: bool = False

    @property
    def caption(self) -> str:
        """What was measured, in sentences."""
        files = "One picture" if self.pictures_per_file == 1 else f"{self.pictures_per_file} pictures"
        others = f", but for {' and '.join(self._others)}, of which they are payloads alone" if self.bare else ""
        return (
            f"{self.pictures:,} picture{'s' * (self.pictures != 1)}: {self.source}. {files} a file; bits are of whole "
            f"files, headers included{others}. No model or codec is counted. PSNR is of the mean MSE over pictures, "
            "SSIM and MS-SSIM are means over pictures; none of them is what people see. A line joins the settings of a "
            "codec that none of its others beats; classical codecs also code pictures at 1/2 and 1/4 of their size, "
            "with colour at half the resolution but in JPEG XL, and AVIF at speed 4."
        )

    @property
    def _others(self) -> list[str]:
        """The codecs that are no anchors."""
        return [name for name in dict.fromkeys(point.codec for point in self.points) if name not in self.anchors]

    def curves(self, quality: str) -> dict[str, list[tuple[float, float]]]:
        """The `frontier` of each codec by name: bits a pixel and one of `QUALITIES`. A codec of which no point has that
        quality is left out."""
        found: dict[str, list[tuple[float, float]]] = {}
        for point in self.points:
            if (value := getattr(point, quality)) is not None:
                found.setdefault(point.codec, []).append((point.bits_per_pixel, value))
        return {codec: frontier(curve) for codec, curve in found.items()}

    def differences(self) -> Iterator[Difference]:
        """Of each codec from each anchor but itself."""
        curves = self.curves("psnr")
        for codec, curve in curves.items():
            for name in self.anchors:
                if name != codec and (anchor := curves.get(name)):
                    yield Difference(codec, name, bd_rate(anchor, curve), bd_psnr(anchor, curve))

    def facts(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        found = self._asdict() | {"points": [point._asdict() for point in self.points], "anchors": list(self.anchors)}
        deltas = [
            {name: value._asdict() if isinstance(value, Delta) else value for name, value in row._asdict().items()}
            for row in self.differences()
        ]
        return found | {"caption": self.caption, "differences": deltas, "libraries": libraries()}

    def as_csv(self) -> str:
        """A row a point, whether another beats it or not; empty where a number was not measured."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Point._fields)
        writer.writerows(self.points)
        return text.getvalue()

    def table(self) -> Group:
        """The points by rate, and how far the PSNR curves are from the anchors'; of the anchors themselves only where
        there is nothing else."""
        shown = self._others or self.anchors
        parts: list[Table | str] = [self._of_points(shown), self.caption]
        if differences := [row for row in self.differences() if row.codec in shown]:
            caption = "Mean differences in bits at equal PSNR, and in PSNR at equal bits, as far as both curves reach"
            parts += [_of_differences(differences), f"{caption} (Bjontegaard)."]
        return Group(*parts)

    def _of_points(self, codecs: Sequence[str]) -> Table:
        shown = sorted((point for point in self.points if point.codec in codecs), key=lambda p: p.bits_per_pixel)
        qualities = [name for name in QUALITIES if any(getattr(point, name) is not None for point in shown)]
        result = Table(Column(max_width=20, overflow="fold"), "")
        for title in ("bits a picture", "bits a pixel", "MSE", *(MEASURES[name].title for name in qualities)):
            result.add_column(title, justify="right")
        for codec in codecs:
            for number, point in enumerate(points := [point for point in shown if point.codec == codec], 1):
                values = [MEASURES[name].show(getattr(point, name)) for name in ("mse", *qualities)]
                rates = f"{point.bits_per_picture:,.0f}", f"{point.bits_per_pixel:,.4f}"
                name = codec if number == 1 else ""
                result.add_row(name, point.setting, *rates, *values, end_section=number == len(points))
        return result


def compare(
    codecs: Sequence[PictureCodec],
    anchors: Sequence[PictureCodec],
    groups: Sequence[Tensor],
    source: str,
    pictures_per_file: int = 1,
    bar: bool | None = None,
) -> Comparison:
    """Every codec, and then every anchor, at every setting, of pictures uint8 [N, C, H, W], a group for each size;
    `source` says which they are. Raises ValueError like `operating_point`, and where an anchor is called like a
    codec."""
    names = [anchor.name for anchor in anchors]
    if both := {codec.name for codec in codecs} & set(names):
        raise ValueError(f"two codecs are called {' and '.join(sorted(both))}; give one another name")
    jobs = [(codec, setting) for codec in (*codecs, *anchors) for setting in codec.settings]
    points = []
    with Progress("comparison", len(jobs), "point", bar) as progress:
        for codec, setting in jobs:
            points.append(operating_point(codec, setting, groups, pictures_per_file))
            progress.advance(1, f"{codec.name}, {setting}")
    pixels = sum(len(x) * x[0, 0].numel() for x in groups)
    return Comparison(points, source, sum(map(len, groups)), pixels, pictures_per_file, names)


def _of_differences(differences: Sequence[Difference]) -> Table:
    result = Table(Column(max_width=20, overflow="fold"), show_lines=True)
    anchors = list(dict.fromkeys(row.anchor for row in differences))
    for anchor in anchors:
        result.add_column(f"beside {anchor}", justify="right")
    cells = {(row.codec, row.anchor): _cell(row) for row in differences}
    for codec in dict.fromkeys(row.codec for row in differences):
        result.add_row(codec, *(cells.get((codec, anchor), "") for anchor in anchors))
    return result


def _cell(row: Difference) -> str:
    bits = ABSENT if row.bd_rate is None else f"{row.bd_rate.value:+,.1f} %"
    quality = ABSENT if row.bd_psnr is None else f"{row.bd_psnr.value:+.2f} dB"
    return f"{bits}\n{quality}"
