"""p(x | z): what a decoder of any kind answers, and the feed-forward one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from vqkit.likelihoods import Reconstruction
from vqkit.nn import Reach, reach_of
from vqkit.priors import Prior
from vqkit.signal import Side, Signal


class Decoder(nn.Module, ABC):
    """p(x | z). x [B, C, *grid] is in native values, z [B, D, *grid] what the levels merged to."""

    classes: int = 0
    """Of the label that it must be told: p(x | z, label). 0: it is told none."""

    @property
    @abstractmethod
    def reach(self) -> Reach:
        """How far `reconstruct` sees in z. Raises ValueError where it takes z of one grid alone."""

    @abstractmethod
    def loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        """What training minimises: a scalar, nats per data dimension up to a constant."""

    def mean_loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor | None:
        """The loss of a `reconstruct` that is trained beside p(x | z), a scalar without a gradient for z; None where
        `reconstruct` is the mean of p(x | z) itself."""
        return None

    @abstractmethod
    def nll(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        """-log p(x | z), [B] nats. Raises ValueError where there is no likelihood of such data."""

    @abstractmethod
    def reconstruct(self, z: Tensor, side: Side) -> Tensor:
        """x_hat in native values as float32, [B, C, *grid]: the mean, before rounding."""

    @abstractmethod
    def sample(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        """x ~ p(x | z), native values."""

    @property
    def value_prior(self) -> Prior:
        """The prior over the data's own integers that p(x | z) is, given `value_context`. Raises ValueError where it is
        none."""
        raise self._all_at_once()

    def value_context(self, z: Tensor, side: Side) -> Tensor:
        """What that prior is told of z, its context [B, C, *grid]. Raises like `value_prior`."""
        raise self._all_at_once()

    def _all_at_once(self) -> ValueError:
        return ValueError(
            f"a {type(self).__name__} predicts all values at once, so no data can be coded by it without loss; train "
            "with tokenizer.value_prior, as the recipe fashion-mnist-pixelcnn does"
        )

    def calibrate(self, x: Tensor, z: Tensor, side: Side) -> None:
        """Sets what the likelihood learns beside the nets, such as a scale, to what fits these samples best."""
        return None

    def update(self) -> None:
        """State changes of training, once an optimizer step."""
        return None

    def render(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        """What z looks like as a new sample, native values: the mean, as all that a draw of independent values adds to
        it is noise."""
        return self.reconstruct(z, side)


class FeedForwardDecoder(Decoder):
    """One pass of `net` gives the parameters of a `likelihood` of each position, or of a distortion: net(z) is
    [B, likelihood.outputs, *grid]."""

    def __init__(self, signal: Signal, net: nn.Module, likelihood: Reconstruction) -> None:
        super().__init__()
        self.signal, self.net, self.likelihood = signal, net, likelihood

    @property
    def reach(self) -> Reach:
        return reach_of(self.net)

    def loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        per_element = self.likelihood.loss(self.net(z), x, self.signal)
        if mask is None:
            return per_element.mean()
        return (per_element * mask.unsqueeze(1)).sum() / (mask.sum() * x.shape[1]).clamp_min(1)

    def nll(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        per_element = self.likelihood.nll(self.net(z), x, self.signal)
        if mask is not None:
            per_element = per_element * mask.unsqueeze(1)
        return per_element.flatten(1).sum(1)

    def reconstruct(self, z: Tensor, side: Side) -> Tensor:
        return self.likelihood.reconstruct(self.net(z), self.signal)

    def sample(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        return self.likelihood.sample(self.net(z), self.signal, generator)

    def calibrate(self, x: Tensor, z: Tensor, side: Side) -> None:
        self.likelihood.calibrate(self.net(z), x, self.signal)
