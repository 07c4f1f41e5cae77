"""Indices <-> chunks, by the probabilities of a prior: its walk is taken at both ends, and what is sent into it is
encoded at one and decoded at the other."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.codec import tables
from vqkit.codec.container import Chunk, check_of
from vqkit.codec.entropy import Decoder, Encoder
from vqkit.priors import Prior, Step, Walk, drive
from vqkit.signal import Indices, Side

Coded = tuple[Tensor, ...]
"""Which symbols are coded: one bool [B, Q, *grid] a level, coarse to fine. Levels beyond the tuple are left out."""

_Code = Callable[[Step, NDArray[np.bool_], NDArray[np.float64]], NDArray[np.int64]]


class Codec:
    """Codes indices with a prior, of which it keeps a float64 copy: float32 logits differ too much between machines,
    and even between batches, see `tables`. Items of a batch are walked together and make one chunk.

    Where a symbol is not coded, such as a position outside of the picture, both ends send the walk the symbol of the
    greatest weight, the first of equals; the walk ends with the last symbol that is coded.
    """

    def __init__(self, prior: Prior) -> None:
        self.prior = copy.deepcopy(prior).double().eval().requires_grad_(False)
        self.layout = prior.layout

    def encode(self, indices: Indices, coded: Coded, side: Side, context: Tensor | None = None) -> Chunk:
        """Indices, one int64 [B, Q, *grid] a level, those that are not coded of any value; `side` and `context` as of
        `Prior.walk`.

        One pass, with the first of `tables.DITHERS`, also finds out which dithers are safe for its logits; another one
        follows only where that one is not. Symbols that are not coded depend on the dither, and with them the logits,
        so the next pass is looked at like the first.

        Raises ValueError where indices are not of the prior's layout, where the prior refuses `side` or `context`, and
        where no dither is safe.
        """
        self._check(coded)
        if [level.shape for level in indices[: len(coded)]] != [level.shape for level in coded]:
            found = " and ".join(str([*level.shape]) for level in indices)
            raise ValueError(f"indices are {found}, other than what says which are coded; give them the same shapes")
        given = [level.flatten(1).cpu() for level in indices]
        unsafe = np.zeros(256, np.bool_)
        while True:
            dither, encoder = tables.safe_dither(unsafe), Encoder()

            def code(
                step: Step, wanted: NDArray[np.bool_], weights: NDArray[np.float64], encoder: Encoder = encoder
            ) -> NDArray[np.int64]:
                np.logical_or(unsafe, tables.unsafe_dithers(_logits(step)), out=unsafe)
                positions = step.positions.cpu().expand(len(wanted), -1)
                symbols: NDArray[np.int64] = given[step.level].gather(1, positions).numpy()[wanted]
                encoder.encode(symbols, weights)
                return symbols

            _, check = self._walk(coded, coded, side, context, dither, code)
            if not unsafe[dither]:
                return Chunk(dither, check, encoder.sealed())

    def decode(self, chunk: Chunk, coded: Coded, side: Side, context: Tensor | None = None) -> Indices:
        """The indices [B, Q, *grid] of the levels that `coded` has; those that are not coded are the likeliest, and
        zeros where the walk did not go. Raises ValueError where they are not those that were encoded: the payload is
        damaged, or prior, side, context or machine are others."""
        indices, check = self.read(chunk.payload, chunk.dither, coded, side, context)
        if check != chunk.check:
            raise ValueError("it decodes to other indices than were encoded, of another prior, machine or label")
        return indices

    def likeliest(self, coded: Coded, side: Side, context: Tensor | None = None) -> Indices:
        """What stands in for indices that are lost: of all that `coded` has, as if nothing were coded."""
        self._check(coded)
        nothing, everything = ([torch.full_like(level, value) for level in coded] for value in (False, True))

        def code(step: Step, wanted: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.int64]:
            return np.empty(0, np.int64)

        return self._walk(tuple(nothing), tuple(everything), side, context, tables.FIRST_DITHER, code)[0]

    def read(
        self, payload: bytes, dither: int, coded: Coded, side: Side, context: Tensor | None = None
    ) -> tuple[Indices, int]:
        """What a payload decodes to, and the check of that: any bytes decode to some indices, or raise ValueError."""
        self._check(coded)
        decoder = Decoder(payload)

        def code(step: Step, wanted: NDArray[np.bool_], weights: NDArray[np.float64]) -> NDArray[np.int64]:
            return decoder.decode(weights, int(wanted.sum()) if weights.ndim == 1 else None)

        return self._walk(coded, coded, side, context, dither, code)

    @torch.no_grad()
    def _walk(
        self, coded: Coded, needed: Coded, side: Side, context: Tensor | None, dither: int, code: _Code
    ) -> tuple[Indices, int]:
        """The one way of both ends, as far as symbols are `needed`. `code` is told of every step which of its symbols
        are coded [B, n] and their weights, [m, K] or [K] where all have one, and gives these symbols [m]. Returns all
        symbols, zeros where the walk did not come, and the check of the coded ones."""
        batch, ordered = len(coded[0]), [np.empty(0, np.int64)]
        indices = tuple(torch.zeros(level.shape, dtype=torch.int64) for level in coded)
        left = sum(int(level.sum()) for level in needed)

        def choose(step: Step) -> Tensor:
            nonlocal left
            positions = step.positions.cpu().expand(batch, -1)
            wanted = coded[step.level].flatten(1).gather(1, positions).numpy()
            left -= int(needed[step.level].flatten(1).gather(1, positions).sum())
            weights = tables.weights(_logits(step), dither)
            symbols = np.broadcast_to(weights.argmax(-1), wanted.shape).copy()
            one = weights.size == weights.shape[-1]
            rows = weights[0, 0] if one else np.broadcast_to(weights, (*wanted.shape, weights.shape[-1]))[wanted]
            ordered.append(code(step, wanted, rows))
            symbols[wanted] = ordered[-1]
            sent = torch.from_numpy(symbols)
            indices[step.level].flatten(1).scatter_(1, positions, sent)
            return sent.to(step.logits.device)

        drive(_while(lambda: left > 0, self.prior.walk(self.layout, batch, side, context)), choose)
        return indices, check_of(np.concatenate(ordered))

    def _check(self, coded: Coded) -> None:
        """Whether these are of the first levels of the prior's layout."""
        wanted = [
            (len(sizes), *grid) for sizes, grid in zip(self.layout.codebook_sizes, self.layout.grids, strict=True)
        ]
        found = [tuple(level.shape[1:]) for level in coded]
        if not found or found != wanted[: len(found)] or any(level.dtype != torch.bool for level in coded):
            raise ValueError(f"what is coded is said of {found}; say it as bool of the first levels of {wanted}")


def _logits(step: Step) -> NDArray[np.float64]:
    logits: NDArray[np.float64] = step.logits.cpu().numpy()
    return logits


def _while(going: Callable[[], bool], walk: Walk) -> Walk:
    """A walk that ends where it is not to go on."""
    step = next(walk, None)  # also where nothing is to be walked: it refuses what does not fit
    if not going():
        return
    while step is not None:
        symbols = yield step
        try:
            step = walk.send(symbols) if going() else None
        except StopIteration:
            return
