from __future__ import annotations

import csv
import io
import json
import math
from typing import NamedTuple

import pytest
import torch
from rich.console import Console

from vqkit.evaluation import Coded, Comparison, Fidelity, Point, compare, operating_point
from vqkit.signal import Signal


class Rounding(NamedTuple):
    """Keeps the highest bits of a pixel, in files of so many bytes a pixel and a header of 10."""

    name: str = "rounding"
    settings: tuple[str, ...] = ("1", "3", "8")

    def code(self, x: torch.Tensor, setting: str, pictures_per_file: int) -> Coded:
        step = 2 ** (8 - int(setting))
        files = [bytes(10 + int(setting) * part.numel()) for part in x.split(pictures_per_file)]
        return Coded(files, x // step * step + step // 2 if step > 1 else x)


def pictures(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator).byte()


def test_a_point_is_of_all_files_and_the_mean_picture() -> None:
    groups = [pictures(3, 8, 8), pictures(1, 16, 32, 1) // 4]
    point = operating_point(Rounding(), "3", groups, 2)
    assert point.bytes == 10 * (2 + 1) + 3 * 3 * (3 * 64 + 512)
    assert point.bits_per_picture == 8 * point.bytes / 4
    assert point.bits_per_pixel == pytest.approx(8 * point.bytes / (3 * 64 + 512))
    errors, similarities = [], []
    for picture in (picture[None] for group in groups for picture in group):
        fidelity = Fidelity(Signal(3, tuple(picture.shape[2:]), 0, 255, 256))
        fidelity.add(picture, Rounding().code(picture, "3", 1).x_hat)
        numbers = fidelity.measured().numbers
        errors.append(numbers["mse"])
        similarities.append(numbers["ssim"])
    assert point.mse == pytest.approx(sum(errors) / 4) and point.ssim == pytest.approx(sum(similarities) / 4, abs=1e-6)
    assert point.psnr == pytest.approx(-10 * math.log10(point.mse)) and point.ms_ssim is None


def test_what_loses_nothing_has_no_psnr() -> None:
    point = operating_point(Rounding(), "8", [pictures(2, 8, 8)])
    assert point.mse == 0 and point.psnr is None and point.ssim == pytest.approx(1)


def test_ms_ssim_is_measured_where_every_picture_has_the_size() -> None:
    large, small = pictures(1, 176, 180), pictures(1, 16, 16)
    assert operating_point(Rounding(), "3", [large]).ms_ssim is not None
    assert operating_point(Rounding(), "3", [large, small]).ms_ssim is None


def test_a_codec_that_makes_other_files_than_asked_for_is_refused() -> None:
    class Lumping(Rounding):
        def code(self, x: torch.Tensor, setting: str, pictures_per_file: int) -> Coded:
            return super().code(x, setting, len(x))

    with pytest.raises(ValueError, match="made 1 files of 3 pictures, 1 a file"):
        operating_point(Lumping(), "3", [pictures(3, 8, 8)])
    with pytest.raises(ValueError, match="nothing to code"):
        operating_point(Rounding(), "3", [])


def comparison() -> Comparison:
    """The tested codec takes half of the anchor's bits, and has a point that another beats."""

    def points(codec: str, factor: float) -> list[Point]:
        rates = {"low": (0.1, 24.0), "high": (0.4, 30.0)}
        return [
            Point(codec, name, 1, factor * rate * 64, factor * rate, 10 ** (-psnr / 10), psnr, 0.5, None)
            for name, (rate, psnr) in rates.items()
        ]

    beaten = Point("ours", "beaten", 1, 25.6, 0.4, 0.01, 20.0, 0.5, None)
    return Comparison([*points("ours", 0.5), beaten, *points("AVIF", 1)], "some, 8 x 8 pixels", 5, 320, 1, ["AVIF"])


def test_half_the_bits_are_minus_fifty_per_cent_in_every_form() -> None:
    found = comparison()
    (difference,) = found.differences()
    assert difference.codec == "ours" and difference.anchor == "AVIF"
    assert difference.bd_rate is not None and difference.bd_rate.value == pytest.approx(-50)
    facts = json.loads(json.dumps(found.facts(), allow_nan=False))
    assert facts["differences"][0]["bd_rate"] == pytest.approx({"value": -50, "low": 24, "high": 30})
    assert facts["points"][2]["setting"] == "beaten" and facts["caption"] == found.caption
    rows = list(csv.DictReader(io.StringIO(found.as_csv())))
    assert [row["setting"] for row in rows] == ["low", "high", "beaten", "low", "high"]
    assert float(rows[1]["bits_per_pixel"]) == 0.2 and rows[1]["ms_ssim"] == ""
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(found.table())
    text = console.export_text()
    assert "-50.0 %" in text and "+3.00 dB" in text
    assert found.caption in text.replace("\n", " ").replace("  ", " ")
    assert "5 pictures: some, 8 x 8 pixels. One picture a file; bits are of whole files, headers inc" in found.caption
    assert "but for ours, of which they are payloads alone" in found._replace(bare=True).caption


def test_a_comparison_has_every_setting_and_codecs_are_told_apart() -> None:
    groups = [pictures(2, 8, 8)]
    found = compare([Rounding("ours")], [Rounding("theirs")], groups, "noise", 2, bar=False)
    assert [(point.codec, point.setting) for point in found.points] == [
        (name, setting) for name in ("ours", "theirs") for setting in ("1", "3", "8")
    ]
    assert (found.pictures, found.pixels, found.pictures_per_file) == (
        2,
        128,
        2,
    ) and "2 pictures a file" in found.caption
    with pytest.raises(ValueError, match="two codecs are called theirs"):
        compare([Rounding("theirs")], [Rounding("theirs")], groups, "noise")
