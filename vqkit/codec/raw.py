"""Symbols as raw bits, where coding does not help: all symbols of a sample are the digits of one number, each to the
base of its alphabet.

A payload on its own, whose model and layout both ends know, needs no flag: of `raw_length` bytes it is raw, shorter it
is coded. So 64 tokens of 512 codes are 72 bytes at the most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def raw_length(sizes: Sequence[int]) -> int:
    """Bytes of symbols of these alphabets: log2 of the alphabets, summed, in whole bytes."""
    return ((math.prod(sizes) - 1).bit_length() + 7) // 8


def pack(symbols: NDArray[np.int64], sizes: Sequence[int]) -> bytes:
    """`raw_length` bytes of symbols [n], each from 0 to below its size, the first one the highest digit.

    Raises ValueError where a symbol is beyond its alphabet.
    """
    digits = symbols.tolist()
    if len(digits) != len(sizes) or not all(0 <= digit < size for digit, size in zip(digits, sizes, strict=True)):
        raise ValueError(f"{len(digits)} symbols do not fit {len(sizes)} alphabets; pack indices of the layout")
    return _number(digits, sizes).to_bytes(raw_length(sizes), "big")


def unpack(data: bytes, sizes: Sequence[int]) -> NDArray[np.int64]:
    """The symbols [n] of `pack`. Raises ValueError where no symbols of these alphabets have these bytes."""
    number = int.from_bytes(data, "big")
    if len(data) != raw_length(sizes) or number >= math.prod(sizes):
        raise ValueError(f"{len(data)} bytes are not {len(sizes)} raw symbols: they are damaged, or of another model")
    return np.array(_digits(number, sizes), np.int64)


# Halves first: the time of one number digit by digit grows with the square of its length.


def _number(digits: Sequence[int], sizes: Sequence[int]) -> int:
    if len(digits) < 2:
        return digits[0] if digits else 0
    half = len(digits) // 2
    return _number(digits[:half], sizes[:half]) * math.prod(sizes[half:]) + _number(digits[half:], sizes[half:])


def _digits(number: int, sizes: Sequence[int]) -> list[int]:
    if len(sizes) < 2:
        return [number] * len(sizes)
    half = len(sizes) // 2
    high, low = divmod(number, math.prod(sizes[half:]))
    return _digits(high, sizes[:half]) + _digits(low, sizes[half:])
