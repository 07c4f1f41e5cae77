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

    Scales of the likelihood take no part in training, and are found after it, by `calibrate`. The evidence lower bound
    holds for the nets as they are; trained for it, they could make it tighter. Raises ValueError where the two do not
    read the decoder's outputs alike, and in use where they want other numbers of them.
    """

    def __init__(self, objective: Reconstruction, likelihood: Likelihood) -> None:
        super().__init__()
        if objective.meaning != likelihood.meaning:
            raise ValueError(
                f"{type(objective).__name__} takes the decoder's outputs for {objective.meaning} and "
                f"{type(likelihood).__name__} for {likelihood.meaning}; score by a likelihood that reads them alike"
            )
        self.objective, self.likelihood = objective, likelihood
        trained = set(objective.parameters())
        for parameter in likelihood.parameters():  # without a gradient, for which processes would wait in vain
            parameter.requires_grad_(parameter in trained)

    @property
    def meaning(self) -> str:
        return self.objective.meaning

    def outputs(self, signal: Signal) -> int:
        trained, scored = self.objective.outputs(signal), self.likelihood.outputs(signal)
        if trained != scored:
            raise ValueError(
                f"{type(self.objective).__name__} wants {trained} outputs of the decoder and "
                f"{type(self.likelihood).__name__} {scored}; score by one of as many"
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
