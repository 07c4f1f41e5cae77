"""What every prior is: a distribution over integer grids, given a context, that can be walked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from vqkit.signal import Indices, Layout, Side


class Step(NamedTuple):
    """One step of a walk: the next positions of one level and the logits of their symbols.

    `positions` [B or 1, n] int64 index the level's flattened [Q, *grid]. `logits` [B or 1, n or 1, K] are of the type
    that the prior computes in, -inf beyond the alphabet of a position's codebook; a 1 says that all samples, or all
    positions, have the same. The walk is sent the symbols [B, n] int64 there.
    """

    level: int
    positions: Tensor
    logits: Tensor


Walk = Generator[Step, Tensor, None]


class Prior(nn.Module, ABC):
    """p(indices | side, context). `layout` says which indices. `context` [B, C, *grid] is what a decoder or coarser
    levels hand down; None where there is none.

    A prior computes in the precision of its parameters, and logits and nats in float32 at least. Those of a copy that
    was made `double()` are float64 throughout: then a walk's logits hardly depend on the batch, the number of threads
    and the processor, as a codec needs it. A copy made `bfloat16()` is another distribution, a little off, and where
    products with its matrices take the time it is faster to draw from.
    """

    layout: Layout
    context_channels: int = 0
    """C of the `context` that it takes; 0: it takes none."""

    @property
    def guidable(self) -> bool:
        """Whether it has learned p with the class and without, between which `Guidance` goes."""
        return False

    @property
    def knows_classes(self) -> bool:
        """Whether p depends on the label."""
        return self.layout.classes > 0

    def fit(self, stream: Iterable[tuple[Indices, Side]]) -> bool:
        """Sets this prior to its best for all of a stream, where that has a closed form, forgetting what it was set to
        before. False, and nothing else, where gradients have to find it."""
        return False

    def update(self) -> None:
        """State changes of training, once an optimizer step."""
        return None

    @abstractmethod
    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        """This prior's own training objective, a scalar in nats a token."""

    @abstractmethod
    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        """Nats, one tensor a level, shaped like `indices`. Equals the sum over the walk."""

    def log_conditionals(self, indices: Indices, side: Side, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Of every symbol k what `log_prob` is of the true one, log p(k | what is before it), in nats: a float32
        [B, Q, K, *grid] a level, like a quantizer's `assignment`, -inf beyond a codebook's alphabet. It has a gradient.

        Raises ValueError where one pass does not tell that.
        """
        raise ValueError(
            f"a {type(self).__name__} does not tell in one pass what every symbol would cost; take a prior that does, "
            "such as TransformerPrior, PixelCNN or LearnedUnigramPrior"
        )

    @abstractmethod
    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """Yields every unknown position exactly once, coarse to fine, and is sent the symbols there.

        `layout` may have other grids than the prior was trained on where the prior allows it. `known` is shaped like
        the indices, -1 where a symbol is not known; known symbols condition the rest and are never yielded. `guidance`
        is the scale of `Guidance`, for sampling; one that is not 1 is refused unless the prior is `guidable`.
        """
