"""Samples of any size through a tokenizer of local nets, window after window, as if at once.

A window sees as much around it as its nets reach, so that what it computes for its core is what a pass of the whole
sample gives there, up to the rounding of float32, and cores meet without seams; the zeros that nets pad with stand at
the sample's own borders alone. Memory is that of a window: of the whole there are x, the indices (z, where nothing is
discrete) and x_hat alone, which stay on the device that x, or the indices, came on. A sample whose size is no multiple
of the coarsest level's stride is padded by repeating its edge.

Each level passes over all windows before the next finer one does. So what a level is told of the coarser ones is looked
up in their indices, the same in every window, and a code that rounding could tip at a border is chosen once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate

from torch import Tensor

from vqkit.autoencoders.autoencoder import Autoencoder, inference
from vqkit.autoencoders.level import Level
from vqkit.bottlenecks import Quantizer
from vqkit.nn import Tile, reaches_of, tiles
from vqkit.signal import Indices, Side, Signal

_POSITIONS = 1 << 18  # of data in a window, its halo not counted: 262144, 512 x 512 or 64 x 64 x 64


def encode_any(tokenizer: Autoencoder, x: Tensor, window: int | None = None) -> Indices:
    """x [B, C, *any grid] in native values -> indices, one [B, Q, *grid] int64 a level, coarse to fine.

    `window` is how many positions of x along each axis are encoded at a time, beside what they see around them; by
    default as many as make 262,144. Raises ValueError where nothing is discrete, x has other channels or axes, and for
    a tokenizer that is not local where x is not of its own size.
    """
    _ = tokenizer.quantizers
    if x.shape[2:] == tokenizer.signal.grid:
        return tuple(level.to(x.device) for level in tokenizer.encode(x))
    return tuple(_Windows(tokenizer, tuple(x.shape[2:]), window).encode(x, len(tokenizer.levels)))


def decode_any(
    tokenizer: Autoencoder,
    indices: Indices,
    side: Side,
    size: tuple[int, ...],
    window: int | None = None,
    rounded: bool = False,
) -> Tensor:
    """Indices of samples of `size`, of any integer type -> x_hat [B, C, *size] in native values, float32 or, where it
    is to be `rounded`, of their native type, which takes a quarter of the memory; of the coarsest levels alone where
    `Autoencoder.prefixes` has their number. `window` as of `encode_any`. Raises ValueError for indices that are not on
    `grids_of` that size or of another model, and for a tokenizer that is not local where `size` is not its own.
    """
    tokenizer.require_prefix(len(indices))
    if size == tokenizer.signal.grid:
        x_hat = tokenizer.decode(tuple(level.long() for level in indices), side).to(indices[0].device)
        return _finished(tokenizer.signal, x_hat, rounded)
    windows = _Windows(tokenizer, size, window)
    found = tuple(tuple(level.shape[2:]) for level in indices)
    if found != windows.grids[: len(indices)]:
        raise ValueError(
            f"indices are on grids of {found}, and those of a sample of {size} are on {windows.grids}; decode them "
            "with the size of the sample that was encoded"
        )
    return windows.decode(indices, side, rounded)


def reconstruct_any(
    tokenizer: Autoencoder,
    x: Tensor,
    side: Side,
    levels: int | None = None,
    window: int | None = None,
    rounded: bool = False,
) -> Tensor:
    """x [B, C, *any grid] -> x_hat of the same shape through every bottleneck, or through the first `levels` alone, as
    `Autoencoder.reconstruct`. `rounded` as of `decode_any`; `window` and errors as of `encode_any`, but that nothing
    need be discrete."""
    if x.shape[2:] == tokenizer.signal.grid:
        return _finished(tokenizer.signal, tokenizer.reconstruct(x, side, levels=levels).to(x.device), rounded)
    levels = len(tokenizer.levels) if levels is None else levels
    tokenizer.require_prefix(levels)
    windows = _Windows(tokenizer, tuple(x.shape[2:]), window)
    return windows.decode(windows.encode(x, levels), side, rounded)


def grids_of(tokenizer: Autoencoder, size: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """The grid of each level's indices for samples of `size`, coarse to fine; nothing is computed for that. Raises
    ValueError like `encode_any`."""
    return tokenizer.grids() if size == tokenizer.signal.grid else _Windows(tokenizer, size, None).grids


def takes_any_size(tokenizer: Autoencoder) -> bool:
    """Whether all its nets are local."""
    try:
        _Windows(tokenizer, tokenizer.signal.grid, None)
    except ValueError:
        return False
    return True


def _finished(signal: Signal, x_hat: Tensor, rounded: bool) -> Tensor:
    return signal.to_native(x_hat) if rounded else x_hat


class _Windows:
    """Samples of one size in windows. A cell is what a position of the coarsest level lies over. What is kept of a
    level is its indices, or its z where it has none."""

    def __init__(self, tokenizer: Autoencoder, size: tuple[int, ...], window: int | None) -> None:
        dims = len(tokenizer.signal.grid)
        window = round(_POSITIONS ** (1 / dims)) if window is None else window
        if len(size) != dims or min(size) < 1:
            raise ValueError(f"the size of a sample is {size}; give {dims} numbers of positions, one an axis")
        if window < 1:
            raise ValueError(f"window is {window}; give positions along each axis, such as 512")
        self.tokenizer, self.size = tokenizer, size
        self._levels: list[Level] = list(tokenizer.levels)  # type: ignore[arg-type]
        reaches = reaches_of(tokenizer.encoder)
        self._cell = int(reaches[0].stride)  # in positions of x along an axis, as are all halos
        self._core = max(1, window // self._cell)
        self._cells = tuple(-(-n // self._cell) for n in size)
        self._positions = [int(self._cell / reach.stride) for reach in reaches]  # of each level along a cell
        merges = [reach.stride * level.reach.halo for reach, level in zip(reaches, self._levels, strict=True)]
        *contexts, context = accumulate(merges, initial=Fraction(0))
        self._encoder_halos = [max(reach.halo, halo) for reach, halo in zip(reaches, contexts, strict=True)]
        self._decoder_halo = context + tokenizer.decoder.reach.halo / tokenizer.decoder.reach.stride

    @property
    def grids(self) -> tuple[tuple[int, ...], ...]:
        """Of each level, coarse to fine."""
        return tuple(tuple(n * positions for n in self._cells) for positions in self._positions)

    def encode(self, x: Tensor, levels: int) -> list[Tensor]:
        """What is kept of the first `levels`."""
        signal, kept = self.tokenizer.signal, list[Tensor]()
        if x.shape[1] != signal.channels:
            raise ValueError(f"x has {x.shape[1]} channels and this tokenizer takes {signal.channels}; convert it")
        with inference(self.tokenizer):
            for number, (level, positions) in enumerate(zip(self._levels[:levels], self._positions, strict=False)):
                found = None
                for tile in self._tiles(self._encoder_halos[number]):
                    seen = signal.normalise(tile.cut(x, self._cell).to(self.tokenizer.device))
                    z_e = level.z_e(self.tokenizer.encoder(seen)[number], self._context(kept, tile))
                    latent = level.bottleneck(tile.core_of(z_e, positions))
                    core = latent.z if latent.indices is None else latent.indices
                    if found is None:
                        found = core.new_empty(*core.shape[:2], *self.grids[number], device=x.device)
                    tile.put(core, found, positions)
                assert found is not None
                kept.append(found)
        return kept

    def decode(self, kept: Sequence[Tensor], side: Side, rounded: bool) -> Tensor:
        """x_hat of the levels that are given."""
        signal, x_hat = self.tokenizer.signal, None
        with inference(self.tokenizer):
            for tile in self._tiles(self._decoder_halo):
                seen = self.tokenizer.decoder.reconstruct(self.tokenizer.merge(self._zs(kept, tile)), side)
                core = _finished(signal, tile.core_of(seen, self._cell), rounded)
                if x_hat is None:
                    x_hat = core.new_empty(len(kept[0]), signal.channels, *self.size, device=kept[0].device)
                tile.put(core, x_hat, self._cell)
        assert x_hat is not None
        return x_hat

    def _tiles(self, halo: Fraction) -> Iterator[Tile]:
        return tiles(self._cells, self._core, math.ceil(halo / self._cell))

    def _zs(self, kept: Sequence[Tensor], tile: Tile) -> list[Tensor]:
        """The z that is seen of each level that is kept."""
        zs = []
        for bottleneck, whole, positions in zip(self.tokenizer.bottlenecks, kept, self._positions, strict=False):
            part = tile.cut(whole, positions).to(self.tokenizer.device)
            zs.append(bottleneck.lookup(part.long()) if isinstance(bottleneck, Quantizer) else part)
        return zs

    def _context(self, kept: Sequence[Tensor], tile: Tile) -> Tensor | None:
        """What these levels merge to, where it is seen."""
        context = None
        for level, z in zip(self._levels, self._zs(kept, tile), strict=False):
            context = level.merge(context, z)
        return context
