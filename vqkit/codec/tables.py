"""Logits to the integer weights that the entropy coder takes, the same on every machine.

Two machines, or one with another number of threads, compute float64 logits whose last bits differ, and an entropy coder
whose probabilities differ in one bit decodes noise from there on. So logits are rounded, coarsely, to multiples of 1/16
nat below their maximum, and the weights of the multiples are integers in a table. What is left is a logit so close to a
rounding edge that two machines may round it apart: the edges can be moved by a `dither` of 256 values, and the encoder
takes one at which no logit of the chunk is within the guard band. Whether a dither is safe is known from the logits
alone, so one pass over a chunk collects it for all of them.

Rounding costs STEP^2 / 24 nats a symbol on the average, 1.6e-4.

Of a million logits, each less than 20 nats below its maximum, 0.03 are expected in the guard band of a given dither: a
chunk of n million finds it safe with probability exp(-0.03 n), and none of the 256 with (1 - exp(-0.03 n))^256, which
is below 1e-6 up to 95 million.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

STEP = 1 / 16
"""Nats between two rounded logits."""

DEPTH = 320
"""Steps below the maximum where the weights end: 20 nats, beyond which the coder cannot tell probabilities apart."""

GUARD = 2.0**-30
"""Nats by which l - max(l) may differ between the encoder's machine and the decoder's: 8192 units in the last place of
float64 logits near 1000. Float32 logits differ by more."""

DITHERS = np.argsort(np.abs(np.arange(256) - 127.5), kind="stable")
"""In the order in which an encoder tries them: at the middle the edges lie between two multiples, and rounding prefers
neither the maximum nor the rest."""

FIRST_DITHER = int(DITHERS[0])
"""What is taken where it is safe."""


def _weights() -> NDArray[np.float64]:
    """round(2^30 exp(-j / 16)) for j from 0 to DEPTH, and a weight of 0."""
    with localcontext() as context:  # correctly rounded on every machine, which a C library's exp is not
        context.prec = 50
        exact = [2**30 * (Decimal(-j) / 16).exp() for j in range(DEPTH + 1)]
        return np.array([int(weight.to_integral_value()) for weight in exact] + [0], np.float64)


TABLE = _weights()
TABLE.flags.writeable = False


def weights(logits: NDArray[np.float64], dither: int) -> NDArray[np.float64]:
    """What the entropy coder takes: integers in float64 [..., K], proportional to the probabilities of logits
    [..., K]; 0 where a logit is -inf, which is beyond an alphabet.

    Raises ValueError where logits are not float64, NaN or +inf, or no logit of a row is finite, and where `dither` is
    not from 0 to 255.
    """
    if not 0 <= dither <= 255:
        raise ValueError(f"dither is {dither}; give a byte")
    steps = _steps_below(logits)
    beyond = np.isinf(steps)
    steps -= (dither + 0.5) / 256
    depth = np.minimum(np.ceil(steps, out=steps), DEPTH, out=steps).astype(np.intp)
    depth[beyond] = DEPTH + 1
    return np.take(TABLE, depth)


def unsafe_dithers(logits: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the 256 dithers [256] put a rounding edge within GUARD of one of these logits [..., K].

    A logit is near the edges of at most one dither. Raises ValueError like `weights`.
    """
    position = np.minimum(_steps_below(logits), DEPTH)  # all that is deeper has one weight
    position *= 256
    position -= 0.5  # now each integer is an edge of the dither that it is modulo 256
    nearest = np.rint(position)
    position -= nearest
    near = nearest[np.abs(position, out=position) <= 256 * GUARD / STEP].astype(np.intp)
    unsafe = np.zeros(256, np.bool_)
    unsafe[near % 256] = True
    return unsafe


def safe_dither(unsafe: NDArray[np.bool_]) -> int:
    """The first of DITHERS that is safe for all logits of a chunk: `unsafe` [256] is the union of theirs.

    Raises ValueError where none is; the odds are above.
    """
    safe = DITHERS[~unsafe[DITHERS]]
    if not len(safe):
        raise ValueError("every dither puts a logit of this chunk near a rounding edge; put fewer items in a chunk")
    return int(safe[0])


def _steps_below(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many steps each logit is below the maximum of its row."""
    if logits.dtype != np.float64:
        raise ValueError(f"logits are {logits.dtype}; compute them in float64, or machines will disagree")
    most: NDArray[np.float64] = logits.max(axis=-1, keepdims=True, initial=-np.inf)
    if not np.isfinite(most).all():
        raise ValueError("logits are NaN, or infinite where they should not be; train the prior again")
    steps = most - logits
    steps /= STEP
    return steps
