"""The sampler of MaskGIT: draw every masked symbol, keep the most confident, mask the others again."""

from __future__ import annotations

import math

import torch

from vqkit.priors.draw import AS_LEARNED, Choice
from vqkit.priors.inputs import check_walk, device_of, known_tokens, unflatten
from vqkit.priors.masked import MaskedTransformerPrior
from vqkit.priors.masking import gumbel
from vqkit.signal import Indices, Layout, Side


@torch.no_grad()
def draw_then_discard(
    prior: MaskedTransformerPrior,
    layout: Layout,
    batch: int,
    side: Side,
    *,
    choice: Choice = AS_LEARNED,
    context: torch.Tensor | None = None,
    known: Indices | None = None,
    choice_temperature: float = 4.5,
    generator: torch.Generator | None = None,
) -> Indices:
    """Draws `batch` samples in the steps of `prior`, as Chang et al. 2022 (https://arxiv.org/abs/2202.04200) do.

    Of each step's draws those of the greatest log p + chance x `choice_temperature` x Gumbel noise are kept, where
    chance falls to zero over the steps. As the choice looks at what was drawn, likely symbols are drawn more often than
    the prior says, and nothing says how probable a sample was: it is no walk, and cannot code.

    The other arguments, and what comes back, are those of `sample`. Raises ValueError where one is out of its range.
    """
    choice.check()
    if batch < 1:
        raise ValueError(f"batch is {batch}; draw at least one sample")
    if not (math.isfinite(choice_temperature) and choice_temperature >= 0):
        raise ValueError(f"choice_temperature is {choice_temperature}; give 0 (the most confident) or a number above")
    check_walk(layout, prior.layout)
    tokens = known_tokens(known, layout, batch, device_of(prior)).clone()
    for this in prior.passes(tokens, side, context, choice.guidance):
        symbols = choice.symbols(this.logits, (batch, this.positions.shape[1]), generator)
        confidence = this.logits.log_softmax(-1).gather(-1, symbols[..., None])[..., 0]
        noise = gumbel(tuple(symbols.shape), generator).to(confidence)
        best = this.best(confidence + this.chance * choice_temperature * noise)
        tokens.scatter_(1, this.positions.gather(1, best), symbols.gather(1, best))
    return unflatten(tokens, layout)
