"""Gradients through argmin, whose own gradient is zero almost everywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def straight_through(z_e: Tensor, z_q: Tensor) -> Tensor:
    """The output is z_q to the bit; the gradient jumps over the quantizer to z_e as if it were the identity, and none
    reaches z_q (Bengio et al. 2013, https://arxiv.org/abs/1308.3432).

    `z_e + (z_q - z_e).detach()` has the same gradient, but in floating point not the same value.
    """
    result: Tensor = _StraightThrough.apply(z_e, z_q)  # type: ignore[no-untyped-call]
    return result
