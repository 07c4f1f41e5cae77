"""How a symbol is drawn from logits: temperature, the most probable few, and an exact draw."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_SEARCHED = 64  # of the most probable symbols, before more are looked at


class Choice(NamedTuple):
    """How new symbols are chosen: `Choice()` draws them as they were learned.

    Args:
        temperature: divides the logits; 0 takes the most probable symbol.
        top_k: draw among this many most probable symbols only.
        top_p: and among the fewest that hold this share of the probability, after temperature and top_k.
        guidance: how far to go from what is likely in general to what the label makes likely; see `Guidance`.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0

    def check(self) -> None:
        """Raises ValueError where one is out of its range; for guidance, which needs a prior that knows classes, that
        is up to the walk."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(
                f"temperature is {self.temperature}; give 0 (the most probable symbol), 1 (as learned) or another"
            )
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k is {self.top_k}; draw from at least 1 symbol, or leave it out to draw from all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; give a probability above 0, up to 1")

    def symbols(self, logits: Tensor, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
        """Symbols of this shape [B, n], int64, of the logits [B or 1, n or 1, K], which have the guidance already."""
        if self.temperature < torch.finfo(torch.float32).tiny:
            return logits.argmax(-1).expand(shape)
        below = logits - logits.amax(-1, keepdim=True)  # 0 stays 0, however small what it is divided by
        return draw(truncate(below / self.temperature, self.top_k, self.top_p), shape, generator)


AS_LEARNED = Choice()


def truncate(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits [..., K] with -inf for all but the `top_k` most probable symbols, and of those all but the fewest that
    hold `top_p` of their probability (nucleus sampling, https://arxiv.org/abs/1904.09751). One symbol always stays."""
    if top_p == 1:  # what rounding leaves of a sum may not reach it
        top_p = None
    if top_k is None and top_p is None:
        return logits
    most = min(logits.shape[-1], top_k or logits.shape[-1])
    ranked, symbols = logits.topk(most if top_p is None or top_k is not None else min(most, _SEARCHED))
    if top_p is not None:
        total = (logits if top_k is None else ranked).logsumexp(-1, keepdim=True)
        while bool(((p := (ranked - total).exp()).sum(-1) < top_p).any()) and ranked.shape[-1] < most:
            ranked, symbols = logits.topk(min(most, 4 * ranked.shape[-1]))
        ranked = ranked.masked_fill(p.cumsum(-1) - p >= top_p, -torch.inf)  # the one that reaches top_p stays
    return torch.full_like(logits, -torch.inf).scatter_(-1, symbols, ranked)


def draw(logits: Tensor, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Symbols of this shape [B, n], int64, of the logits [B or 1, n or 1, K], by inverting their distribution function.

    One uniform number a symbol, made on the generator's device: a seed gives the same numbers on every device, and a
    distribution that symbols share is summed once. A symbol of logit -inf is never drawn, whatever the rounding.
    """
    cumulative = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    rows, columns, _ = cumulative.shape
    device = logits.device if generator is None else generator.device
    uniform = torch.rand(*shape, generator=generator, device=device, dtype=torch.float64).to(logits.device)
    apart = (rows, shape[0] // rows, columns, shape[1] // columns)
    uniform = uniform.view(apart).transpose(1, 2).flatten(2).contiguous()
    total = cumulative[..., -1:]
    # The first symbol whose sum is above the threshold has itself a probability: sums stay level where there is none.
    threshold = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    symbols = torch.searchsorted(cumulative, threshold, right=True)
    return symbols.view(rows, columns, apart[1], apart[3]).transpose(1, 2).reshape(shape)
