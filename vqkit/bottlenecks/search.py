"""The exact nearest code, in memory that does not grow with N x K.

Scores are computed a tile at a time in a precision that the processor is fast in. A bound on their rounding errors says
which codes could be the nearest nonetheless; where that leaves several, float64 decides between them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

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
    N x K scores exist one tile at a time. A row of z that is not finite gets some index.

    Raises:
        ValueError: a wrong shape.
    """
    if z.ndim != 2 or codebook.ndim != 2 or z.shape[1] != codebook.shape[1] or not len(codebook):
        raise ValueError(f"z {list(z.shape)} and codebook {list(codebook.shape)} must be [N, D] and [K, D] of one D")
    if bias is not None and bias.shape != codebook.shape[:1]:
        raise ValueError(f"bias is {list(bias.shape)}; it must have one number for each of {len(codebook)} codes")
    with torch.autocast(z.device.type, enabled=False), exact_float32():
        z, codebook = z.float(), codebook.float()
        precisions = dict.fromkeys(_precisions(z.device, len(codebook)), _PATIENCE)
        scorers: dict[torch.dtype, _Scorer] = {}
        indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
        block = _BLOCK * (_GPU_TILES if z.is_cuda else 1)
        for start in range(0, len(z), block):
            rows = z[start : start + block]
            nearest = None
            for dtype in [dtype for dtype, patience in precisions.items() if patience]:
                if dtype not in scorers:
                    scorers[dtype] = _Scorer(codebook, bias, dtype)
                if (nearest := scorers[dtype].nearest(rows)) is not None:
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


class _Scorer:
    """The scores of a codebook by a matrix product in `dtype`, and the bound on their errors.

    argmin |z - e|^2 + b = argmin (|e|^2 + b) / 2 - z.e : a matrix product and one offset a code. Both z and e are taken
    from the codebook's mean, as errors grow with their norms.
    """

    def __init__(self, codebook: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.codebook, self.bias, self.dtype = codebook, bias, dtype
        self.mean = codebook.mean(0)
        squared = torch.cat([(part.double() - self.mean).square_().sum(1) for part in codebook.split(_BLOCK)])
        offset = ((squared if bias is None else squared + bias) / 2).float()
        (size, dim), minus = codebook.shape, self.mean - codebook
        self.group = min(_GROUP, size)
        # The offset is a product with ones: scores are written and rounded once. Coarse numbers take two digits.
        self.digits = 1 if dtype == torch.float32 else 2
        table = minus.new_zeros(size + -size % self.group, dim + self.digits, dtype=dtype)
        table[:size, :dim] = minus
        table[:size, dim] = offset
        table[size:, dim] = torch.inf
        # What the bound needs to know of the codebook.
        self.norm, self.largest_offset = squared.amax().sqrt().float(), offset.abs().amax()
        if dtype != torch.float32:
            lost = offset - table[:size, dim]
            table[:size, dim + 1] = lost
            self.lost = minus.sub_(table[:size, :dim]).norm(dim=1).amax()
            self.lost_offset = (lost - table[:size, dim + 1]).abs().amax()
        self.codes = table.t()
        # A product with these says of the marked codes of a group how many they are, and in the fraction where one is.
        self.counting = 1 + torch.arange(self.group, dtype=torch.float32, device=codebook.device) / _GROUP**2
        self.rows = max(1, _TILE_SCORES * (_GPU_TILES if codebook.is_cuda else 1) // size)  # of a tile

    def nearest(self, z: Tensor) -> Tensor | None:
        """z [n, D] -> [n], or None where too many codes may be the nearest to tell them apart one by one."""
        centred = z - self.mean
        rounded = centred.to(self.dtype)
        error = self._error(centred, rounded)
        # Every row goes with the groups that may hold its nearest code, and their scores.
        rows, groups, scores, limits = [], [], [], []
        for start, tile in self._tiles(rounded):
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
        """z [n, D] in `dtype` -> the first row and the float32 scores [rows, groups, codes of a group] of every tile.
        One tile's memory serves them all."""
        z = F.pad(z, (0, self.digits), value=1.0)
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

    def _error(self, z: Tensor, rounded: Tensor) -> Tensor:
        """[n, D] -> [n]: the most by which a score can be off before it is rounded to `dtype`. The nearest code's is
        within twice this of the least.

        With ~ for rounded, |z.e - z~.e~| <= |z - z~| |e| + |z~| |e - e~| by Cauchy and Schwarz; a product of D terms
        summed in float32 in any order is off by D units of |z~| |e~| (Higham, Accuracy and Stability of Numerical
        Algorithms, 2002, section 3.1); taking the mean off and adding the offset round a few times more, and what is
        too small for float32 is lost.
        """
        norm, float32 = z.norm(dim=1), torch.finfo(torch.float32)
        unit = float32.eps * (z.shape[1] + 8)  # twice the unit, as the bound is rounded itself
        smallest = float32.tiny * (z.shape[1] + 8)
        error: Tensor = unit * (norm * self.norm + self.largest_offset) + smallest
        if self.dtype != torch.float32:
            lost = (z - rounded).norm(dim=1)
            error = error * (1 + torch.finfo(self.dtype).eps) ** 2  # what is multiplied may have been rounded up
            error += lost * self.norm + (norm + lost) * self.lost + self.lost_offset
        return error


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
    codebook, nearest = codebook.double(), []
    for part in z.double().split(max(1, _TILE_SCORES // len(codebook))):
        distance = torch.cdist(part, codebook, compute_mode="donot_use_mm_for_euclid_dist")
        nearest.append((distance if bias is None else distance.square_() + bias).argmin(1))
    return torch.cat(nearest)
