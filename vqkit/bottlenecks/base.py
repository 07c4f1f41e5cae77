"""What every bottleneck is, and the one result that every bottleneck returns."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

_LONELY_FORWARDS = 256  # training forwards without an update after which we warn
_NOT_FINITE = "z_e holds numbers that are not finite; lower the learning rate, or look for the layer that made them"


class Latent(NamedTuple):
    """The result of every bottleneck.

    `z` [B, D, *grid] carries the estimator's gradient. `loss` is a scalar per latent dimension, all that trains here:
    commitment, codebook, entropy, beta x KL. `kl` [B] is in nats under the training prior, detached, NaN where it is
    undefined. `indices` [B, Q, *grid] int64, None where nothing is discrete. `stats` are detached scalars, for logs.
    """

    z: Tensor
    loss: Tensor
    kl: Tensor
    indices: Tensor | None
    stats: dict[str, Tensor]


class NotFinite(ValueError):
    """z_e holds NaN or infinity."""


class Bottleneck(nn.Module, ABC):
    """z_e [B, D, *grid] -> `Latent`. `forward` gathers statistics in training mode and changes nothing that a result
    depends on; `update` does, once an optimizer step.

    Its parameters and buffers stay float32 where a network around it is cast, as by `.half()`; devices they follow.
    """

    dim: int
    has_prior: bool = True
    """Whether there is a training prior: to sample from, and to which the posterior has a KL."""
    stateful: bool = False
    """Whether `update` changes anything, apart from bottlenecks within."""

    def __init__(self) -> None:
        super().__init__()
        self._forwards = 0  # in training, since the last update
        self._finite: Tensor | None = None  # whether all z_e since then were, where nobody has looked yet

    @property
    def inputs(self) -> int:
        """The channels of z_e; `dim` are those of z."""
        return self.dim

    def forward(self, z_e: Tensor, mask: Tensor | None = None) -> Latent:
        """z_e [B, inputs, *grid], of any floating type; computed in float32, as half precision flips indices. `mask`
        [B, *grid] is True where a position counts; padding stays out of every loss and statistic.

        Raises:
            ValueError: z_e has another shape or no sample, or `mask` is not bool or of another shape.
            NotFinite: it holds a number that is not finite. In training on a GPU it is `update` that says so, as to
                look at once would keep the GPU waiting; and in a compiled or exported graph nobody looks.
        """
        if z_e.ndim < 3 or z_e.shape[1] != self.inputs or not z_e.numel():
            wanted = f"{type(self).__name__} takes [B, {self.inputs}, *grid], B above 0"
            raise ValueError(f"z_e is {list(z_e.shape)}; {wanted}")
        # Integers would be taken for row numbers, and another shape might broadcast.
        if mask is not None and (mask.dtype != torch.bool or mask.shape != z_e[:, 0].shape):
            raise ValueError(f"mask is {mask.dtype} {list(mask.shape)}; it must be bool {list(z_e[:, 0].shape)}")
        if not torch.compiler.is_compiling():
            self._look_at(z_e.detach())
        with torch.autocast(z_e.device.type, enabled=False):
            return self.latent(z_e.float(), mask)

    def _look_at(self, z_e: Tensor) -> None:
        """What a graph has no place for: refuses what is not finite, and warns once where nobody updates."""
        finite = z_e.abs().amax().isfinite()
        if self.training and _is_queued(z_e):
            self._finite = finite if self._finite is None else self._finite & finite
        elif not bool(finite):
            raise NotFinite(_NOT_FINITE)
        if not self.training:
            return
        self._forwards += 1
        parts = (part for part in self.modules() if isinstance(part, Bottleneck))
        if self._forwards == _LONELY_FORWARDS and any(part.stateful for part in parts):
            warnings.warn(
                f"{_LONELY_FORWARDS} training forwards without update(): call it after every optimizer step, say "
                "by optimizer.register_step_post_hook(lambda *_: quantizer.update())",
                stacklevel=5,  # the caller, beyond forward and torch's two
            )

    @abstractmethod
    def latent(self, z_e: Tensor, mask: Tensor | None) -> Latent:
        """What `forward` returns, of a z_e that is float32 and was looked at. For those who write or compose
        bottlenecks; everybody else calls the bottleneck."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Through here goes all that moves or casts a module. A half precision codebook would move its codes, and
        # moving averages would stand still.
        def without_cast(tensor: Tensor) -> Tensor:
            applied = fn(tensor)
            return applied if applied.dtype == tensor.dtype else tensor.to(applied.device)

        super()._apply(without_cast, recurse)  # type: ignore[no-untyped-call]
        return self

    def draw(self, z_e: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None) -> Latent:
        """As `forward`, but z is a draw from the posterior q(z | x) also in eval mode; `generator` is on the CPU. What
        the evidence lower bound is an expectation over; the same as `forward` where the posterior is a point."""
        latent: Latent = self(z_e, mask)
        return latent

    def update(self) -> None:
        """Once an optimizer step: moving averages, revival, schedules, synchronised over processes. Where a z_e was not
        finite in training on a GPU, raises NotFinite, and from then on changes nothing."""
        self._forwards = 0
        if self._finite is not None and not bool(self._finite):
            raise NotFinite(_NOT_FINITE)
        self._finite = None
        self.advance()

    def advance(self) -> None:
        """What `update` does, of bottlenecks whose z_e were looked at. For those who write or compose bottlenecks;
        everybody else calls `update`."""
        return None

    @abstractmethod
    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z [batch, D, *grid] from the training prior. Raises ValueError where there is none."""

    def initialise(self, vectors: Iterable[Tensor]) -> None:
        """From a stream of z_e vectors [n, D]; the default needs none."""
        return None


class Quantizer(Bottleneck, ABC):
    """A bottleneck with a finite alphabet: `codebook_sizes` has the size of each of the Q codebooks at a position."""

    codebook_sizes: tuple[int, ...]

    straight_through: bool = False
    """Whether z's gradient reaches z_e as it is: what a stage of a residual quantizer has to be."""

    @property
    def prefixes(self) -> tuple[int, ...]:
        """How many of the Q codebooks, from the first on, are enough for `lookup`; fewer than all where they add up."""
        return (len(self.codebook_sizes),)

    @property
    def rate_weights(self) -> tuple[float, ...]:
        """What a nat of each of the Q codebooks weighs in training with the rate in the loss: all the same, unless some
        codebooks only refine what others say."""
        return (1.0,) * len(self.codebook_sizes)

    def lookup(self, indices: Tensor) -> Tensor:
        """[B, Q, *grid] int64 -> z [B, D, *grid], exactly what `forward` gives in eval mode; of fewer than all Q
        codebooks where `prefixes` has their number.

        Raises:
            ValueError: indices have another type or shape, or one is out of its alphabet.
        """
        name, wanted = type(self).__name__, " or ".join(map(str, self.prefixes))
        if indices.dtype != torch.int64 or indices.ndim < 3 or indices.shape[1] not in self.prefixes:
            found = f"{indices.dtype} {list(indices.shape)}"
            raise ValueError(f"indices are {found}; {name} takes int64 [B, {wanted}, *grid]")
        if torch.compiler.is_compiling():  # a graph cannot refuse
            return self.z_of(indices)
        # Where codes are arithmetic, an index beyond them would wrap around and go unnoticed.
        columns = indices.movedim(1, 0).flatten(1)
        sizes = torch.tensor(self.codebook_sizes[: len(columns)], device=indices.device)[:, None]
        if bool((beyond := (columns < 0) | (columns >= sizes)).any()):
            book = int(beyond.any(1).int().argmax())
            raise ValueError(
                f"indices hold {int(columns[book][beyond[book]][0])} in codebook {book + 1} of {name}, which has "
                f"{self.codebook_sizes[book]} codes; look up with the quantizer that made them"
            )
        return self.z_of(indices)

    @abstractmethod
    def z_of(self, indices: Tensor) -> Tensor:
        """What `lookup` returns, of indices that were looked at. For those who write or compose quantizers; everybody
        else calls `lookup`."""

    def sample(self, batch: int, grid: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """z of codes that are all equally likely."""
        columns = [torch.randint(k, (batch, 1, *grid), generator=generator) for k in self.codebook_sizes]
        return self.lookup(torch.cat(columns, 1).to(next(self.buffers()).device))

    @abstractmethod
    def assignment(self, z_e: Tensor) -> Tensor:
        """z_e [B, D, *grid] -> [B, Q, K, *grid] log-probabilities of each code, for soft and joint training."""

    def followed(self, z_e: Tensor, indices: Tensor) -> Tensor:
        """z [B, D, *grid] of the indices that z_e has. It has a gradient for z_e where codes are no parameters and
        follow what they win; else none."""
        return self.z_of(indices).detach()


def _is_queued(tensor: Tensor) -> bool:
    """Whether it may still have to be computed, by a device that has a queue."""
    return tensor.device.type != "cpu"


def to_vectors(z: Tensor) -> Tensor:
    """[B, D, *grid] -> [B x positions, D]; no copy where z is channels-last."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


def to_grid(vectors: Tensor, like: Tensor) -> Tensor:
    """[B x positions, D] -> [B, D, *grid] of `like`."""
    return vectors.view(like.shape[0], *like.shape[2:], vectors.shape[-1]).movedim(-1, 1)


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of `values` [B, D, *grid] over the positions where `mask` [B, *grid] is True."""
    if mask is None:
        return values.mean()
    weights = mask.unsqueeze(1).to(values.dtype)
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1)


