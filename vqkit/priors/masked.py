"""A masked transformer: many symbols a step, each given all that are known on every side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.priors.base import Step, Walk
from vqkit.priors.conditional import ConditionalPrior
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import check_indices, check_walk, device_of, flatten, known_tokens
from vqkit.priors.masked_net import MaskedNet
from vqkit.priors.masking import entropy, fill_counts, fixed_gumbel, masked_share
from vqkit.priors.walk import score
from vqkit.signal import Indices, Layout, Side


class Pass(NamedTuple):
    """What one pass of the net says of all that is masked in one level.

    `positions` [B, n] int64 of these among the flattened tokens, those of the level from `start` on; their `logits`
    [B, n, K], -inf beyond an alphabet. `fill` of them are to be filled now, and `chance`, which falls from 1 to
    0 over the passes of a level, is how far their choice may still be left to it.
    """

    level: int
    start: int
    positions: Tensor
    logits: Tensor
    fill: int
    chance: float

    def best(self, merit: Tensor) -> Tensor:
        """Which `fill` have the greatest `merit` [B, n], as indices [B, fill] into n; of equal ones the first."""
        return merit.argsort(dim=1, descending=True, stable=True)[:, : self.fill]


class MaskedTransformerPrior(ConditionalPrior):
    """p(masked symbols | known symbols, label), each masked one independent of the others: MaskGIT (Chang et al. 2022,
    https://arxiv.org/abs/2202.04200), levels coarse to fine, each flattened [Q, *grid].

    It is trained on random sets of known symbols, so it takes any: symbols known on all sides condition those between.
    A level sees the coarser ones, all known, and of itself what is known; finer levels it does not see.

    The walk fills a level in `steps` steps, few symbols at first (the cosine schedule). Where is chosen before what:
    the symbols of the least entropy, in nats, less `choice_temperature` times Gumbel noise that fades to nothing over
    the steps. Both ends of a codec know as much, since the noise is a fixed function of step and position; of equal
    ones the first is taken. Positions of one step come in their own order, so that rounding can change what a step
    fills only where it decides between the last that is chosen and the first that is not: in float64, where machines
    differ by about 1e-13 and n entropies lie about 1/n nat apart, once in about 1e13 / n steps. `draw_then_discard` is
    the sampler of the paper, which chooses after drawing.

    Args:
        layout: `classes` above 0 makes it conditional on the `label` of `side`.
        width: of the residual stream, a multiple of `heads`.
        depth: how many blocks over the known symbols.
        joint_depth: how many blocks after them over known and masked ones.
        heads: of attention, each width / heads dimensions.
        steps: of the walk, for each level; levels of fewer symbols take fewer.
        choice_temperature: 0 leaves nothing of the choice to chance, above about 10 everything. Symbols of one step
            know nothing of each other, and the least entropies are often neighbours, which chance spreads.
        context_channels: C of the `context` [B, C, *any grid] that it is conditional on; 0: none.
        dropout: share of each block's outputs dropped in training.
        label_dropout: share of the labels hidden in training, for guidance; see `ConditionalPrior`.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    def __init__(
        self,
        layout: Layout,
        width: int = 256,
        depth: int = 5,
        joint_depth: int = 1,
        heads: int = 8,
        steps: int = 8,
        choice_temperature: float = 4.5,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__(layout, dropout, label_dropout, context_channels)
        if steps < 1:
            raise ValueError(f"steps is {steps}; a level is filled in at least one step")
        if not 0 <= choice_temperature < torch.inf:
            raise ValueError(f"choice_temperature is {choice_temperature}; give 0 (no chance) or a number above")
        self.width, self.depth, self.joint_depth, self.heads = width, depth, joint_depth, heads
        self.steps, self.choice_temperature = steps, choice_temperature
        self.net = MaskedNet(layout, width, depth, joint_depth, heads, context_channels)

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats of the masked symbols, of one random mask a sample and level; levels weigh as many as their tokens.

        Of each level's n symbols ceil(n cos(pi/2 u)) are masked, u uniform and the same for the whole batch, which of
        them uniformly for each sample. Its expectation is that of the mean nats over these masks: it weighs large masks
        more than a walk does, and is no bound of `log_prob`. In training mode some labels and outputs are dropped.
        """
        check_indices(indices, self.layout)
        tokens = flatten(indices)
        classes, dropout = self.training_classes_of(side, len(tokens)), self.dropout if self.training else 0.0
        condition, nats, start = self.net.said(context, len(tokens)), [], 0
        for level, n in enumerate(self.layout.tokens):
            masked = math.ceil(n * masked_share(float(torch.rand(()))))
            shuffled = start + torch.rand(len(tokens), n, device=tokens.device).argsort(1)
            coarser = torch.arange(start, device=tokens.device).expand(len(tokens), -1)
            order = torch.cat([coarser, shuffled], 1)
            logits = self.net(level, tokens, order, masked, classes, condition, dropout)
            positions = order[:, -masked:]
            logits, symbols = self.net.within(logits, positions), tokens.gather(1, positions)
            nats.append(n * F.cross_entropy(logits.flatten(0, 1), symbols.flatten()))
            start += n
        return torch.stack(nats).sum() / start

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        """Nats, shaped like `indices`: what they cost on the very walk that the prior takes, so a probability
        that sums to one. It takes `steps` passes of the net a level, and has no gradient."""
        check_indices(indices, self.layout)
        return score(self, indices, side, context)

    @torch.no_grad()
    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """`steps` steps a level, each of many positions, which differ from sample to sample. What is known in advance
        changes the order of the rest. A guided walk goes by the guided logits."""
        check_walk(layout, self.layout)
        tokens = known_tokens(known, layout, batch, device_of(self)).clone()
        for step, this in enumerate(self.passes(tokens, side, context, guidance)):
            noise = fixed_gumbel(step, tokens.shape[1]).to(this.logits)[this.positions]
            best = this.best(self.choice_temperature * this.chance * noise - entropy(this.logits)).sort(1)[0]
            positions, logits = this.positions.gather(1, best), this.logits[torch.arange(batch)[:, None], best]
            symbols = yield Step(this.level, positions - this.start, logits)
            tokens.scatter_(1, positions, symbols)

    @torch.no_grad()
    def passes(
        self, tokens: Tensor, side: Side, context: Tensor | None = None, guidance: float = 1.0
    ) -> Iterator[Pass]:
        """The passes of the net that fill `tokens` [B, T] int64, -1 where masked: whoever takes a pass writes the
        symbols of its choice into them before the next. Of each level as many must be masked in every sample."""
        guide = Guidance(guidance, self.classes_of(side, len(tokens)), self)
        start = 0
        with torch.autocast(tokens.device.type, enabled=False):
            condition = self.net.said(None if context is None else guide.both(context), len(guide.classes))
        for level, n in enumerate(self.layout.tokens):
            seen = tokens[:, : start + n]
            fills = fill_counts(int((seen[0, start:] < 0).sum()), self.steps)
            for number, fill in enumerate(fills):
                masked = sum(fills[number:])
                order = (seen < 0).byte().argsort(dim=1, stable=True)  # the known ones, then the masked
                with torch.autocast(tokens.device.type, enabled=False):
                    logits = self._logits(level, guide.both(seen), guide.both(order), masked, guide.classes, condition)
                positions, chance = order[:, -masked:], 1 - (number + 1) / len(fills)
                yield Pass(level, start, positions, self.net.within(guide(logits), positions), fill, chance)
            start += n

    def _logits(
        self, level: int, tokens: Tensor, order: Tensor, masked: int, classes: Tensor, condition: Tensor | None
    ) -> Tensor:
        """As the net gives them. Samples of a class, as long as nothing is known, are one."""
        if condition is not None or masked < order.shape[1]:
            return self.net(level, tokens, order, masked, classes, condition)  # type: ignore[no-any-return]
        classes, which = classes.unique(return_inverse=True)
        alike: Tensor = self.net(level, tokens[: len(classes)], order[: len(classes)], masked, classes)
        return alike[which]
