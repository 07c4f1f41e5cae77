"""The moving average of the weights that a run keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vqkit.bottlenecks.codebook import Codebook


class WeightAverage:
    """An exponential moving average of a model's parameters, which trails the training by about 1 / (1 - decay) steps
    (Polyak and Juditsky 1992). The decay grows over the first steps, so that the initial weights leave no trace.

    Buffers and codebooks stay as they are: the mean of a revived code and of the dead one it replaced would be no valid
    code, and a codebook that is a moving average already need not be averaged again.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        codebooks = {id(module.vectors) for module in model.modules() if isinstance(module, Codebook)}
        self.live = [p for p in model.parameters() if id(p) not in codebooks]
        self.mean = [t.detach().clone() for t in self.live]

    @torch.no_grad()
    def update(self) -> None:
        """Once an optimizer step."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        torch._foreach_lerp_(self.mean, [t.detach() for t in self.live], 1 - decay)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """The model has the mean from now on."""
        for tensor, mean in zip(self.live, self.mean, strict=True):
            tensor.copy_(mean)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean inside the block, and its own weights again after it."""
        own = [t.detach().clone() for t in self.live]
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, before in zip(self.live, own, strict=True):
                    tensor.copy_(before)

    def state_dict(self) -> dict[str, int | list[Tensor]]:
        return {"steps": self.steps, "mean": self.mean}

    def load_state_dict(self, state: dict[str, int | list[Tensor]]) -> None:
        self.steps = int(state["steps"])  # type: ignore[arg-type]
        for mean, saved in zip(self.mean, state["mean"], strict=True):  # type: ignore[arg-type]
            mean.copy_(saved)
