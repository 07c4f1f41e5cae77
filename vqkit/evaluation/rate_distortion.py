"""What codecs make of the same pictures: the bytes of their files, and how close what those give back is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from vqkit.evaluation.fidelity import Fidelity
from vqkit.signal import Signal

_AT_ONCE = 1 << 22  # values of pictures that are measured at a time


class Coded(NamedTuple):
    """What a codec made of N pictures: `files` as they would be on disk, of so many pictures each, in turn, and `x_hat`
    uint8 [N, C, H, W] that was decoded from them."""

    files: list[bytes]
    x_hat: Tensor


class PictureCodec(Protocol):
    """Pictures to files and back, at each of several settings."""

    @property
    def name(self) -> str:
        """Whose curve its points are on; codecs of one name share a curve."""

    @property
    def settings(self) -> Sequence[str]:
        """What can be chosen, such as a quality, in words."""

    def code(self, x: Tensor, setting: str, pictures_per_file: int) -> Coded:
        """x uint8 [N, C, H, W], so many of them a file, and what is left in the last."""


class Point(NamedTuple):
    """One codec at one setting. Rates are all bytes over all pictures, or all their pixels. `mse`, with values on a
    scale from 0 to 1, `ssim` and `ms_ssim` are means over pictures, whatever their sizes, and `psnr` in dB is of that
    mean MSE. A number is None where it could not be measured, PSNR where nothing was lost."""

    codec: str
    setting: str
    bytes: int
    bits_per_picture: float
    bits_per_pixel: float
    mse: float
    psnr: float | None
    ssim: float | None
    ms_ssim: float | None


def operating_point(codec: PictureCodec, setting: str, groups: Sequence[Tensor], pictures_per_file: int = 1) -> Point:
    """A point of a codec's curve, from pictures uint8 [N, C, H, W], a group for each size; a file has pictures of one
    group. Raises ValueError where there are none, or the codec does not give back as many of the same size."""
    if not groups or pictures_per_file < 1:
        raise ValueError(
            f"{len(groups)} groups of pictures, {pictures_per_file} a file, are nothing to code; give some"
        )
    size, fidelities = 0, [Fidelity(Signal(x.shape[1], tuple(x.shape[2:]), 0, 255, 256)) for x in groups]
    for x, fidelity in zip(groups, fidelities, strict=True):
        files, x_hat = codec.code(x, setting, pictures_per_file)
        if len(files) != math.ceil(len(x) / pictures_per_file):
            raise ValueError(f"{codec.name} made {len(files)} files of {len(x)} pictures, {pictures_per_file} a file")
        size += sum(map(len, files))
        at_once = max(1, _AT_ONCE // x[0].numel())
        for original, reconstruction in zip(x.split(at_once), x_hat.split(at_once), strict=True):
            fidelity.add(original, reconstruction)
    pictures, pixels = sum(map(len, groups)), sum(len(x) * x[0, 0].numel() for x in groups)
    found = [fidelity.measured().numbers for fidelity in fidelities]

    def mean(name: str) -> float | None:
        terms = [
            (value, len(x)) for numbers, x in zip(found, groups, strict=True) if (value := numbers[name]) is not None
        ]
        return sum(value * n for value, n in terms) / pictures if len(terms) == len(groups) else None

    mse = mean("mse")
    assert mse is not None
    psnr = -10 * math.log10(mse) if mse else None
    return Point(
        codec.name, setting, size, 8 * size / pictures, 8 * size / pixels, mse, psnr, mean("ssim"), mean("ms_ssim")
    )
