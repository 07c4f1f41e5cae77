"""Scores, which order codes as their distances do, and the bound on their errors."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_PART = 1 << 12  # codes whose float64 norms are computed at a time


class Scores:
    """What the scores of a codebook are made of: factors in `dtype` and an offset a code.

    argmin |z - e|^2 + b = argmin (|e|^2 + b) / 2 - z.e : a matrix product and one offset a code. Both z and e are taken
    from the codebook's mean, as errors grow with their norms. A factor is the sum of its digits, each of which rounds
    what those before left; z.e is then z1.e1, or z1.e1 + z1.e2 + z2.e1.

    Args:
        codebook: [K, D] float32.
        bias: [K], added to each code's squared distance.
        dtype: of the digits; float32 or coarser.
        width: D or more columns, for what else is multiplied.
        group: there are more codes, of zeros, up to a multiple of it.
        digits: of a factor, 1 or 2.

    Attributes: codes [digits, K', width], the digits of -e, then zeros; offset [K] float32.
    """

    def __init__(
        self, codebook: Tensor, bias: Tensor | None, dtype: torch.dtype, width: int, group: int, digits: int = 1
    ) -> None:
        self.mean, (size, dim) = codebook.mean(0), codebook.shape
        squared = torch.cat([(part.double() - self.mean).square_().sum(1) for part in codebook.split(_PART)])
        self.offset = ((squared if bias is None else squared + bias) / 2).float()
        self.codes = codebook.new_zeros(digits, size + -size % group, width, dtype=dtype)
        left, written = self.mean - codebook, self.codes[:, :size, :dim]
        write(left, written)
        # What the bound needs to know of the codebook.
        self.norm, self.largest_offset = squared.amax().sqrt().float(), self.offset.abs().amax()
        if dtype != torch.float32:
            self.lost = left.norm(dim=1).amax()
        if digits > 1:
            self.last = written[-1].float().norm(dim=1).amax()

    def rows(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z [n, D] float32 -> its digits [digits, n, width], then ones, and the most [n] by which its scores can be off
        before they are rounded to `dtype`. The nearest code's is within twice this of the least. It is not finite where
        scores may overflow.

        With ~ for the sum of the digits, |z.e - z~.e~| <= |z - z~| |e| + |z~| |e - e~| by Cauchy and Schwarz, and the
        z2.e2 that is left out is at most |z2| |e2|. A product of D terms summed in float32 in any order is off by D
        units of |z~| |e~| (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1); taking the mean
        off and adding the offset round a few times more, and what is too small for float32 is lost. Two digits have 3 D
        terms, which tensor cores cut instead of rounding, and at least every 8 of them also their sum (Fasi, Higham,
        Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, 2021, https://doi.org/10.7717/peerj-cs.330).
        """
        (count, dim), (digits, _, width), float32 = z.shape, self.codes.shape, torch.finfo(torch.float32)
        left = z - self.mean
        norm = left.norm(dim=1)
        rows = self.codes.new_ones(digits, count, width)
        write(left, rows[:, :, :dim])
        terms = digits**2 * (dim + 8)  # of twice the unit, as the bound is rounded itself
        error: Tensor = float32.eps * terms * (norm * self.norm + self.largest_offset) + float32.tiny * terms
        if rows.dtype != torch.float32:
            lost = left.norm(dim=1)
            error = error * (1 + torch.finfo(rows.dtype).eps) ** 2  # what is multiplied may have been rounded up
            error += lost * self.norm + (norm + lost) * self.lost
        if digits > 1:
            error += rows[-1, :, :dim].float().norm(dim=1) * self.last
        return rows, error


def write(numbers: Tensor, digits: Iterable[Tensor]) -> None:
    """Writes float32 numbers as the sum of digits, the largest first, and leaves in `numbers` what these do not hold;
    but float32 digits hold everything, and the numbers stay."""
    for digit in digits:
        digit.copy_(numbers)
        if digit.dtype != torch.float32:
            numbers.sub_(digit)
