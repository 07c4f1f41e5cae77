from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.evaluation import CLASSICAL, ClassicalCodec, classical

USABLE = [name for name, codec in CLASSICAL.items() if codec in classical()]


def pictures(count: int = 6, channels: int = 3, height: int = 20, width: int = 28) -> torch.Tensor:
    """Smooth ones, uint8 [N, C, H, W], each of a brightness of its own."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([40 * torch.sin((y + 2 * x) / 9 + c) for c in range(channels)])
    levels = torch.linspace(60, 190, count).view(-1, 1, 1, 1)
    return (levels + waves).round().byte()


def codec_of(name: str, qualities: tuple[int, ...] = (60,)) -> ClassicalCodec:
    return CLASSICAL[name]._replace(qualities=qualities)


@pytest.mark.parametrize("name", USABLE)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_bytes_are_those_of_files_on_disk_that_hold_the_pictures(name: str, channels: int, tmp_path: Path) -> None:
    codec, x = codec_of(name), pictures(3, channels)
    files, x_hat = codec.code(x, "quality 60", 1)
    assert len(files) == 3 and x_hat.shape == x.shape and x_hat.dtype == torch.uint8
    for pixels, file, back in zip(x.movedim(1, -1).numpy(), files, x_hat.movedim(1, -1).numpy(), strict=True):
        path = tmp_path / "picture"
        Image.fromarray(pixels.squeeze()).save(path, codec.format, quality=60, **codec.options[0])
        assert path.read_bytes() == file
        with Image.open(path) as opened:
            assert opened.size == (28, 20)
            assert np.array_equal(np.asarray(opened.convert("L" if channels == 1 else "RGB")), back.squeeze())
    assert (x_hat.float() - x.float()).abs().mean() < 6


def test_a_higher_quality_takes_more_bytes_and_loses_less() -> None:
    codec, x = codec_of("jpeg", (1, 20, 80)), pictures()
    coded = [codec.code(x, setting, 1) for setting in ("quality 1", "quality 20", "quality 80")]
    sizes = [sum(map(len, files)) for files, _ in coded]
    errors = [float((x_hat.float() - x.float()).square().mean()) for _, x_hat in coded]
    assert sizes == sorted(sizes) and errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("divisor", [2, 4])
def test_at_a_part_of_the_size_files_hold_small_pictures_and_large_ones_come_back(divisor: int) -> None:
    codec, x = codec_of("webp"), pictures(2, height=21, width=30)
    assert codec.settings == ["quality 60", "quality 60 at 1/2", "quality 60 at 1/4"]
    files, x_hat = codec.code(x, f"quality 60 at 1/{divisor}", 1)
    with Image.open(io.BytesIO(files[0])) as opened:
        assert opened.size == (math.ceil(30 / divisor), math.ceil(21 / divisor))
        expected = np.asarray(opened.resize((30, 21), Image.Resampling.LANCZOS))
    assert x_hat.shape == x.shape and np.array_equal(x_hat[0].movedim(0, -1).numpy(), expected)
    assert (x_hat.float() - x.float()).abs().mean() < 12


@pytest.mark.parametrize("setting", ["quality 95", "quality 95 at 1/2"])
@pytest.mark.parametrize(("count", "together", "files"), [(6, 6, 1), (6, 4, 2), (7, 7, 1), (6, 100, 1)])
def test_a_sheet_is_split_into_the_pictures_it_was_made_of(count: int, together: int, files: int, setting: str) -> None:
    x = pictures(count)
    sheets, x_hat = codec_of("jpeg", (95,)).code(x, setting, together)
    assert len(sheets) == files
    assert (x_hat.float() - x.float()).mean((1, 2, 3)).abs().max() < 1.5  # each has a brightness of its own
    assert (x_hat.float() - x.float()).abs().mean() < 6


def test_a_sheet_of_six_is_two_by_three_row_by_row_and_shares_one_header() -> None:
    codec, x = codec_of("jpeg", (95,)), pictures(6)
    (sheet,), _ = codec.code(x, "quality 95", 6)
    with Image.open(io.BytesIO(sheet)) as opened:
        assert opened.size == (3 * 28, 2 * 20)
        lower_middle = np.asarray(opened)[20:, 28:56].mean()
    assert lower_middle == pytest.approx(float(x[4].float().mean()), abs=1.5)
    assert len(sheet) < sum(map(len, codec.code(x, "quality 95", 1).files)) / 2


def test_codecs_that_are_unknown_or_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [codec.name for codec in classical(["avif", "jpeg"])] == ["AVIF", "JPEG"]
    with pytest.raises(ValueError, match="no codec bpg; name some of jpeg, webp, avif, jpeg-xl"):
        classical(["bpg"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "JPEG XL" not in [codec.name for codec in classical()]
    with pytest.raises(ValueError, match="pip install pillow-jxl-plugin"):
        classical(["jpeg-xl"])


def test_what_a_format_does_not_take_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"WebP does not take 16400 x 20 pixels .*; leave it out"):
        codec_of("webp").code(pictures(1, width=16400), "quality 60", 1)
