"""The nearest code on a GPU, whose scores are never written to memory.

A program holds some rows of z and walks over the codes. Of every row it keeps the two least scores, and whose the least
is. Where the other is out of the reach of both errors, that code is proven to be the nearest; one of equal codes never
is. Factors are two bfloat16 digits: tensor cores, which do not multiply float32, sum their products in it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from vqkit.bottlenecks.scores import Scores

_BLOCK = 1 << 16  # rows of z whose digits are in memory at a time
_ROWS, _CODES = 128, 64  # of a tile: two programs then fit a multiprocessor, and one multiplies while one compares
_PROGRAMS = 512  # which keep a GPU busy: where rows are few, so many programs divide the codes


def proven_nearest(z: Tensor, codebook: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """The nearest code to each row of z as far as it can be proven.

    Args:
        z: [N, D] float32.
        codebook: [K, D] float32.
        bias: [K], added to each code's squared distance.

    Returns [N] int64, the codes, and [N] bool, which of them are proven; the others may be any number.
    """
    dim = z.shape[1]
    chunk = min(max(16, triton.next_power_of_2(dim)), 64) if dim <= 64 else 32  # up to 64 columns z stays in place
    scores = Scores(codebook, bias, torch.bfloat16, dim + -dim % chunk, _CODES, digits=2)
    offset = F.pad(scores.offset, (0, -len(codebook) % _CODES), value=torch.inf)
    codes = torch.empty(len(z), dtype=torch.int64, device=z.device)
    proven = torch.empty(len(z), dtype=torch.bool, device=z.device)
    for start in range(0, len(z), _BLOCK):
        block = slice(start, start + _BLOCK)
        rows, error = scores.rows(z[block])
        least, other, codes[block] = _two_least(rows, scores.codes, offset, chunk)
        proven[block] = other > least.add(error, alpha=2)
    return codes, proven


def _two_least(z: Tensor, codes: Tensor, offset: Tensor, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """The digits [2, n, W] of rows and [2, K, W] of codes, and an offset [K] -> the two least scores [n] and [n], and
    the code [n] of the least."""
    (_, count, width), tiles = z.shape, len(offset) // _CODES
    blocks = triton.cdiv(count, _ROWS)
    share = triton.cdiv(tiles, max(1, _PROGRAMS // blocks))  # tiles of a program
    shares = triton.cdiv(tiles, share)
    least = torch.empty(count, shares, 2, device=z.device)
    winners = torch.empty(count, shares, dtype=torch.int32, device=z.device)
    sizes = count, tiles, share, width, _ROWS, _CODES, chunk
    with torch.cuda.device_of(z):  # nothing is to be fused, but Triton wants to be told
        _kernel[blocks, shares](*z, *codes, offset, least, winners, *sizes, num_warps=8, enable_fp_fusion=False)
    two, place = least.flatten(1).topk(2, sorted=True, largest=False)
    return two[:, 0], two[:, 1], winners.gather(1, place[:, :1] // 2)[:, 0]


@triton.jit(do_not_specialize=["count", "tiles", "share"])
def _kernel(
    z1,
    z2,
    e1,
    e2,
    offset,
    least,
    winners,
    count,
    tiles,
    share,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    place, column = tl.arange(0, CODES), tl.arange(0, CHUNK)
    left = tl.minimum(row, count - 1).to(tl.int64)[:, None] * WIDTH + column[None, :]
    first = tl.full([ROWS], float("inf"), tl.float32)
    second = tl.full([ROWS], float("inf"), tl.float32)
    winner = tl.zeros([ROWS], tl.int32)
    start = tl.program_id(1) * share
    for tile in range(start, tl.minimum(start + share, tiles)):
        code = tile * CODES + place
        right = code.to(tl.int64)[None, :] * WIDTH + column[:, None]
        scores = tl.zeros([ROWS, CODES], tl.float32)
        for at in range(0, WIDTH, CHUNK):
            high, low = tl.load(z1 + left + at), tl.load(z2 + left + at)
            major, minor = tl.load(e1 + right + at), tl.load(e2 + right + at)
            scores = tl.dot(high, minor, scores)
            scores = tl.dot(low, major, scores)
            scores = tl.dot(high, major, scores)
        scores += tl.load(offset + code)[None, :]
        here = tl.min(scores, 1)
        which = tl.min(tl.where(scores == here[:, None], place[None, :], CODES), 1)
        other = tl.min(tl.where(place[None, :] == which[:, None], float("inf"), scores), 1)
        second = tl.minimum(tl.minimum(second, other), tl.maximum(first, here))
        winner = tl.where(here < first, tile * CODES + which, winner)
        first = tl.minimum(first, here)
    out = row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
    tl.store(least + 2 * out, first, mask=row < count)
    tl.store(least + 2 * out + 1, second, mask=row < count)
    tl.store(winners + out, winner, mask=row < count)
