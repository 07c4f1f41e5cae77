"""What a file holds: how it becomes a tensor [C, *grid] in a known value range, how it is written and shown.

Samples are decoded channels-last, [*grid, C], as files store them; `data` permutes whole batches, which copies nothing.
"""

from __future__ import annotations

import errno
import io
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as pillow
from PIL import ImageOps, UnidentifiedImageError
from torch import Tensor

from vqkit.signal import Signal

Array: TypeAlias = NDArray[Any]
Cell: TypeAlias = str | Path | bytes | Array
"""One sample before decoding: a path, the bytes of an encoded file, or an array."""

_OF_ONE_FILE = frozenset(
    {None, errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP}
)
"""What an OSError says where it concerns one file only; Pillow's own, for damaged files, say None."""


class Modality(ABC):
    """How one kind of data is read, written and shown."""

    suffixes: ClassVar[frozenset[str]]
    """The files it reads, lower case, with the dot."""

    @abstractmethod
    def decode(self, cell: Cell) -> Array:
        """One sample in native values, [*grid, C].

        Raises:
            ValueError: this sample cannot be read; names the file.
            OSError, MemoryError: the machine failed, not the sample.
        """

    @abstractmethod
    def left_out(self, path: Path) -> str | None:
        """What `decode` changes of a file that it takes, in words after "it has"; None where it gives all there is."""

    @abstractmethod
    def signal(self, shapes: Collection[tuple[int, ...]], labels: Sequence[str] = ()) -> Signal:
        """What a source of samples of these shapes [*grid, C] is. Raises ValueError where they differ."""

    @abstractmethod
    def unfitted(self, channels: int) -> Modality:
        """The same, but for that samples keep their own size, and all have so many channels."""

    @abstractmethod
    def save(self, x: Tensor, path: str | Path) -> None:
        """Writes one sample [C, *grid] of native values; the suffix of `path` chooses the format."""

    @abstractmethod
    def preview(self, x: Tensor, columns: int | None = None, scale: int | None = None) -> pillow.Image:
        """A picture of samples [B, C, *grid] of native values, in rows of `columns`."""


class Image(Modality):
    """Pictures: uint8 [H, W, C], grey (C = 1) or colour (C = 3), as they are to be seen: turned as their EXIF
    orientation says, palettes looked up, transparency laid over white, 16-bit greys scaled to 8.

    Args:
        size: height and width in pixels, one int for a square; None keeps the pictures' own, which must all agree.
        channels: 1 turns colour into grey, 3 grey into colour; None keeps the pictures' own, which must all agree.
        resize: how a picture of another size gets there, antialiased. "crop" scales it to cover `size` and cuts the
            middle out, "pad" scales it to fit and fills up with black, "stretch" ignores its proportions.
    """

    suffixes = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

    def __init__(
        self,
        size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        resize: Literal["crop", "stretch", "pad"] = "crop",
    ) -> None:
        sides = (size, size) if isinstance(size, int) else size
        if sides is not None and (len(sides) != 2 or min(sides) < 1):
            raise ValueError(f"modality.size is {size}; make it a positive number of pixels, or [height, width]")
        if channels not in (None, 1, 3):
            raise ValueError(f"modality.channels is {channels}; make it 1 (grey) or 3 (colour)")
        if resize not in ("crop", "stretch", "pad"):
            raise ValueError(f"modality.resize is {resize!r}; make it crop, stretch or pad")
        self.size = size
        self.channels = channels
        self.resize = resize
        self._sides = None if sides is None else (int(sides[0]), int(sides[1]))

    def decode(self, cell: Cell) -> Array:
        """uint8 [H, W, C] of an encoded picture, or of a uint8 array [H, W] or [H, W, C]; perhaps read-only."""
        if isinstance(cell, np.ndarray):
            array = cell[..., None] if cell.ndim == 2 else cell
            if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3, 4):
                raise ValueError(
                    f"an array of {cell.dtype} {list(cell.shape)} is no picture; store uint8 [H, W] or [H, W, C]"
                )
            return array if self._fits(array.shape) else self._fit(_picture(array))
        try:
            data = cell if isinstance(cell, bytes) else Path(cell).read_bytes()
            if frame := _plain_jpeg(data):
                height, width, mode = frame
                return self._fit(pillow.frombytes(mode, (width, height), data, "jpeg", mode, ""))
            with pillow.open(io.BytesIO(data)) as picture:
                if self._sides:  # a JPEG much larger than needed is decoded at 1/2, 1/4 or 1/8, at least twice too big
                    picture.draft(None, (2 * max(self._sides), 2 * max(self._sides)))
                ImageOps.exif_transpose(picture, in_place=True)
                return self._fit(picture)
        except Exception as error:  # damaged files raise whatever their parser trips on
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _OF_ONE_FILE):
                raise  # too many open files, a failing disk: sound pictures must not be left out for that
            name = f"{len(cell)} bytes" if isinstance(cell, bytes) else str(cell)
            reason = getattr(error, "strerror", None) or error  # not the path, nor Pillow's view of our buffer
            if isinstance(error, UnidentifiedImageError):
                reason = "it is damaged, or of a format that Pillow does not know"
            raise ValueError(f"{name} cannot be read as a picture ({reason}); replace or remove it") from error

    def left_out(self, path: Path) -> str | None:
        with pillow.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                return "more than one picture"
            if picture.has_transparency_data:
                return "transparency"
            if picture.mode not in ("1", "L", "P", "RGB"):
                return f"pixels of another kind than 8 bits of grey or RGB ({picture.mode})"
            if self.channels == 1 and picture.mode not in ("1", "L"):
                return "colour"
            ImageOps.exif_transpose(picture, in_place=True)
            own = (picture.height, picture.width)
        return None if self._sides in (None, own) else "another size"

    def signal(self, shapes: Collection[tuple[int, ...]], labels: Sequence[str] = ()) -> Signal:
        """256 levels from 0 to 255, on the grid (H, W)."""
        sizes = sorted({(height, width) for height, width, _ in shapes})
        if len(sizes) > 1:
            listed = " and ".join(f"{width}x{height}" for height, width in sizes[:2])
            raise ValueError(f"pictures are {listed}; set modality.size (they are then fitted to it by {self.resize})")
        channels = {shape[2] for shape in shapes}
        if len(channels) > 1:
            raise ValueError("some pictures are grey and some in colour; set modality.channels to 1 or 3")
        return Signal(channels.pop(), sizes[0], 0.0, 255.0, 256, tuple(labels))

    def unfitted(self, channels: int) -> Image:
        return Image(None, channels, self.resize)

    def save(self, x: Tensor, path: str | Path) -> None:
        """x [C, H, W] in 0..255."""
        if Path(path).suffix.lower() not in self.suffixes:
            raise ValueError(f"{path} has no suffix of a picture; end it with .png")
        _picture(_pixels(x[None])[0]).save(path)

    def preview(self, x: Tensor, columns: int | None = None, scale: int | None = None) -> pillow.Image:
        """The pictures x [B, C, H, W] in 0..255 on a grid with thin white gutters.

        `columns` defaults to a square grid. Each pixel becomes `scale` x `scale`, by default so that the longer side is
        about 64 pixels.
        """
        pixels = _pixels(x)
        count, height, width, channels = pixels.shape
        scale = scale or max(1, round(64 / max(height, width)))
        columns = min(columns or math.ceil(math.sqrt(count)), count)
        rows, gutter = math.ceil(count / columns), 2
        height, width = height * scale, width * scale
        sheet = np.full(
            (rows * (height + gutter) + gutter, columns * (width + gutter) + gutter, channels), 255, np.uint8
        )
        for i, picture in enumerate(pixels.repeat(scale, axis=1).repeat(scale, axis=2)):
            top, left = gutter + i // columns * (height + gutter), gutter + i % columns * (width + gutter)
            sheet[top : top + height, left : left + width] = picture
        return _picture(sheet)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        """Whether pixels of this shape [H, W, C] need no change."""
        return self._sides in (None, shape[:2]) and shape[2] in ((1, 3) if self.channels is None else (self.channels,))

    def _fit(self, picture: pillow.Image) -> Array:
        """The pixels in the wanted channels and size."""
        picture = _flat(picture, self.channels)
        if self._sides and self._sides != (picture.height, picture.width):
            height, width = self._sides
            if self.resize == "crop":
                picture = _cropped(picture, height, width)
            elif self.resize == "pad":
                picture = ImageOps.pad(picture, (width, height), pillow.Resampling.BICUBIC)
            else:
                picture = picture.resize((width, height), pillow.Resampling.BICUBIC)
        return np.frombuffer(picture.tobytes(), np.uint8).reshape(picture.height, picture.width, -1)


