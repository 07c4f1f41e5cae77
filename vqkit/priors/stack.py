"""A prior over several levels, made of one a level."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.priors.base import Prior, Walk
from vqkit.priors.inputs import check_indices, check_layout, check_walk, device_of, known_tokens, unflatten
from vqkit.priors.level_context import LevelContext
from vqkit.priors.walk import part_of_walk
from vqkit.signal import Indices, Layout, Side


class Stack(Prior):
    """p(level 0) p(level 1 | level 0) p(level 2 | levels 0 and 1) ..., each by a prior of any kind over that level
    alone (VQ-VAE-2, Razavi et al. 2019, https://arxiv.org/abs/1906.00446).

    A level's prior is told of the coarser levels by its context, which a `LevelContext` of its own makes of them. The
    grids may be any where every one of the priors allows that.

    Several priors over one level share its codebooks in equal parts, such as the stages of a `ResidualQuantizer`, which
    are then like levels: each part is given those before it at all positions, also those ahead in its own order.

    Args:
        layout: `classes` above 0 makes every level conditional on the `label` of `side`.
        priors: one a level, or one a part of the only level, coarse to fine: a prior over that alone, or what makes one
            of its layout. All but the first take a context, of as many channels as each likes (`context_channels`).
        width: channels of the nets that make the contexts.
        residual_layers: of these nets, each 3 wide.
        context_channels: C above 0 makes every level conditional on an outer `context` [B, C, *any grid] too, and then
            the first prior takes a context as well.

    Raises ValueError where priors and levels do not fit each other, and in every method where one of the priors does.
    """

    def __init__(
        self,
        layout: Layout,
        priors: Sequence[Callable[[Layout], Prior]],
        width: int = 64,
        residual_layers: int = 2,
        context_channels: int = 0,
    ) -> None:
        super().__init__()
        self.layout, self.width, self.residual_layers = check_layout(layout), width, residual_layers
        self.context_channels = context_channels
        for name, value, least in (("width", width, 1), ("residual_layers", residual_layers, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}; it must be at least {least}")
        apart = _apart(self.layout, len(priors))
        dims, self.priors, self.contexts = len(layout.grids[0]), nn.ModuleList(), nn.ModuleList()
        for level, given in enumerate(priors):
            own, coarser = _part(apart, level, level + 1), _part(apart, 0, level)
            prior = given if isinstance(given, Prior) else given(own)
            _check(prior, level, own, told=bool(level or context_channels))
            self.priors.append(prior)
            self.contexts.append(
                LevelContext(coarser, dims, context_channels, prior.context_channels, width, residual_layers)
            )

    @property
    def guidable(self) -> bool:
        return all(prior.guidable for prior in self.priors)

    @property
    def knows_classes(self) -> bool:
        return any(prior.knows_classes for prior in self.priors)

    def fit(self, stream: Iterable[tuple[Indices, Side]]) -> bool:
        """Fits the first prior where its best has a closed form. False as long as there are others: what they make of a
        context gradients have to find."""
        first: Prior = self.priors[0]  # type: ignore[assignment]
        return first.fit((self._split(indices)[:1], side) for indices, side in stream) and len(self.priors) == 1

    def update(self) -> None:
        for prior in self.priors:
            prior.update()  # type: ignore[operator]

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """Mean nats a token of all levels: each level's own loss counts by its tokens."""
        losses = [
            prior.loss((level,), side, told) * level[0].numel() for level, prior, told in self._levels(indices, context)
        ]
        return torch.stack(losses).sum() / sum(level[0].numel() for level in indices)

    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        with torch.autocast(indices[0].device.type, enabled=False):
            found = [prior.log_prob((level,), side, told)[0] for level, prior, told in self._levels(indices, context)]
        return self._joined(found)

    def log_conditionals(self, indices: Indices, side: Side, context: Tensor | None = None) -> tuple[Tensor, ...]:
        with torch.autocast(indices[0].device.type, enabled=False):
            found = [
                prior.log_conditionals((level,), side, told)[0] for level, prior, told in self._levels(indices, context)
            ]
        return self._joined(found)

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
        """The walks of the levels, one after the other, each as its prior takes it."""
        check_walk(layout, self.layout, any_grid=True)
        tokens = known_tokens(known, layout, batch, device_of(self)).clone()
        apart, start = _apart(layout, len(self.priors)), 0
        in_parts = len(apart.grids) > len(layout.grids)
        sent_to = torch.split(tokens, list(apart.tokens), 1)  # views: what a level is sent is there for the next ones
        for level, (prior, tell, grid) in enumerate(zip(self.priors, self.contexts, apart.grids, strict=True)):
            *coarser, own = unflatten(tokens, apart)[: level + 1]
            with torch.autocast(tokens.device.type, enabled=False):
                told = tell(coarser, context, batch, grid)
            walk = prior.walk(_part(apart, level, level + 1), batch, side, told, (own,), guidance)  # type: ignore[operator]
            yield from part_of_walk(walk, 0 if in_parts else level, sent_to[level : level + 1], start)
            start += apart.tokens[level] if in_parts else 0

    def _levels(self, indices: Indices, context: Tensor | None) -> Iterator[tuple[Tensor, Prior, Tensor | None]]:
        """Of each level, or part of the only one, its indices, its prior and the context that this one is given."""
        check_indices(indices, self.layout, any_grid=True)
        parts = self._split(indices)
        for number, (level, prior, tell) in enumerate(zip(parts, self.priors, self.contexts, strict=True)):
            yield level, prior, tell(parts[:number], context, len(level), tuple(level.shape[2:]))  # type: ignore[misc]

    def _split(self, indices: Indices) -> Indices:
        """What each prior is over."""
        if len(self.priors) == len(indices):
            return indices
        return indices[0].chunk(len(self.priors), 1)

    def _joined(self, parts: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The inverse of `_split`, of what is shaped like indices, or has an axis of symbols before the grid."""
        if len(parts) == len(self.layout.grids):
            return tuple(parts)
        dims, most = len(self.layout.grids[0]), max(part.shape[2] for part in parts)
        if parts[0].ndim > 2 + dims:
            parts = [F.pad(x, (0, 0) * dims + (0, most - x.shape[2]), value=-math.inf) for x in parts]
        return (torch.cat([*parts], 1),)


def _apart(layout: Layout, parts: int) -> Layout:
    """The layout in which each of so many equal parts of the only level is a level; itself where there is no more than
    one a level."""
    if parts == len(layout.grids):
        return layout
    (books, *others), (grid, *_) = layout.codebook_sizes, layout.grids
    each, left = divmod(len(books), parts) if parts else (0, 1)
    if others or left:
        raise ValueError(
            f"there are {parts} priors for {len(layout.grids)} levels; give one a level, coarse to fine, or of one "
            f"level alone as many as divide its {len(books)} codebooks"
        )
    sizes = tuple(books[start : start + each] for start in range(0, len(books), each))
    return layout._replace(grids=(grid,) * parts, codebook_sizes=sizes)


def _part(layout: Layout, start: int, stop: int) -> Layout:
    """Some of the levels alone."""
    return layout._replace(grids=layout.grids[start:stop], codebook_sizes=layout.codebook_sizes[start:stop])


def _check(prior: Prior, level: int, own: Layout, told: bool) -> None:
    """Whether a prior is one for this level, which is `told` of others or is not."""
    kind = type(prior).__name__
    if prior.layout != own:
        raise ValueError(f"prior {level} is over {prior.layout} and level {level} is {own}; make it for that")
    if told and not prior.context_channels:
        raise ValueError(
            f"prior {level}, a {kind} without a context, would not know what is above it; set its context_channels, "
            "such as 64, of a kind that has them, such as PixelCNN"
        )
    if prior.context_channels and not told:
        raise ValueError(
            f"prior {level}, a {kind}, takes a context and there is nothing above it; leave its context_channels out"
        )