def channel_means(values: Tensor, mask: Tensor | None) -> Tensor:
    """As `masked_mean`, of each channel apart: [D]."""
    if mask is None:
        return values.transpose(0, 1).flatten(1).mean(1)
    return values.transpose(0, 1)[:, mask].sum(1) / mask.sum().clamp_min(1)


def positions(z: Tensor, mask: Tensor | None) -> Tensor:
    """[B] float32: how many positions count in each sample."""
    if mask is None:
        return torch.full((z.shape[0],), float(z[0, 0].numel()), device=z.device)
    return mask.flatten(1).sum(1).to(torch.float32)


def drawn_depths(z: Tensor, most: int, dropout: float) -> Tensor:
    """[B, 1, ...] int64 to go with z [B, ...], by torch's global generator on the CPU: how many stages each sample
    passes in training, `most` of them but for a share of `dropout`, which is cut to a random number from 1 on."""
    cut = torch.rand(len(z)) < dropout
    depths = torch.where(cut, torch.randint(1, most + 1, cut.shape), most)
    return depths.to(z.device).view(-1, *(1,) * (z.ndim - 1))


def use_in_batch(indices: Tensor, sizes: tuple[int, ...], mask: Tensor | None) -> dict[str, Tensor]:
    """`batch_perplexity` and `batch_usage` of indices [B, Q, *grid], means over the Q codebooks. They are of this batch
    alone and so at most its number of positions, unlike the `perplexity` and `usage` of a moving average."""
    symbols = indices.movedim(1, 0).flatten(1) if mask is None else indices.movedim(1, 0)[:, mask]
    counts = _counts(symbols, sizes)
    perplexities = [torch.special.entr(n / n.sum().clamp_min(1)).sum().exp() for n in counts]
    used = [n.count_nonzero() / size for n, size in zip(counts, sizes, strict=True)]
    return {"batch_perplexity": torch.stack(perplexities).mean(), "batch_usage": torch.stack(used).mean()}


