"""Trained by one thing, scored by another."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.likelihoods.base import Likelihood, Reconstruction
from vqkit.signal import Signal


class Scored(Reconstruction):
    """`objective` trains the decoder and reads x_hat off its outputs; `likelihood` says what x costs given the same
    outputs, and samples. So a squared error of fixed weight, or a distortion, has an honest likelihood beside it, which
    no gradient of the nets knows.

    Scales of the likelihood are found after training, by `calibrate`. The evidence lower bound holds for the nets as
    they are; trained for it, they could make it tighter. Raises ValueError in use where the two want other outputs of
    the decoder.
    """

    def __init__(self, objective: Reconstruction, likelihood: Likelihood) -> None:
        super().__init__()
        self.objective, self.likelihood = objective, likelihood

    def outputs(self, signal: Signal) -> int:
        trained, scored = self.objective.outputs(signal), self.likelihood.outputs(signal)
        if trained != scored:
            raise ValueError(
                f"{type(self.objective).__name__} wants {trained} outputs of the decoder and "
                f"{type(self.likelihood).__name__} {scored}; score by a likelihood of as many"
            )
        return trained

    def loss(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        return self.objective.loss(parameters, x, signal)

    def reconstruct(self, parameters: Tensor, signal: Signal) -> Tensor:
        return self.objective.reconstruct(parameters, signal)

    def nll(self, parameters: Tensor, x: Tensor, signal: Signal) -> Tensor:
        return self.likelihood.nll(parameters, x, signal)

    def sample(self, parameters: Tensor, signal: Signal, generator: torch.Generator | None = None) -> Tensor:
        return self.likelihood.sample(parameters, signal, generator)

    def calibrate(self, parameters: Tensor, x: Tensor, signal: Signal) -> None:
        self.likelihood.calibrate(parameters, x, signal)
