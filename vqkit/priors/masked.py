"""A masked transformer: many symbols a step, each given all that are known on every side."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.nn.attention import Block, overlay, rotations
from vqkit.priors.base import Prior, Step, Walk
from vqkit.priors.context import Context
from vqkit.priors.guidance import Guidance
from vqkit.priors.inputs import (
    check_indices,
    check_layout,
    check_shares,
    check_walk,
    classes_of,
    device_of,
    flatten,
    hide,
    known_tokens,
    spans,
)
from vqkit.priors.masking import entropy, fill_counts, fixed_gumbel, masked_share
from vqkit.priors.walk import score
from vqkit.signal import Indices, Layout, Side


class Pass(NamedTuple):
    """What one pass of the net says of all that is masked in one level.

    `positions` [B, n] int64 of these among the flattened tokens, those of the level from `start` on; their `logits`
    [B, n, K] float32, -inf beyond an alphabet. `fill` of them are to be filled now, and `chance`, which falls from 1 to
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


class MaskedTransformerPrior(Prior):
    """p(masked symbols | known symbols, label), each masked one independent of the others: MaskGIT (Chang et al. 2022,
    https://arxiv.org/abs/2202.04200), levels coarse to fine, each flattened [Q, *grid].

    It is trained on random sets of known symbols, so it takes any: symbols known on all sides condition those between.
    A level sees the coarser ones, all known, and of itself what is known; finer levels it does not see.

    Most symbols are masked most of the time, and a mask says nothing but where it is. So the known symbols go through
    the deep part of the net alone, and the masks join them for the rest, as in masked autoencoders (He et al. 2021,
    https://arxiv.org/abs/2111.06377) and MAR (Li et al. 2024, https://arxiv.org/abs/2406.11838).

    The walk fills a level in `steps` steps, few symbols at first (the cosine schedule). Where, is chosen before what:
    the symbols of the least entropy, in nats, less `choice_temperature` times Gumbel noise that fades to nothing over
    the steps. Both ends of a codec know as much, since the noise is a fixed function of step and position; of equal
    ones the first is taken. `draw_then_discard` is the sampler of the paper, which chooses after drawing.

    Args:
        layout: `classes` above 0 makes it conditional on the `label` of `side`.
        width: of the residual stream, a multiple of `heads`.
        depth: how many blocks over the known symbols.
        joint_depth: how many blocks after them over known and masked ones.
        heads: of attention, each width / heads dimensions.
        steps: of the walk, for each level; levels of fewer symbols take fewer.
        choice_temperature: 0 leaves nothing of the choice to chance, above about 10 everything.
        context_channels: C above 0 makes it conditional on a `context` [B, C, *any grid], which is brought to every
            level's grid by means over areas or by linear interpolation.
        dropout: share of each block's outputs dropped in training.
        label_dropout: share of the labels hidden in training, so that p(indices) without a label is learned too, as
            classifier-free guidance needs it (https://arxiv.org/abs/2207.12598). Above 0, `log_prob` and `walk` take a
            `side` without a label to mean that; at 0 they refuse it.

    Raises ValueError where an argument is out of its range, and in every method where indices, label, context or layout
    are not those that it was made for.
    """

    rows: Tensor
    sizes: Tensor
    turns: Tensor

    def __init__(
        self,
        layout: Layout,
        width: int = 256,
        depth: int = 6,
        joint_depth: int = 2,
        heads: int = 8,
        steps: int = 8,
        choice_temperature: float = 1.0,
        context_channels: int = 0,
        dropout: float = 0.0,
        label_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if depth < 0 or joint_depth < 1:
            raise ValueError(f"depth is {depth} and joint_depth {joint_depth}; give at least 0 and 1 blocks")
        if steps < 1:
            raise ValueError(f"steps is {steps}; a level is filled in at least one step")
        if not 0 <= choice_temperature < torch.inf:
            raise ValueError(f"choice_temperature is {choice_temperature}; give 0 (no chance) or a number above")
        check_shares(dropout=dropout, label_dropout=label_dropout)
        self.layout, self.width, self.heads = check_layout(layout), width, heads
        self.depth, self.joint_depth = depth, joint_depth
        self.steps, self.choice_temperature, self.context_channels = steps, choice_temperature, context_channels
        self.dropout, self.label_dropout = dropout, label_dropout

        # One table: the symbols of every codebook in turn, then the classes, then "no class", then the mask.
        self._spans = spans(layout)
        alphabets = torch.tensor([span.size for span in self._spans])
        first_rows = torch.cat([alphabets.new_zeros(1), alphabets.cumsum(0)])
        self._first_class = int(first_rows[-1])
        self.embedding = nn.Embedding(self._first_class + layout.classes + 2, width)
        # Place 0 is that of the class, which is always known.
        self.position = nn.Parameter(torch.empty(1 + sum(layout.tokens), width))
        self.context = Context(len(layout.grids[0]), context_channels, width)
        blocks = depth + joint_depth
        self.blocks = nn.ModuleList(Block(width, heads, blocks) for _ in range(blocks))
        self.norm = nn.RMSNorm(width)
        self.outputs = nn.ModuleList(nn.Linear(width, span.size) for span in self._spans)
        # A mask is told from others by its place alone, which smaller numbers drown in what the blocks add.
        nn.init.normal_(self.embedding.weight, std=0.3)
        nn.init.normal_(self.position, std=0.3)
        for parameter in self.outputs.parameters():  # all symbols alike at first: the loss starts at log K
            nn.init.zeros_(parameter)

        lengths = torch.tensor([span.stop - span.start for span in self._spans])
        self.register_buffer("rows", first_rows[:-1].repeat_interleave(lengths), persistent=False)
        self.register_buffer("sizes", alphabets.repeat_interleave(lengths), persistent=False)
        pairs = zip(overlay(layout.grids), layout.codebook_sizes, strict=True)
        places = torch.cat([cells.repeat(len(sizes), 1) for cells, sizes in pairs])
        places = torch.cat([places.new_zeros(1, places.shape[1]), places])
        self.register_buffer("turns", rotations(places, width // heads), persistent=False)

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats of the masked symbols, of one random mask a sample and level; levels weigh as many as their tokens.

        Of each level's n symbols ceil(n cos(pi/2 u)) are masked, u uniform and the same for the whole batch, which of
        them uniformly for each sample. Its expectation is that of the mean nats over these masks: it weighs large masks
        more than a walk does, and is no bound of `log_prob`. In training mode some labels and outputs are dropped.
        """
        check_indices(indices, self.layout)
        tokens = flatten(indices)
        classes, dropout = classes_of(side, self.layout, len(tokens), device_of(self)), 0.0
        if self.training:
            classes, dropout = hide(classes, self.layout, self.label_dropout), self.dropout
        condition, nats, start = self._condition(context, len(tokens)), [], 0
        for level, n in enumerate(self.layout.tokens):
            masked = math.ceil(n * masked_share(float(torch.rand(()))))
            shuffled = start + torch.rand(len(tokens), n, device=tokens.device).argsort(1)
            coarser = torch.arange(start, device=tokens.device).expand(len(tokens), -1)
            order = torch.cat([coarser, shuffled], 1)
            logits = self._logits(level, tokens, order, masked, classes, condition, dropout)
            logits, symbols = self._within(logits, order[:, -masked:]), tokens.gather(1, order[:, -masked:])
            nats.append(n * F.cross_entropy(logits.flatten(0, 1), symbols.flatten()))
            start += n
        return torch.stack(nats).sum() / start

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        """Nats, float32, shaped like `indices`: what they cost on the very walk that the prior takes, so a probability
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
            noise = fixed_gumbel(step, tokens.shape[1]).to(tokens.device)[this.positions]
            best = this.best(self.choice_temperature * this.chance * noise - entropy(this.logits))
            positions, logits = this.positions.gather(1, best), this.logits[torch.arange(batch)[:, None], best]
            symbols = yield Step(this.level, positions - this.start, logits)
            tokens.scatter_(1, positions, symbols)

    @torch.no_grad()
    def passes(
        self, tokens: Tensor, side: Side, context: Tensor | None = None, guidance: float = 1.0
    ) -> Iterator[Pass]:
        """The passes of the net that fill `tokens` [B, T] int64, -1 where masked: whoever takes a pass writes the
        symbols of its choice into them before the next. Of each level as many must be masked in every sample."""
        guide = Guidance(guidance, self._classes(side, len(tokens)), self.layout, self.label_dropout)
        start = 0
        with torch.autocast(tokens.device.type, enabled=False):
            condition = self._condition(None if context is None else guide.both(context), len(guide.classes))
        for level, n in enumerate(self.layout.tokens):
            seen = tokens[:, : start + n]
            fills = fill_counts(int((seen[0, start:] < 0).sum()), self.steps)
            for number, fill in enumerate(fills):
                masked = sum(fills[number:])
                order = (seen < 0).byte().argsort(dim=1, stable=True)
                with torch.autocast(tokens.device.type, enabled=False):
                    logits = self._logits(level, guide.both(seen), guide.both(order), masked, guide.classes, condition)
                positions = order[:, -masked:]
                yield Pass(
                    level, start, positions, self._within(guide(logits), positions), fill, 1 - (number + 1) / len(fills)
                )
            start += n

    def _logits(
        self,
        level: int,
        tokens: Tensor,
        order: Tensor,
        masked: int,
        classes: Tensor,
        condition: Tensor | None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Of the last `masked` of the positions `order` [B, n] of `tokens` [B, T], given the others: [B, masked, K]
        float32, finite, zeros beyond an alphabet. Masked positions are all of this level."""
        hidden, positions = self._hidden(tokens, order, masked, classes, condition, dropout), order[:, -masked:]
        logits = hidden.new_zeros(*positions.shape, max(self.layout.codebook_sizes[level]), dtype=torch.float32)
        for span, head in zip(self._spans, self.outputs, strict=True):
            if span.level == level:
                here = (span.start <= positions) & (positions < span.stop)
                logits[here, : span.size] = head(hidden[here]).float()
        return logits

    def _hidden(
        self, tokens: Tensor, order: Tensor, masked: int, classes: Tensor, condition: Tensor | None, dropout: float
    ) -> Tensor:
        """What is known of the masked positions, [B, masked, width]."""
        known = order[:, :-masked]
        rows = torch.cat([self._first_class + classes[:, None], tokens.gather(1, known) + self.rows[known]], 1)
        rows = F.pad(rows, (0, masked), value=self.embedding.num_embeddings - 1)
        places = F.pad(order + 1, (1, 0))
        x, turns = self.embedding(rows) + self.position[places], self.turns[:, places]
        if condition is not None:
            x = x + F.pad(condition.gather(1, order[..., None].expand(-1, -1, self.width)), (0, 0, 1, 0))
        x, masks = x.split([x.shape[1] - masked, masked], 1)
        for number, block in enumerate(self.blocks):
            if number == self.depth:
                x = torch.cat([x, masks], 1)
            x = block(x, turns[:, :, : x.shape[1]], causal=False, dropout=dropout)
        return self.norm(x[:, -masked:])  # type: ignore[no-any-return]

    def _within(self, logits: Tensor, positions: Tensor) -> Tensor:
        """-inf beyond the alphabet of each position."""
        beyond = torch.arange(logits.shape[-1], device=logits.device) >= self.sizes[positions][..., None]
        return logits.masked_fill(beyond, -torch.inf)

    def _classes(self, side: Side, batch: int) -> Tensor:
        """The class [B] of each sample; that there is none is refused where it was not learned."""
        return classes_of(side, self.layout, batch, device_of(self), optional=self.label_dropout > 0)

    def _condition(self, context: Tensor | None, batch: int) -> Tensor | None:
        """What a context says of every position, [B, T, width]."""
        said = []
        for grid, sizes in zip(self.layout.grids, self.layout.codebook_sizes, strict=True):
            of_level = self.context(context, batch, grid)
            if of_level is None:
                return None
            said.append(of_level.flatten(2).transpose(1, 2).repeat(1, len(sizes), 1))
        return torch.cat(said, 1)