def norms(z_e: Tensor, z_q: Tensor, mask: Tensor | None) -> dict[str, Tensor]:
    """The mean lengths of z_e and of its codes [B, D, *grid], which drift apart where codes do not keep up."""
    named = {"z_e_norm": z_e, "code_norm": z_q}
    return {name: masked_mean(z.detach().norm(dim=1, keepdim=True), mask) for name, z in named.items()}


def _counts(symbols: Tensor, sizes: tuple[int, ...]) -> Sequence[Tensor]:
    """[Q, n] -> how often each symbol of a codebook occurs, in any order; those that do not may be missing."""
    if sum(sizes) > symbols.numel():  # a codebook that is arithmetic may be large: no table of all its codes
        return [column.unique(return_counts=True)[1] for column in symbols]
    starts = torch.tensor([0, *accumulate(sizes[:-1])], device=symbols.device)
    counts: Sequence[Tensor] = (symbols + starts[:, None]).flatten().bincount(minlength=sum(sizes)).split(sizes)
    return counts


def squared_distance_logits(vectors: Tensor, codes: Tensor) -> Tensor:
    """-|z_e - e|^2 of [N, D] and [K, D], [N, K], up to |z_e|^2, which is the same for every code."""
    middle = codes.detach().mean(0)  # taken off both, as rounding errors grow with norms
    vectors, codes = vectors - middle, codes - middle
    return 2 * vectors @ codes.t() - codes.square().sum(1)


def quantization_loss(
    z_e: Tensor, z_q: Tensor, mask: Tensor | None, commitment_weight: float, codebook_weight: float
) -> Tensor:
    """`commitment_weight` |z_e - sg(e)|^2 holds the encoder to its code, `codebook_weight` |sg(z_e) - e|^2 pulls the
    code to what it won. Both are means over latent dimensions."""
    loss = commitment_weight * masked_mean((z_e - z_q.detach()).square(), mask)
    if not codebook_weight:
        return loss
    return loss + codebook_weight * masked_mean((z_e.detach() - z_q).square(), mask)
