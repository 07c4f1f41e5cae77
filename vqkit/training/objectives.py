"""What a stage minimises and what it shows while it does: one class for each thing that is trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.autoencoders import Autoencoder, Output
from vqkit.priors import Prior
from vqkit.priors.inputs import device_of
from vqkit.signal import Batch
from vqkit.tokens import Tokens


class Objective(nn.Module, ABC):
    """A model and the loss it is trained by."""

    model: nn.Module

    @abstractmethod
    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar loss of a training batch, and detached scalars to log."""

    @abstractmethod
    def validate(self, batches: Iterable[Any]) -> dict[str, float]:
        """Numbers over held-out batches, in eval mode."""

    def update(self) -> None:
        """State changes, once an optimizer step."""
        return None


class TokenizerObjective(Objective):
    """decoder.loss + latent.loss of an autoencoder, and the loss of a mean that its decoder has beside."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model: Autoencoder = model

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.model(batch)
        return output.loss, logs_of(output)

    @torch.no_grad()
    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """`mse`: mean squared error on the [0, 1] scale."""
        squared, count = 0.0, 0
        span = self.model.signal.high - self.model.signal.low
        device = next(self.model.parameters()).device
        for batch in batches:
            x, side = batch.x.to(device), {name: fact.to(device) for name, fact in batch.side.items()}
            x_hat = self.model.reconstruct(x, side, None if batch.mask is None else batch.mask.to(device))
            squared += float(((x_hat - x.float()) / span).square().sum())
            count += x_hat.numel()
        return {"mse": squared / count}

    def update(self) -> None:
        self.model.update()


def logs_of(output: Output) -> dict[str, Tensor]:
    """The parts of an autoencoder's loss, and what its bottlenecks tell, numbered where there are several levels."""
    logs = {"decoder_loss": output.decoder_loss.detach(), "latent_loss": output.latent_loss.detach()}
    if output.mean_loss is not None:
        logs["mean_loss"] = output.mean_loss.detach()
    several = len(output.latents) > 1
    for number, latent in enumerate(output.latents):
        logs |= {f"{name}_{number}" if several else name: value for name, value in latent.stats.items()}
    return logs


class PriorObjective(Objective):
    """A prior's own objective over tokens."""

    def __init__(self, model: Prior) -> None:
        super().__init__()
        self.model: Prior = model

    def forward(self, batch: Tokens) -> tuple[Tensor, dict[str, Tensor]]:
        return self.model.loss(batch.indices, batch.side), {}

    @torch.no_grad()
    def validate(self, batches: Iterable[Tokens]) -> dict[str, float]:
        """`nats_per_token` = -log p(indices | side) over the number of tokens."""
        nats, count = 0.0, 0
        was_training = self.model.training
        self.model.eval()
        device = device_of(self.model)
        for batch in batches:
            side = {name: fact.to(device) for name, fact in batch.side.items()}
            for level in self.model.log_prob(tuple(level.to(device) for level in batch.indices), side):
                nats -= float(level.double().sum())
                count += level.numel()
        self.model.train(was_training)
        return {"nats_per_token": nats / count}

    def update(self) -> None:
        self.model.update()
