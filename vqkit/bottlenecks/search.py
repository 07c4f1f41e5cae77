"""The exact nearest code, in memory that does not grow with N x K.

Scores are computed a tile at a time in a precision that the processor is fast in. A bound on their rounding errors says
which codes could be the nearest nonetheless; where that leaves several, float64 decides between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from vqkit.bottlenecks.base import squared_distance_logits
from vqkit.bottlenecks.scores import Scores, write
from vqkit.nn import exact_float32

_TILE_SCORES = 1 << 21  # float32 scores alive at a time, 8 MiB: what stays in a processor's cache
_GPU_TILES = 32  # a GPU wants large products: as many tiles and blocks are one there
_GROUP = 64  # codes whose least score is found before it is asked which of them has it
_BLOCK = 1 << 12  # rows whose candidates are decided between together
_CROWD = 8  # candidates a row, on average, from which a finer precision costs less than deciding between them
_PATIENCE = 2  # blocks of which a precision has left too much open, after which it is not tried again
_HALF_PAYS = 4096  # codes from which bfloat16 scores are worth their candidates


@torch.no_grad()
def nearest_code(z: Tensor, codebook: Tensor, bias: Tensor | None = None) -> Tensor:
    """The index of the nearest codebook vector to each row of z, in the Euclidean distance.

    Args:
        z: [N, D], floating point; taken as float32.
        codebook: [K, D], floating point; taken as float32.
        bias: [K], added to each code's squared distance, such as lambda x its rate in nats (entropy-constrained vector
            quantization, Chou, Lookabaugh and Gray 1989, https://doi.org/10.1109/29.17498).

    Returns [N] int64: the code of the least float64 distance, and of those the lowest index. Memory is O(N + K D): the
    N x K scores exist one tile at a time, on a GPU with Triton in its registers alone; but all at once in a compiled or
    exported graph, which has no steps that depend on its data. A row of z that is not finite gets some index.

    Raises:
        ValueError: a wrong shape.
    """
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1] or not len(codebook):
        raise ValueError(f"z {list(z.shape)} and codebook {list(codebook.shape)} must be [N, D] and [K, D] of one D")
    if bias is not None and bias.shape != codebook.shape[:1]:
        raise ValueError(f"bias is {list(bias.shape)}; it must have one number for each of {len(codebook)} codes")
    if torch.compiler.is_compiling():
        logits = squared_distance_logits(z.double(), codebook.double())
        return (logits if bias is None else logits - bias).argmax(1)
    with torch.autocast(z.device.type, enabled=False), exact_float32():
        z, codebook = z.float(), codebook.float()
        if (fused := _fused(z.device, z.shape[1])) is None:
            return portable(z, codebook, bias)
        indices, proven = fused(z, codebook, bias)
        unproven = proven.logical_not().nonzero()[:, 0]
        indices[unproven] = portable(z[unproven], codebook, bias)
        return indices


@cache
def _fused(device: torch.device, dim: int) -> Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]] | None:
    """The search of a GPU of NVIDIA with bfloat16 units, where Triton and the compiler that it needs are at hand."""
    if device.type != "cuda" or torch.version.hip or torch.cuda.get_device_capability(device) < (8, 0):
        return None
    try:
        from vqkit.bottlenecks.fused_search import proven_nearest

        proven_nearest(torch.zeros(1, dim, device=device), torch.zeros(1, dim, device=device), None)
    except Exception as reason:  # whatever Triton lacks, the portable search does without it
        warnings.warn(f"the nearest code is searched without Triton, which takes longer: {reason}", stacklevel=4)
        return None
    return proven_nearest


def portable(z: Tensor, codebook: Tensor, bias: Tensor | None) -> Tensor:
    """`nearest_code` of float32 numbers without Triton, on any device: a block of rows at a time."""
    precisions = dict.fromkeys(_precisions(z.device, len(codebook)), _PATIENCE)
    searches: dict[torch.dtype, _Tiles] = {}
    indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
    block = _BLOCK * (_GPU_TILES if z.is_cuda else 1)
    for start in range(0, len(z), block):
        rows = z[start : start + block]
        nearest = None
        for dtype in [dtype for dtype, patience in precisions.items() if patience]:
            if dtype not in searches:
                searches[dtype] = _Tiles(codebook, bias, dtype)
            if (nearest := searches[dtype].nearest(rows)) is not None:
                break
            precisions[dtype] -= 1
        indices[start : start + block] = _by_float64(rows, codebook, bias) if nearest is None else nearest
    return indices


def _precisions(device: torch.device, codebook_size: int) -> list[torch.dtype]:
    """What scores are computed in, the preferred one first."""
    fast = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    if fast and codebook_size >= _HALF_PAYS:
        return [torch.bfloat16, torch.float32]
    return [torch.float32]


class _Tiles:
    """The portable search, by tiles of scores that are a matrix product in `dtype`."""

    def __init__(self, codebook: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.codebook, self.bias, self.dtype = codebook, bias, dtype
        (size, dim), self.group = codebook.shape, min(_GROUP, len(codebook))
        # The offset is a product with ones: scores are written and rounded once. Coarse numbers take two digits.
        width = dim + (1 if dtype == torch.float32 else 2)
        self.scores = Scores(codebook, bias, dtype, width, self.group)
        table, offset = self.scores.codes[0], self.scores.offset
        write(offset, table[:size, dim:].unbind(1))
        table[size:, dim] = torch.inf
        self.codes, self.lost_offset = table.t(), offset.abs().amax()
        # A product with these says of the marked codes of a group how many they are, and in the fraction where one is.
        self.counting = 1 + torch.arange(self.group, dtype=torch.float32, device=codebook.device) / _GROUP**2
        self.rows = max(1, _TILE_SCORES * (_GPU_TILES if codebook.is_cuda else 1) // size)  # of a tile

    def nearest(self, z: Tensor) -> Tensor | None:
        """z [n, D] -> [n], or None where too many codes may be the nearest to tell them apart one by one."""
        (wide,), error = self.scores.rows(z)
        if self.dtype != torch.float32:
            error += self.lost_offset
        # Every row goes with the groups that may hold its nearest code, and their scores.
        rows, groups, scores, limits = [], [], [], []
        for start, tile in self._tiles(wide):
            least = tile.amin(2)
            limit = self._limit(least.amin(1), error[start : start + len(tile)])
            row, group = (least <= limit[:, None]).nonzero().unbind(1)
            if len(row) > _CROWD * len(tile):
                return None
            rows.append(row + start)
            groups.append(group)
            scores.append(tile.view(-1, self.group).index_select(0, row * tile.shape[1] + group))
            limits.append(limit)
        limit = _joined(limits)
        if not bool(limit.isfinite().all()):
            return None
        row, first = _joined(rows), _joined(groups) * self.group
        hits = _joined(scores).le_(limit[row, None])
        found = hits @ self.counting  # to list them all takes long
        count = found.long()
        if int(count.sum()) > _CROWD * len(z):
            return None
        codes = first + ((found - count) * _GROUP**2).long()
        several = (count > 1).nonzero()[:, 0]
        if not len(several) and len(row) == len(z):
            return codes  # one candidate each
        if len(several):
            pair, place = hits[several].nonzero().unbind(1)
            one = count == 1
            pair = several[pair]
            row, codes = torch.cat([row[one], row[pair]]), torch.cat([codes[one], first[pair] + place])
        return _decide(z, self.codebook, self.bias, row, codes)

    def _tiles(self, z: Tensor) -> Iterator[tuple[int, Tensor]]:
        """z [n, width] in `dtype` -> the first row and the float32 scores [rows, groups, codes of a group] of every
        tile. One tile's memory serves them all."""
        products = z.new_empty(min(self.rows, len(z)), self.codes.shape[1])
        memory = products if self.dtype == torch.float32 else torch.empty_like(products, dtype=torch.float32)
        for start in range(0, len(z), self.rows):
            part = z[start : start + self.rows]
            scores, product = memory[: len(part)], torch.mm(part, self.codes, out=products[: len(part)])
            if scores.dtype != product.dtype:
                scores.copy_(product)
            yield start, scores.view(len(part), -1, self.group)

    def _limit(self, least: Tensor, error: Tensor) -> Tensor:
        """The least score [n] of each row and the bound on their errors [n] -> the score [n] that none above is of the
        nearest code. Below lies what was the least before it was rounded to `dtype`, above what the nearest became."""
        if self.dtype == torch.float32:
            return least.add(error, alpha=2)
        rounding = 0.51 * torch.finfo(self.dtype).eps  # half of it, and what the products here round
        limit = (least + rounding * least.abs()).add(error, alpha=2)
        return limit + rounding * limit.abs()


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]  # a cat copies also where there is nothing to join


