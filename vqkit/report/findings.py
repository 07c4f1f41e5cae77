"""What a run found: everything that the page tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation import Neighbours
from vqkit.signal import Indices, Layout


class Generation(NamedTuple):
    """What was drawn from the prior.

    `samples` are uint8 [M, C, H, W], with M `labels`, none where the prior was asked for nothing. `choices` maps how it
    was drawn, such as "temperature 0.7", to uint8 [n, C, H, W], with the same seed and the first n labels; none where
    there is nothing to choose. `neighbours` are the train pictures nearest to the first of the samples.
    """

    samples: Tensor
    labels: Sequence[str]
    choices: Mapping[str, Tensor]
    neighbours: Neighbours


class Findings(NamedTuple):
    """Everything that the page tells.

    `command` repeats the run. `evaluation` maps "train" and "validation" to what `evaluate` returned, and perhaps
    "generation" to what was measured of samples. `originals` are uint8 [N, C, H, W], and `reconstructions` those of the
    same shape from so many levels, coarse to fine, the last from all of them. `indices` are of the originals; a model
    without tokens has none, and a layout without levels. `generation` is None where there is no prior to draw from.
    `token_counts` has an int64 [Q, K] a level, of held-out tokens. `metrics` maps "tokenizer", "joint" and "prior" to
    the rows of their logs, with a column `step`. `facts` are told as they are, such as hardware, seconds and versions.
    """

    title: str
    config_yaml: str
    command: str
    evaluation: Mapping[str, Mapping[str, Any]]
    originals: Tensor
    reconstructions: Mapping[int, Tensor]
    indices: Indices
    generation: Generation | None
    layout: Layout
    token_counts: Sequence[Tensor]
    metrics: Mapping[str, Sequence[Mapping[str, Any]]]
    facts: Mapping[str, str]

    def check(self) -> None:
        """Raises ValueError where the pictures are not uint8 [N, C, H, W], or not alike."""
        pictures = {"originals": self.originals}
        pictures |= {f"reconstructions from {n} levels": x_hat for n, x_hat in self.reconstructions.items()}
        if self.generation is not None:
            pictures["samples"] = self.generation.samples
            pictures["neighbours"] = self.generation.neighbours.x.flatten(0, 1)
            pictures |= {f"samples at {name}": x for name, x in self.generation.choices.items()}
        for name, x in pictures.items():
            if x.dtype != torch.uint8 or x.ndim != 4:
                kind = str(x.dtype).removeprefix("torch.")
                raise ValueError(f"{name} are {kind} {list(x.shape)}; the report takes uint8 [N, C, H, W]")
        if any(self.originals.shape != x_hat.shape for x_hat in self.reconstructions.values()):
            raise ValueError("originals and reconstructions differ in shape; give the same pictures in the same order")