def _flat(picture: pillow.Image, channels: int | None) -> pillow.Image:
    """Mode L or RGB, opaque; `channels` None keeps greys grey."""
    if picture.mode == ("L" if channels == 1 else "RGB") and "transparency" not in picture.info:
        return picture
    if picture.mode == "F":
        raise ValueError("it has floating-point pixels, whose range is unknown; store it with 8 or 16 bits")
    if picture.mode.startswith("I"):
        scaled = np.asarray(picture).clip(0, 65535) / 257
        picture = pillow.fromarray(scaled.round().astype(np.uint8))
    grey = picture.mode in ("1", "L", "LA", "La") if channels is None else channels == 1
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = pillow.alpha_composite(pillow.new("RGBA", picture.size, "white"), picture)
    return picture.convert("L" if grey else "RGB")


def _cropped(picture: pillow.Image, height: int, width: int) -> pillow.Image:
    """The largest middle part of the wanted proportions, scaled; a picture that only needs cutting is not resampled."""
    scale = max(height / picture.height, width / picture.width)
    if scale == 1:
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        return picture.crop((left, top, left + width, top + height))
    across, down = min(width / scale, picture.width), min(height / scale, picture.height)
    x, y = (picture.width - across) / 2, (picture.height - down) / 2
    return picture.resize((width, height), pillow.Resampling.BICUBIC, box=(x, y, x + across, y + down))


def _plain_jpeg(data: bytes) -> tuple[int, int, str] | None:
    """Height, width and mode of a small baseline JPEG with nothing to interpret: no EXIF, no Adobe colours. Else None.

    Its bytes can go to the decoder at once; at 32x32 Pillow's own look at the header takes longer than that.
    """
    position = 2 if data[:2] == b"\xff\xd8" else len(data)
    while position + 9 < len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xC0:
            height, width = (int.from_bytes(data[position + k : position + k + 2], "big") for k in (5, 7))
            mode = {1: "L", 3: "RGB"}.get(data[position + 9])
            return (height, width, mode) if mode and data[position + 4] == 8 and 0 < height * width <= 1 << 14 else None
        if marker not in (0xDB, 0xC4, 0xDD, 0xFE, 0xE0, 0xE2):  # tables, restarts, comment, JFIF, ICC
            return None
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _pixels(x: Tensor) -> Array:
    """[B, C, H, W] in 0..255 to uint8 [B, H, W, C]."""
    return x.detach().float().round().clamp(0, 255).to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()


def _picture(pixels: Array) -> pillow.Image:
    """uint8 [H, W, C] as a picture."""
    return pillow.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
