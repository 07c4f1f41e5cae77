"""Classifier-free guidance: from what is likely in general on to what the class makes likely, and beyond."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.nn.precision import at_least_float32
from vqkit.priors.base import Prior


class Guidance:
    """What a walk over `classes` [B] draws from: logits = none + scale (class - none), of a prior that learned both, p
    with and p without the class (Ho & Salimans 2022, https://arxiv.org/abs/2207.12598). At 1 they are the class's own,
    at 0 those of no class; above 1 samples are more typical of the class and differ less.

    Unless the scale is 1 both are computed in one batch of 2B: each sample told its class, then each told none.
    `classes` are those of that batch.

    Raises ValueError where the scale is below 0, and where it is not 1 and the prior is not `guidable` or is told no
    class.
    """

    def __init__(self, scale: float, classes: Tensor, prior: Prior) -> None:
        if not (math.isfinite(scale) and scale >= 0):
            raise ValueError(f"guidance is {scale}; give 1 (as learned), or more for samples more typical of a class")
        if scale != 1:
            if not prior.guidable:
                raise ValueError(
                    f"guidance is {scale} and this prior was not trained both with labels and without; leave guidance "
                    "out, or train one on labelled data with label_dropout above 0 and below 1"
                )
            if bool((classes == prior.layout.classes).any()):
                raise ValueError(f"guidance is {scale} and there is no label to guide to; give one, or leave it out")
        self.scale = scale
        self.classes = classes if scale == 1 else torch.cat([classes, torch.full_like(classes, prior.layout.classes)])

    def both(self, x: Tensor) -> Tensor:
        """What does not depend on the class, [B, ...], for the whole batch."""
        return x if self.scale == 1 else torch.cat([x, x])

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits of the whole batch, finite -> [B, ...], in float32 at least."""
        logits = at_least_float32(logits)
        if self.scale == 1:
            return logits
        told, none = logits.chunk(2)
        return none + self.scale * (told - none)
