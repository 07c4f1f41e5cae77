"""The uses of a walk: draw symbols, or score given ones. Compression drives the same walk with a coder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from vqkit.priors.base import Prior, Step, Walk
from vqkit.priors.draw import AS_LEARNED, Choice
from vqkit.priors.inputs import check_indices, device_of, known_tokens, precision_of, unflatten
from vqkit.signal import Indices, Layout, Side


def drive(walk: Walk, choose: Callable[[Step], Tensor]) -> None:
    """Takes a walk to its end; `choose` gives the symbols [B, n] int64 of every step."""
    step = next(walk, None)
    while step is not None:
        symbols = choose(step)
        try:
            step = walk.send(symbols)
        except StopIteration:
            return


def part_of_walk(walk: Walk, first: int, sent_to: Sequence[Tensor], start: int = 0) -> Walk:
    """A walk over some of the levels of a whole, from number `first` on, or over a part of one, whose positions are
    there from `start` on; what it is sent stays in `sent_to`, [B, n] for each of these levels."""
    with suppress(StopIteration):
        step = next(walk)
        while True:
            symbols = yield step._replace(level=first + step.level, positions=start + step.positions)
            sent_to[step.level].scatter_(1, step.positions.expand(len(symbols), -1), symbols)
            step = walk.send(symbols)


@torch.no_grad()
def sample(
    prior: Prior,
    layout: Layout,
    batch: int,
    side: Side,
    *,
    choice: Choice = AS_LEARNED,
    context: Tensor | None = None,
    known: Indices | None = None,
    generator: torch.Generator | None = None,
    advance: Callable[[int], object] | None = None,
) -> Indices:
    """Draws `batch` samples of p(indices | side, context), one int64 [B, Q, *grid] a level.

    Args:
        choice: of each symbol; by default as learned.
        known: symbols that are kept, -1 where one is to be drawn.
        generator: may be on another device than the prior.
        advance: is told how many symbols each step has drawn, to show progress.

    Raises ValueError where an argument is out of its range, or not of the prior's layout.
    """
    choice.check()
    if batch < 1:
        raise ValueError(f"batch is {batch}; draw at least one sample")
    tokens = known_tokens(known, layout, batch, device_of(prior)).clone()
    levels = torch.split(tokens, list(layout.tokens), 1)  # views: drawing into a level fills the tokens

    def choose(step: Step) -> Tensor:
        symbols = choice.symbols(step.logits, (batch, step.positions.shape[1]), generator)
        levels[step.level].scatter_(1, step.positions.expand(batch, -1), symbols)
        if advance is not None:
            advance(symbols.numel())
        return symbols

    drive(prior.walk(layout, batch, side, context, known, choice.guidance), choose)
    return unflatten(tokens, layout)


@torch.no_grad()
def score(prior: Prior, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
    """log p of every symbol in nats, shaped like `indices`, by walking them one by one.

    The slow and obvious `Prior.log_prob`, which is tested against it. Raises ValueError like `log_prob`.
    """
    check_indices(indices, prior.layout, any_grid=True)
    layout = prior.layout._replace(grids=tuple(tuple(level.shape[2:]) for level in indices))
    levels = [level.flatten(1) for level in indices]
    nats = [torch.zeros_like(level, dtype=precision_of(prior)) for level in levels]

    def choose(step: Step) -> Tensor:
        positions = step.positions.expand(len(indices[0]), -1)
        symbols = levels[step.level].gather(1, positions)
        log_p = step.logits.log_softmax(-1).expand(*symbols.shape, -1)
        nats[step.level].scatter_(1, positions, log_p.gather(-1, symbols[..., None])[..., 0])
        return symbols

    drive(prior.walk(layout, len(levels[0]), side, context), choose)
    return unflatten(torch.cat(nats, 1), layout)
