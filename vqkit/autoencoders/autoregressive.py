"""p(x | z) value by value: a prior over the data's own levels, given z."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.autoencoders.decoder import Decoder
from vqkit.nn import Reach
from vqkit.priors import Prior, sample
from vqkit.signal import Layout, Side, Signal


def value_layout(signal: Signal) -> Layout:
    """The native integers of a sample as indices: one level on the data's own grid, a codebook of `signal.levels` for
    each channel, and no classes. Raises ValueError where the data are floats."""
    if signal.levels is None:
        raise ValueError(
            "an autoregressive decoder predicts integer levels and these data are floats; leave value_prior out, or "
            "name a source of integers"
        )
    return Layout((signal.grid,), ((signal.levels,) * signal.channels,))


class AutoregressiveDecoder(Decoder):
    """p(x | z) = the product of p(x_t | x_<t, z) over the values of a sample, in the order of `prior`, whose context is
    net(z) (van den Oord et al. 2016, https://arxiv.org/abs/1606.05328). It scores and draws textures that no decoder of
    independent values can; one that is strong enough to do without z is where a VAE's posterior collapses (Chen et al.
    2016, https://arxiv.org/abs/1611.02731).

    It has no mean in closed form, and each draw makes up what z leaves open. So `reconstruct` is what `mean` reads off
    the same z: a decoder that is trained beside, by its own loss and without a gradient to z. By squared error it
    learns E[x | z], and its error says how much of x is in z alone; `sample` draws from p(x | z).

    Args:
        signal: of the data, integers.
        net: z [B, D, *grid of z] to the context, [B, prior.context_channels, *grid of x].
        prior: over `value_layout(signal)`, such as a PixelCNN.
        mean: for the same z.

    Raises:
        ValueError: the data are floats, or the prior is one over something else or takes no context; in use, x holds
            floats, or samples are padded.
    """

    def __init__(self, signal: Signal, net: nn.Module, prior: Prior, mean: Decoder) -> None:
        super().__init__()
        if prior.layout != value_layout(signal):
            raise ValueError(
                f"the prior is over {prior.layout} and the data are {value_layout(signal)}; make it for the latter"
            )
        if not prior.context_channels:
            raise ValueError(
                f"a {type(prior).__name__} without a context would not know z; set value_prior.context_channels to the "
                "width of the nets, such as 64, of a prior that takes one, such as PixelCNN"
            )
        self.signal, self.net, self.prior, self.mean = signal, net, prior, mean

    @property
    def reach(self) -> Reach:
        return self.mean.reach

    def loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        """The prior's own, such as its nats a value."""
        return self.prior.loss(self._indices(x, mask), side, self.net(z))

    def mean_loss(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        return self.mean.loss(x, z.detach(), side, mask)

    def nll(self, x: Tensor, z: Tensor, side: Side, mask: Tensor | None = None) -> Tensor:
        (nats,) = self.prior.log_prob(self._indices(x, mask), side, self.net(z))
        return -nats.flatten(1).sum(1)

    def reconstruct(self, z: Tensor, side: Side) -> Tensor:
        return self.mean.reconstruct(z, side)

    def sample(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        layout, context = self.prior.layout, self.net(z)
        (drawn,) = sample(self.prior, layout, len(z), side, context=context, generator=generator)
        return self.signal.to_native(drawn + int(self.signal.low))

    @property
    def value_prior(self) -> Prior:
        return self.prior

    def value_context(self, z: Tensor, side: Side) -> Tensor:
        context: Tensor = self.net(z)
        return context

    def update(self) -> None:
        self.prior.update()

    def render(self, z: Tensor, side: Side, generator: torch.Generator | None = None) -> Tensor:
        """A draw: its values fit each other, so what it adds to the mean is texture."""
        return self.sample(z, side, generator)

    def _indices(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor]:
        if x.is_floating_point():
            raise ValueError("an autoregressive decoder cannot score floats; give it the native integers")
        if mask is not None:
            raise ValueError(
                "an autoregressive decoder takes whole samples; cut the source into windows that need no padding"
            )
        return (x.long() - int(self.signal.low),)
