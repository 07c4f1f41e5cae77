"""What a prior is given, checked: indices, what is known of them, and classes. Every mistake is a ValueError."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor

from vqkit.priors.base import Prior
from vqkit.signal import Indices, Layout, Side, labels


def device_of(prior: Prior) -> torch.device:
    """Where a prior's weights are, or its buffers."""
    return next(chain(prior.parameters(), prior.buffers())).device


def precision_of(prior: Prior) -> torch.dtype:
    """What a prior computes log-probabilities in: the type of its parameters, or buffers, and float32 at least."""
    own = (x.dtype for x in chain(prior.parameters(), prior.buffers()) if x.is_floating_point())
    return torch.promote_types(next(own), torch.float32)


def check_layout(layout: Layout) -> Layout:
    """`layout`, where it is one that a prior can be made for."""
    if not layout.grids or len(layout.grids) != len(layout.codebook_sizes):
        raise ValueError("a layout needs at least one level, with one grid and one tuple of codebook sizes each")
    if any(len(grid) != len(layout.grids[0]) or not 1 <= len(grid) <= 3 or min(grid) < 1 for grid in layout.grids):
        raise ValueError(f"the grids are {layout.grids}; give every level the same one to three dimensions, none empty")
    if any(not sizes or min(sizes) < 1 for sizes in layout.codebook_sizes) or layout.classes < 0:
        raise ValueError(f"codebook_sizes are {layout.codebook_sizes}; every codebook needs at least one entry")
    return layout


def one_level(layout: Layout) -> Layout:
    """`layout`, where it is of one level."""
    if len(check_layout(layout).grids) > 1:
        raise ValueError(f"this prior is over one level, not {len(layout.grids)}; give each level one of its own")
    return layout


def check_walk(layout: Layout, own: Layout, any_grid: bool = False) -> None:
    """Whether a prior made for the layout `own` can walk another one."""
    if layout.codebook_sizes != own.codebook_sizes or not (any_grid or layout.grids == own.grids):
        raise ValueError(f"this prior was made for {own}, not for {layout}; train one for the tokens you have")


def check_indices(indices: Indices, layout: Layout, any_grid: bool = False, lowest: int = 0) -> None:
    """Whether `indices` are of this layout, with symbols from `lowest` (-1 where "not known" is allowed) up."""
    if len(indices) != len(layout.grids):
        raise ValueError(f"{len(indices)} levels of indices for {len(layout.grids)}; give one tensor a level")
    for number, (level, grid, sizes) in enumerate(zip(indices, layout.grids, layout.codebook_sizes, strict=True)):
        wrong_grid = level.ndim != 2 + len(grid) or not (any_grid or level.shape[2:] == grid)
        if wrong_grid or level.shape[1] != len(sizes) or level.dtype != torch.int64:
            wanted = ", ".join(map(str, ("B", len(sizes), *grid)))
            raise ValueError(f"level {number} is {level.dtype} {list(level.shape)}; give int64 indices of [{wanted}]")
        alphabets = torch.tensor(sizes, device=level.device).view(-1, *(1,) * len(grid))
        if bool(((level < lowest) | (level >= alphabets)).any()):
            raise ValueError(f"level {number} has symbols beyond its codebooks {sizes}; tokenize with their tokenizer")


def check_shares(dropout: float, label_dropout: float) -> None:
    """Whether these are shares that can be dropped; of labels all can be."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it is a share from 0 (off) to below 1")
    if not 0 <= label_dropout <= 1:
        raise ValueError(f"label_dropout is {label_dropout}; it is a share from 0 (off) to 1 (labels are not learned)")


def classes_of(side: Side, layout: Layout, batch: int, device: torch.device, optional: bool = False) -> Tensor:
    """The class [B] of each sample. `layout.classes` itself means none: where there are no classes, or the label is
    `optional` and not given."""
    if layout.classes == 0 or (optional and "label" not in side):
        return torch.full((batch,), layout.classes, device=device)
    return labels(side, layout.classes, batch, device)


def hide(classes: Tensor, layout: Layout, share: float) -> Tensor:
    """`classes` with a random share of them replaced by the one that means none."""
    if not (share and layout.classes):
        return classes
    return classes.masked_fill(torch.rand(classes.shape, device=classes.device) < share, layout.classes)


def flatten(indices: Indices) -> Tensor:
    """One sample a row: [B, tokens of all levels], coarse to fine."""
    return torch.cat([level.flatten(1) for level in indices], 1)


def known_tokens(known: Indices | None, layout: Layout, batch: int, device: torch.device) -> Tensor:
    """`known` as [B, tokens of all levels], -1 where a symbol is not known; nothing is where `known` is None.

    A walk takes a batch along one way, so the same positions must be known in all its samples.
    """
    if known is None:
        return torch.full((batch, sum(layout.tokens)), -1, device=device)
    check_indices(known, layout, lowest=-1)
    tokens = flatten(known).to(device)
    if len(tokens) != batch:
        raise ValueError(f"known holds {len(tokens)} samples for a batch of {batch}; give it one sample for each")
    if bool(((tokens < 0) != (tokens[:1] < 0)).any()):
        raise ValueError("samples of one batch have different known positions; walk them in separate batches")
    return tokens


def unflatten(tokens: Tensor, layout: Layout) -> Indices:
    """The inverse of `flatten`."""
    levels = zip(torch.split(tokens, list(layout.tokens), 1), layout.codebook_sizes, layout.grids, strict=True)
    return tuple(level.reshape(len(level), len(sizes), *grid) for level, sizes, grid in levels)