def _decide(z: Tensor, codebook: Tensor, bias: Tensor | None, rows: Tensor, codes: Tensor) -> Tensor:
    """z [n, D] and its candidates, pairs of a row and a code -> [n] the nearest of them by the float64 distance."""
    indices = torch.zeros(len(z), dtype=torch.int64, device=z.device)
    indices[rows] = codes  # which settles those with one candidate
    several = (rows.bincount(minlength=len(z)) > 1)[rows].nonzero()[:, 0]
    rows, codes = rows[several], codes[several]
    distance = (z[rows].double() - codebook[codes]).square_().sum(1)
    if bias is not None:
        distance += bias[codes]
    least = torch.full((len(z),), torch.inf, dtype=torch.float64, device=z.device)
    won = distance == least.scatter_reduce_(0, rows, distance, "amin")[rows]
    return indices.scatter_reduce_(0, rows[won], codes[won], "amin", include_self=False)


def _by_float64(z: Tensor, codebook: Tensor, bias: Tensor | None) -> Tensor:
    """z [n, D] -> [n] by every float64 distance, which takes its time: codes are equal, or of very different sizes."""
    precise, nearest = codebook.double(), []
    offset = precise.new_zeros(len(codebook)) if bias is None else bias.double()
    for part in z.split(max(1, _TILE_SCORES // codebook.numel())):
        squared = torch.cdist(part.double(), precise, compute_mode="donot_use_mm_for_euclid_dist").square_()
        error = 1e-12 * (squared + offset.abs())
        scores = squared + offset
        # Another order of the sum is not to decide between equal codes, so those left are taken where others are.
        rows, codes = (scores - error <= (scores + error).amin(1, keepdim=True)).nonzero().unbind(1)
        nearest.append(_decide(part, codebook, bias, rows, codes))
    return torch.cat(nearest)
