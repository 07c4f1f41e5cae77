"""Checks of constructor arguments. Each returns what it was given, or raises a ValueError with the argument's name; NaN
passes none of them."""

from __future__ import annotations

import math

from vqkit.bottlenecks.base import Quantizer


def count(name: str, number: int) -> int:
    """An int, 1 or more."""
    if not isinstance(number, int) or not number >= 1:
        raise ValueError(f"{name} is {number}; give an int, at least 1")
    return number


def quantizer(name: str, part: Quantizer) -> Quantizer:
    """A Quantizer."""
    if not isinstance(part, Quantizer):
        raise ValueError(f"{name} is {part!r}; give a quantizer, such as EMAVectorQuantizer(64, 512)")
    return part


def weight(name: str, number: float) -> float:
    """Of a term of a loss: finite, 0 (off) or more."""
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} is {number}; give a finite number, 0 or more")
    return number


def positive(name: str, number: float) -> float:
    """Finite and above 0."""
    if not 0 < number < math.inf:
        raise ValueError(f"{name} is {number}; give a finite number above 0")
    return number


def between(name: str, number: float, low: float, high: float) -> float:
    """From `low` to `high`, both included."""
    if not low <= number <= high:
        raise ValueError(f"{name} is {number}; give a number from {low} to {high}")
    return number


def below_one(name: str, number: float) -> float:
    """From 0 to below 1."""
    if not 0 <= number < 1:
        raise ValueError(f"{name} is {number}; give a number from 0 to below 1")
    return number
