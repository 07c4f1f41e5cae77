"""Picture codecs that were designed, not trained: JPEG, WebP, AVIF and, where it is installed, JPEG XL."""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor

from vqkit.evaluation.rate_distortion import Coded
from vqkit.modality import Array


class ClassicalCodec(NamedTuple):
    """A codec of Pillow, at several qualities and sizes.

    A picture may be coded at 1/2 or 1/4 of its size, scaled down and up again by Lanczos, which reaches lower rates
    than the lowest quality; its true size is taken as known. Several pictures a file are one sheet of them, each scaled
    by itself: one header, and neighbours that a codec may learn from. Colour is coded at half the resolution (4:2:0)
    but by JPEG XL.

    Args:
        name: of its curve.
        format: Pillow's name of it.
        options: for Pillow's `save`, beside the quality; of several sets, that with the fewest bytes counts.
        qualities: from the lowest.
        divisors: of the pictures' sides.
    """

    name: str
    format: str
    options: Sequence[Mapping[str, Any]]
    qualities: tuple[int, ...]
    divisors: tuple[int, ...] = (1, 2, 4)

    @property
    def settings(self) -> Sequence[str]:
        """`quality 10` or, at a half of the size, `quality 10 at 1/2`."""
        return list(self._settings)

    @property
    def _settings(self) -> dict[str, tuple[int, int]]:
        return {
            f"quality {quality}" + f" at 1/{divisor}" * (divisor > 1): (quality, divisor)
            for divisor in self.divisors
            for quality in self.qualities
        }

    def code(self, x: Tensor, setting: str, pictures_per_file: int) -> Coded:
        """x uint8 [N, C, H, W], grey or colour. Raises ValueError where the format cannot hold a file's pictures."""
        quality, divisor = self._settings[setting]
        files, decoded = [], []
        for part in x.movedim(1, -1).split(pictures_per_file):
            pictures = part.numpy()
            height, width = pictures.shape[1:3]
            small = _scaled(pictures, math.ceil(height / divisor), math.ceil(width / divisor))
            files.append(self._file(_sheet(small), quality))
            decoded.append(_scaled(_cut(self._decoded(files[-1], x.shape[1]), small.shape), height, width))
        return Coded(files, torch.from_numpy(np.concatenate(decoded)).movedim(-1, 1))

    def _file(self, pixels: Array, quality: int) -> bytes:
        """Pixels [H, W, C] -> the bytes of a file."""
        found = []
        for options in self.options:
            file = io.BytesIO()
            try:
                _picture(pixels).save(file, self.format, quality=quality, **options)
            except (OSError, ValueError) as error:
                height, width = pixels.shape[:2]
                raise ValueError(
                    f"{self.name} does not take {width} x {height} pixels ({error}); leave it out, or put "
                    "fewer pictures into a file"
                ) from error
            found.append(file.getvalue())
        return min(found, key=len)

    def _decoded(self, file: bytes, channels: int) -> Array:
        """The bytes of a file -> pixels [H, W, C]."""
        with Image.open(io.BytesIO(file)) as picture:
            return _pixels(picture.convert("L" if channels == 1 else "RGB"))


CLASSICAL = {
    "jpeg": ClassicalCodec(
        "JPEG", "JPEG", [{"optimize": True}, {"optimize": True, "progressive": True}], (1, 3, 6, 10, 20, 40)
    ),
    "webp": ClassicalCodec("WebP", "WEBP", [{"method": 6}], (0, 2, 5, 10, 25, 50)),
    # The bytes depend on the number of threads, by up to 2 %: one makes them the same on every machine.
    "avif": ClassicalCodec("AVIF", "AVIF", [{"speed": 4, "max_threads": 1}], (0, 5, 10, 20, 30, 45)),
    "jpeg-xl": ClassicalCodec("JPEG XL", "JXL", [{"effort": 7}], (0, 5, 10, 20, 40, 60)),
}
"""The codecs by the names that `classical` takes."""


def classical(names: Sequence[str] | None = None) -> list[ClassicalCodec]:
    """These of `CLASSICAL`, by default all that can be used here. Raises ValueError where one is unknown, or missing
    on this machine."""
    usable = ["jpeg", *(name for name in ("webp", "avif") if features.check(name)), *["jpeg-xl"] * _learn_jpeg_xl()]
    for name in names or ():
        if name not in CLASSICAL:
            raise ValueError(f"there is no codec {name}; name some of {', '.join(CLASSICAL)}")
        if name not in usable:
            remedy = "pip install pillow-jxl-plugin" if name == "jpeg-xl" else "install a Pillow that has it"
            raise ValueError(f"{name} is not installed; {remedy}, or leave it out")
    return [CLASSICAL[name] for name in (usable if names is None else names)]


def libraries() -> dict[str, str]:
    """What writes the files, with versions."""
    found = {name: features.version(name) for name in ("pil", "libjpeg_turbo", "webp", "avif")}
    if _learn_jpeg_xl():
        found["pillow-jxl-plugin"] = importlib.metadata.version("pillow-jxl-plugin")
    return {name: version for name, version in found.items() if version}


def _learn_jpeg_xl() -> bool:
    """Teaches Pillow the format, where it can be taught."""
    if importlib.util.find_spec("pillow_jxl") is None:
        return False
    importlib.import_module("pillow_jxl")
    return True


def _sheet(pictures: Array) -> Array:
    """Pictures [N, H, W, C] as one [rows H, columns W, C], row by row, as square as N can be divided."""
    count, height, width, channels = pictures.shape
    rows = _rows(count)
    cells = pictures.reshape(rows, count // rows, height, width, channels)
    return cells.swapaxes(1, 2).reshape(rows * height, -1, channels)


def _cut(sheet: Array, shape: tuple[int, ...]) -> Array:
    """The pictures of this shape [N, H, W, C] that `_sheet` made one of."""
    count, height, width, channels = shape
    rows = _rows(count)
    cells = sheet.reshape(rows, height, count // rows, width, channels)
    return cells.swapaxes(1, 2).reshape(shape)


def _rows(count: int) -> int:
    return max(rows for rows in range(1, math.isqrt(count) + 1) if count % rows == 0)


def _scaled(pictures: Array, height: int, width: int) -> Array:
    """Pictures [N, H, W, C] -> [N, height, width, C]."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    return np.stack(
        [_pixels(_picture(pixels).resize((width, height), Image.Resampling.LANCZOS)) for pixels in pictures]
    )


def _picture(pixels: Array) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))


def _pixels(picture: Image.Image) -> Array:
    pixels = np.array(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels
