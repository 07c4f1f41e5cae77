"""How close reconstructions are to their originals, over a whole split."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
)

from vqkit.evaluation.measures import Measured
from vqkit.signal import Signal

# The Gaussian window is 11 wide (sigma 1.5). Borders are reflected, which takes more than half a window of picture;
# MS-SSIM halves the picture four times and wants a whole window at the coarsest scale.
_SSIM_SIDE, _MS_SSIM_SIDE = 6, 11 * 2**4


def psnr(mse: Tensor) -> Tensor:
    """Mean squared error on the scale from 0 to 1, any shape -> dB, infinite where the error is 0."""
    return -10 * mse.log10()


class Fidelity:
    """Gathers originals and reconstructions, in native values, batch by batch.

    A reconstruction is measured as a viewer gets it: clamped to the signal's range and, where the signal has integer
    levels, rounded to them. Both sides are then put on the scale from 0 to 1.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self._samples = self._elements = 0
        self._squared_error = self._sum = self._sum_of_squares = 0.0
        self._similarity = {"ssim": 0.0, "ms_ssim": 0.0}
        self._reasons = _refusals(signal)

    @torch.no_grad()
    def add(self, x: Tensor, x_hat: Tensor) -> None:
        """x and x_hat [B, C, *grid] in native values. Raises ValueError where the shapes differ."""
        if x.shape != x_hat.shape:
            raise ValueError(f"x is {list(x.shape)} and x_hat {list(x_hat.shape)}; a reconstruction has x's shape")
        original, reconstruction = self._unit(x), self._unit(self.signal.to_native(x_hat))
        self._samples += x.shape[0]
        self._elements += x.numel()
        self._squared_error += float((original - reconstruction).square().sum())
        self._sum += float(original.sum())
        self._sum_of_squares += float(original.square().sum())
        pair = reconstruction.float(), original.float()
        if "ssim" not in self._reasons:
            similarity = structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
            self._similarity["ssim"] += float(similarity.sum())  # type: ignore[union-attr]
        if "ms_ssim" not in self._reasons:
            similarity = multiscale_structural_similarity_index_measure(*pair, data_range=1.0, reduction="none")
            self._similarity["ms_ssim"] += float(similarity.sum())

    def measured(self) -> Measured:
        """`mse` on the scale from 0 to 1; `nmse`, that over the variance of all values of these samples around their
        one mean (what van den Oord et al. 2017 divide by); `psnr` in dB from the MSE of the whole set, which is not
        the mean of each picture's PSNR; `ssim` (Wang et al. 2004) and `ms_ssim` (Wang et al. 2003), means over
        pictures. Raises ValueError before the first `add`.
        """
        if not self._samples:
            raise ValueError("there is nothing to measure yet; add originals and reconstructions first")
        mse = self._squared_error / self._elements
        variance = self._sum_of_squares / self._elements - (self._sum / self._elements) ** 2
        numbers: dict[str, float | None] = {"mse": mse, "nmse": None, "psnr": None}
        reasons = dict(self._reasons)
        if variance > 1e-12:
            numbers["nmse"] = mse / variance
        else:
            reasons["nmse"] = "All values of these samples are the same, so there is no variance to divide by."
        if mse > 0:
            numbers["psnr"] = float(psnr(torch.tensor(mse, dtype=torch.float64)))
        else:
            reasons["psnr"] = "The reconstructions are exact, so PSNR is infinite."
        for name, total in self._similarity.items():
            numbers[name] = None if name in reasons else total / self._samples
        return Measured(numbers, reasons)

    def _unit(self, x: Tensor) -> Tensor:
        return (x.double() - self.signal.low) / (self.signal.high - self.signal.low)


def _refusals(signal: Signal) -> dict[str, str]:
    """Why a similarity cannot be measured on such a signal; empty where both can."""
    if len(signal.grid) != 2:
        text = f"Structural similarity is for pictures, and this signal has {len(signal.grid)} grid dimensions."
        return {"ssim": text, "ms_ssim": text}
    size = " x ".join(map(str, signal.grid))
    return {
        name: f"{title} needs pictures of at least {side} x {side}, and these are {size}."
        for name, title, side in (("ssim", "SSIM", _SSIM_SIDE), ("ms_ssim", "MS-SSIM", _MS_SSIM_SIDE))
        if min(signal.grid) < side
    }
