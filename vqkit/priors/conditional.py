"""What all priors share that are told a label and a context, and learn by gradients."""

from __future__ import annotations

from abc import ABC

from torch import Tensor

from vqkit.priors.base import Prior
from vqkit.priors.inputs import check_layout, check_shares, classes_of, device_of, hide
from vqkit.signal import Layout, Side


class ConditionalPrior(Prior, ABC):
    """p(indices | label, context).

    Where `layout.classes` is above 0 it is conditional on the `label` of `side`; in training a share `label_dropout` of
    the labels is hidden, so that p(indices) without a label is learned too, as classifier-free guidance needs it
    (https://arxiv.org/abs/2207.12598). Then `log_prob` and `walk` take a `side` without a label to mean that; where the
    share is 0 they refuse it, and where it is 1 labels mean nothing and need not be there, as in a codec of data whose
    labels a reader does not have.

    Where `context_channels` C is above 0 it is conditional on a `context` [B, C, *any grid], which is brought to each
    level's grid by means over areas or by linear interpolation (`Context`).

    `dropout` is the share of what is inside that a member drops in training. Raises ValueError where a share is none.
    """

    def __init__(self, layout: Layout, dropout: float, label_dropout: float, context_channels: int = 0) -> None:
        super().__init__()
        check_shares(dropout=dropout, label_dropout=label_dropout)
        self.layout, self.context_channels = check_layout(layout), context_channels
        self.dropout, self.label_dropout = dropout, label_dropout

    @property
    def guidable(self) -> bool:
        return self.knows_classes and self.label_dropout > 0

    @property
    def knows_classes(self) -> bool:
        return self.layout.classes > 0 and self.label_dropout < 1

    def classes_of(self, side: Side, batch: int) -> Tensor:
        """The class [B] of each sample; that there is none is refused where it was not learned."""
        return self._classes_of(side, batch, optional=self.label_dropout > 0)

    def training_classes_of(self, side: Side, batch: int) -> Tensor:
        """As `loss` takes them: each sample must have a label where labels are learned, and in training mode some are
        hidden."""
        classes = self._classes_of(side, batch, optional=not self.knows_classes)
        return hide(classes, self.layout, self.label_dropout) if self.training else classes

    def _classes_of(self, side: Side, batch: int, optional: bool) -> Tensor:
        return classes_of(side if self.knows_classes else {}, self.layout, batch, device_of(self), optional)
