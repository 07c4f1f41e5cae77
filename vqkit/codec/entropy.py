"""Symbols and their weights to bytes and back: arithmetic coding (Witten et al. 1987,
https://doi.org/10.1145/214762.214771) word by word, by constriction (Bamler 2022, https://arxiv.org/abs/2201.01741).

Symbols come in any number of calls, so that a walk can drive both ends step by step: a decoder needs the weights of the
next symbols only. docs/file_format.md has the arithmetic.
"""

from __future__ import annotations

import numpy as np
from constriction import stream
from numpy.typing import NDArray

MOST_SYMBOLS = 1 << 22
"""The largest alphabet: probabilities are 24-bit integers, and each symbol of the alphabet has at least one unit."""


class Encoder:
    """Takes symbols in the order in which they are to be decoded."""

    def __init__(self) -> None:
        self._coder = stream.queue.RangeEncoder()

    def encode(self, symbols: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Symbols [n] of the distributions proportional to `weights` [n, K], or [K] where all have one; see
        `tables.weights`. Raises ValueError where a symbol has no weight."""
        _check_weights(weights)
        if weights.ndim == 2 and len(weights) != len(symbols):
            raise ValueError(f"there are {len(symbols)} symbols and {len(weights)} rows of weights; give each its own")
        alphabet = weights.shape[-1]
        if len(symbols) and not (symbols.min() >= 0 and symbols.max() < alphabet and _possible(symbols, weights)):
            raise ValueError("a symbol is beyond its alphabet; encode with the prior of the tokenizer")
        if len(symbols) and alphabet > 1:
            self._coder.encode(np.ascontiguousarray(symbols, np.int32), *_model(weights))

    def sealed(self) -> bytes:
        """The shortest bytes that decode to the symbols so far: of all the numbers that do, the one with the most zeros
        at its end, which are left out. At most a byte above -log2 p in whole bytes; on the average 0.35 bytes above
        -log2 p.
        """
        words, (lower, size) = self._coder.pos()
        length = 4 * int(words) + 8
        inside = self._coder.get_compressed().astype(">u4").tobytes().ljust(length, b"\0")
        number = int.from_bytes(inside, "big")
        # The coder's own number is one of them. `lower` is where they start, but a carry into the words may be to come.
        first = number - (number - int(lower)) % 2**64
        rounded = (-(-first >> zeros) << zeros for zeros in range(64, -1, -8))
        return next(n for n in rounded if n < first + int(size)).to_bytes(length, "big").rstrip(b"\0")


class Decoder:
    """Gives the symbols of a payload in the order in which they were encoded.

    Of bytes that no encoder made it gives symbols that nobody encoded, or raises ValueError; checksums tell.
    """

    def __init__(self, payload: bytes) -> None:
        padded = payload + bytes(-len(payload) % 4)  # behind whole words the coder itself goes on with zeros
        self._coder = stream.queue.RangeDecoder(np.frombuffer(padded, ">u4").astype(np.uint32))

    def decode(self, weights: NDArray[np.float64], count: int | None = None) -> NDArray[np.int64]:
        """The next symbols [n], of the weights [n, K] that they were encoded with, or the next `count` of weights [K].

        Raises ValueError where the payload says a symbol without weight.
        """
        _check_weights(weights)
        if (weights.ndim == 1) != (count is not None):
            raise ValueError("give a count with weights [K], and none with weights [n, K]")
        n = len(weights) if count is None else count
        if n == 0 or weights.shape[-1] == 1:
            return np.zeros(n, np.int64)
        try:
            decoded = self._coder.decode(*_model(weights), *(() if count is None else (count,)))
        except AssertionError:  # a number beyond the last interval
            decoded = None
        symbols: NDArray[np.int64] = np.empty(0, np.int64) if decoded is None else decoded.astype(np.int64)
        if len(symbols) != n or not _possible(symbols, weights):
            raise ValueError("the payload is not of these weights: it is damaged, or of another prior or machine")
        return symbols


def _model(weights: NDArray[np.float64]) -> tuple[object, ...]:
    """The coder's arguments: one distribution, or the family of distributions and the parameters of each."""
    weights = np.ascontiguousarray(weights)
    if weights.ndim == 1:
        return (stream.model.Categorical(weights, perfect=False),)
    return stream.model.Categorical(perfect=False), weights


def _check_weights(weights: NDArray[np.float64]) -> None:
    if weights.dtype != np.float64 or weights.ndim not in (1, 2) or not 0 < weights.shape[-1] <= MOST_SYMBOLS:
        raise ValueError(
            f"weights are {weights.dtype} {list(weights.shape)}; give float64 [n, K] or [K], K of 1 to {MOST_SYMBOLS}"
        )


def _possible(symbols: NDArray[np.int64], weights: NDArray[np.float64]) -> bool:
    chosen = weights[symbols] if weights.ndim == 1 else np.take_along_axis(weights, symbols[:, None], 1)
    return bool((chosen > 0).all())
