"""How a classifier is trained: the same way, and for as long, whatever the pictures are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.data import shuffled
from vqkit.features.classifier import Classifier
from vqkit.progress import Progress
from vqkit.signal import Signal

_BATCH, _RATE, _DECAY = 128, 2e-3, 0.05


class Labelled(NamedTuple):
    """x [N, C, *grid] in native values, with a label [N] int64 each."""

    x: Tensor
    label: Tensor


class _Shelf:
    """`Labelled` as batches are taken of it."""

    def __init__(self, samples: Labelled) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples.label)

    def read(self, rows: Sequence[int]) -> Labelled:
        chosen = torch.as_tensor(rows)
        return Labelled(self.samples.x[chosen], self.samples.label[chosen])


def train_classifier(
    samples: Labelled,
    signal: Signal,
    steps: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    bar: bool | None = None,
    name: str = "classifier",
) -> Classifier:
    """A `Classifier` after `steps` steps of 128 samples: AdamW on cross-entropy, with a learning rate that rises to
    2e-3 over a tenth of them and falls to zero by a cosine. It is in eval mode and, on one device, a function of the
    samples and the seed alone. A core trains on about 2,000 samples of 28x28 a second.

    Raises ValueError where there are no samples, or not a label for each.
    """
    if not len(samples.x) or samples.label.shape != samples.x.shape[:1]:
        raise ValueError(
            f"there are {len(samples.x)} samples and labels {list(samples.label.shape)}; give one label a sample"
        )
    with torch.random.fork_rng(devices=[]):  # the weights are drawn on the CPU
        torch.manual_seed(seed)
        classifier = Classifier(signal).to(device)
    if len(signal.grid) == 2:
        classifier = classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(classifier.parameters(), _RATE, weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, 10 * (step + 1) / steps) * (1 + math.cos(math.pi * step / steps)) / 2
    )
    with Progress(name, steps, "step", bar) as progress:
        for _, batch in zip(range(steps), shuffled(_Shelf(samples), _BATCH, seed), strict=False):
            loss = F.cross_entropy(classifier(batch.x.to(device)), batch.label.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress.advance()
    return classifier.eval()
