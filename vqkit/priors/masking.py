"""How many symbols stay masked, and which are filled first: the schedule of MaskGIT (https://arxiv.org/abs/2202.04200)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor


def masked_share(progress: float) -> float:
    """Of all symbols, how many are masked: cos(pi/2 progress), `progress` from 0 (all) to 1 (none)."""
    return math.cos(math.pi / 2 * progress)


def fill_counts(n: int, steps: int) -> list[int]:
    """How many of `n` masked symbols each step fills: few at first, when little is known. They sum to n, none is zero;
    there are fewer than `steps` where `n` is small."""
    # Rounded down; where the product is a whole number, as n/2 two thirds of the way, on every machine to that one.
    masked = [int(n * masked_share(step / steps) + 1e-9) for step in range(steps + 1)]
    return [before - after for before, after in pairwise(masked) if before > after]


def gumbel(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Standard Gumbel noise, float64 on the generator's device, of None on the CPU by the global one: what is the
    largest of log p + noise is a draw from p."""
    device = None if generator is None else generator.device
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=device)
    return uniform.clamp_min(1e-20).log().neg().log().neg()


def fixed_gumbel(step: int, n: int) -> Tensor:
    """Gumbel noise [n] that is the same wherever and whenever it is asked for: a function of step and position."""
    return gumbel((n,), torch.Generator().manual_seed(step))


def entropy(logits: Tensor) -> Tensor:
    """Nats of each distribution, logits [..., K] -> [...]."""
    nats: Tensor = torch.special.entr(logits.softmax(-1)).sum(-1)
    return nats
