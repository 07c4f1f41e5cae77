"""Multi-scale structural similarity, to train by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.likelihoods.base import Distortion
from vqkit.signal import Signal

# Of the scales, finest first (Wang et al. 2003), and the least picture that 1, 2, ... of them take: room for the window
# at the coarsest, which is 11 wide; torchmetrics wants some more for four.
_EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_LEAST_SIDES = (11, 22, 44, 99, 176)


class MultiscaleSSIM(Distortion):
    """weight x (1 - MS-SSIM(x, x_hat)) (Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216), for pictures.

    It is one number a picture, and every element of the loss says it, so that their mean is the mean over pictures. A
    mask weighs the pictures by what is real in them, and cannot hide the rest from the windows.

    To train, a similarity s of one scale, in [-1, 1], enters as (1 + s) / 2, as a negative one has no power. So this is
    not the MS-SSIM of an evaluation, which counts negative ones as 0; both are best where x_hat is x. It says little
    about flat colour, for which Zhao et al. 2015, https://arxiv.org/abs/1511.08861, add an L1.

    Args:
        scales: how often the picture is seen, each time at half the size. Five is the paper's, for at least 176 pixels
            a side; 4, 3, 2 or 1, for 99, 44, 22 or 11, take the first exponents, scaled to the sum of one.
        weight: of the distortion against the bottleneck's loss, which is in nats per data dimension.

    Raises:
        ValueError: scales is not from 1 to 5, or weight not finite and above 0; from `outputs` and `loss`, where the
            signal is no picture, or too small for the scales.
    """

    def __init__(self, scales: int = 5, weight: float = 1.0) -> None:
        super().__init__()
        if not 1 <= scales <= len(_EXPONENTS):
            raise ValueError(f"scales is {scales}; give a number from 1 to {len(_EXPONENTS)}")
        if not 0 < weight < math.inf:
            raise ValueError(f"weight is {weight}; give a finite number above 0")
        self.scales, self.weight = scales, weight

    def outputs(self, signal: Signal) -> int:
        if len(signal.grid) != 2:
            raise ValueError(
                f"MultiscaleSSIM is for pictures, and this signal has {len(signal.grid)} grid dimensions; use "
                "likelihoods.L1"
            )
        fitting = sum(min(signal.grid) >= side for side in _LEAST_SIDES)
        if self.scales > fitting:
            remedy = f"set scales to {fitting}" if fitting else "use likelihoods.L1"
            raise ValueError(
                f"{self.scales} scales of SSIM need pictures of at least {_LEAST_SIDES[self.scales - 1]} pixels a "
                f"side, and these are {' x '.join(map(str, signal.grid))}; {remedy}"
            )
        return super().outputs(signal)

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure  # takes a second

        self.outputs(signal)
        exponents = _EXPONENTS[: self.scales]
        with torch.autocast(parameters.device.type, enabled=False):  # variances are differences of squares
            similarity = multiscale_structural_similarity_index_measure(
                (parameters.float() + 1) / 2,
                (signal.normalise(x) + 1) / 2,
                data_range=1.0,
                betas=tuple(exponent / sum(exponents) for exponent in exponents),
                normalize="simple",
                reduction="none",
            )
        distortion = self.weight * (1 - similarity)
        return distortion.view(-1, *(1,) * (x.ndim - 1)).expand(x.shape)
