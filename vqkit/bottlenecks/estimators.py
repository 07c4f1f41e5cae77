"""Gradients through argmin, whose own gradient is zero almost everywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        return z_q.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


_LARGEST_SCALE = 10.0  # of a rotated gradient: |z_q| / |z_e| has no bound where z_e is near 0


class Estimator(nn.Module, ABC):
    """A gradient for z_e where z_q was chosen by argmin. Its result is z_q to the bit, and no gradient reaches z_q."""

    @abstractmethod
    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        """z_e and z_q [B, D, *grid], float32 -> z_q, with the estimator's gradient for z_e."""

    def unsound(self, dim: int, drawn: bool) -> str | None:
        """Why not for z_q of `dim` channels that is `drawn`, not the nearest code; None where it is sound."""
        return None


def estimator_for(estimator: Estimator | None, dim: int, drawn: bool = False) -> Estimator:
    """`estimator`, straight-through where it is None, for z of `dim` channels. Raises ValueError where it is no
    Estimator, or unsound there: every class that takes one asks here."""
    if estimator is None:
        return StraightThrough()
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator is {estimator!r}; give an Estimator, such as RotationTrick()")
    if reason := estimator.unsound(dim, drawn):
        raise ValueError(f"estimator is a {type(estimator).__name__}, {reason}; use StraightThrough")
    return estimator


class StraightThrough(Estimator):
    """The gradient jumps over the quantizer as if it were the identity (Bengio et al. 2013,
    https://arxiv.org/abs/1308.3432).

    `z_e + (z_q - z_e).detach()` has the same gradient, but in floating point not the same value.
    """

    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        result: Tensor = _StraightThrough.apply(z_e, z_q)  # type: ignore[no-untyped-call]
        return result


class RotationTrick(Estimator):
    """The gradient is turned and scaled as z_e is turned and scaled to become z_q, so that its angle to z_q stays
    what it was to z_e (Fifty et al. 2024, https://arxiv.org/abs/2410.06424).

    A `vector` x is mapped by (|z_q| / |z_e|) R, where R turns z_e's direction to z_q's; both are constants to the
    gradient, whose map is the transpose. The scale is at most 10, or one z_e near 0 would drown all others. It is
    refused where codes are drawn, and in one dimension.
    """

    def forward(self, z_e: Tensor, z_q: Tensor) -> Tensor:
        result: Tensor = _Rotation.apply(z_e, z_q)  # type: ignore[no-untyped-call]
        return result

    def unsound(self, dim: int, drawn: bool) -> str | None:
        if drawn:
            return "whose scale |z_q| / |z_e| has no bound where codes are drawn, not chosen as the nearest"
        return (
            "but in one dimension nothing turns, and half the gradients would change their sign" if dim == 1 else None
        )


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z_e: Tensor, z_q: Tensor) -> Tensor:
        ctx.save_for_backward(z_e, z_q)
        return z_q.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        z_e, z_q = ctx.saved_tensors
        (gradient,) = gradients
        length_e, length_q = (z.norm(dim=1, keepdim=True).clamp_min(1e-12) for z in (z_e, z_q))
        e, q = z_e / length_e, z_q / length_q
        # R x = x - 2 r (r.x) + 2 q (e.x) with r the unit vector half way between e and q; this is its transpose.
        between = e + q
        r = between / between.norm(dim=1, keepdim=True).clamp_min(1e-6)

        def along(a: Tensor) -> Tensor:
            return (a * gradient).sum(1, keepdim=True)

        turned = gradient - 2 * r * along(r) + 2 * e * along(q)
        return turned * (length_q / length_e).clamp_max(_LARGEST_SCALE), None
