"""A small convolutional network that tells classes apart, and how often it is right."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqkit.nn import ConvEncoder
from vqkit.signal import Batch, Signal, labels

_POSITIONS = 64  # at most, after the strided convolutions


class Classifier(nn.Module):
    """log p(label | x) but for a constant: x [B, C, *grid] in native values -> logits [B, classes].

    Strided convolutions until 64 positions or fewer are left, residual layers, and one affine map of all that is there
    then. Raises ValueError where the signal has fewer than two classes.
    """

    def __init__(self, signal: Signal, width: int = 64) -> None:
        super().__init__()
        if len(signal.labels) < 2:
            raise ValueError(f"there are {len(signal.labels)} classes; a classifier needs data of two or more")
        self.signal, self.width = signal, width
        grid, halvings = signal.grid, 0
        while math.prod(grid) > _POSITIONS and min(grid) > 1:
            grid, halvings = tuple(n // 2 for n in grid), halvings + 1
        self.encoder = ConvEncoder(signal.channels, width, halvings, dims=len(grid))
        self.head = nn.Linear(width * math.prod(grid), len(signal.labels))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(self.signal.normalise(x)).flatten(1))
        return logits


class Accuracy(NamedTuple):
    """Shares from 0 to 1 of so many `samples`: their label is the likeliest, or among the five likeliest."""

    top_1: float
    top_5: float
    samples: int


@torch.no_grad()
def accuracy(classifier: Classifier, batches: Iterable[Batch]) -> Accuracy:
    """How often the classifier is right. Raises ValueError where there are no samples, or one has no label."""
    device = next(classifier.parameters()).device
    right_1 = right_5 = samples = 0
    for batch in batches:
        logits = classifier(batch.x.to(device))
        label = labels(batch.side, logits.shape[1], len(logits), device)
        hits = logits.argsort(1, descending=True) == label[:, None]
        right_1 += int(hits[:, 0].sum())
        right_5 += int(hits[:, :5].sum())
        samples += len(logits)
    if not samples:
        raise ValueError("there is nothing to classify; give at least one sample")
    return Accuracy(right_1 / samples, right_5 / samples, samples)
