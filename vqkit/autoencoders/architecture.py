"""How an autoencoder comes from a signal: the factory that a recipe names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from copy import deepcopy

from torch import nn

from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.autoencoders.autoregressive import AutoregressiveDecoder, value_layout
from vqkit.autoencoders.class_conditional import ClassConditionalDecoder
from vqkit.autoencoders.decoder import Decoder, FeedForwardDecoder
from vqkit.bottlenecks import Bottleneck
from vqkit.likelihoods import Reconstruction
from vqkit.priors import Prior
from vqkit.signal import Batch, Layout, Signal


class Architecture(ABC):
    """Everything about an autoencoder but the data it is for: call it with the `Signal` of a source."""

    @abstractmethod
    def __call__(self, signal: Signal) -> Autoencoder:
        """A new, untrained autoencoder. Raises ValueError where the signal does not fit."""

    def fit(self, signal: Signal, batches: Callable[[], Iterable[Batch]]) -> Autoencoder | None:
        """The trained autoencoder, where its best weights have a closed form; None where gradients have to find them.
        `batches` starts the stream anew; it has to end."""
        return None


def decoder_of(
    signal: Signal,
    likelihood: Reconstruction,
    dim: int,
    label_dim: int,
    net: Callable[[int, int], nn.Module],
    value_prior: Callable[[Layout], Prior] | None = None,
) -> Decoder:
    """The decoder of z [B, dim, *grid] by `net(inputs, outputs)` and a copy of the likelihood. With a `value_prior` it
    is autoregressive, and that is its mean. It is told the label in `label_dim` channels beside z, if that is not 0.
    Raises ValueError where it is below 0, or the signal has no labels."""
    if label_dim < 0:
        raise ValueError(f"label_dim is {label_dim}; give 0, which tells the decoder no label, or more")
    likelihood = deepcopy(likelihood)
    inputs = dim + label_dim
    decoder: Decoder = FeedForwardDecoder(signal, net(inputs, likelihood.outputs(signal)), likelihood)
    if value_prior is not None:
        prior = value_prior(value_layout(signal))
        channels = max(1, prior.context_channels)  # a prior that takes none is refused by the decoder
        decoder = AutoregressiveDecoder(signal, net(inputs, channels), prior, decoder)
    return ClassConditionalDecoder(decoder, len(signal.labels), label_dim) if label_dim else decoder


def copies(bottleneck: Bottleneck | list[Bottleneck], levels: int) -> list[Bottleneck]:
    """One bottleneck a level, coarse to fine: copies of the only one, or of each in a list, as no two levels and no two
    models share a codebook. Raises ValueError where the list has another length."""
    given = [bottleneck] * levels if isinstance(bottleneck, Bottleneck) else list(bottleneck)
    if len(given) != levels:
        raise ValueError(
            f"there are {len(given)} bottlenecks for {levels} levels; give tokenizer.bottleneck one a level, or one "
            "alone for all of them"
        )
    return [deepcopy(each) for each in given]


def halved(grid: tuple[int, ...], halvings: int) -> tuple[int, ...]:
    """`grid` / 2^halvings. Raises ValueError where that is no grid."""
    if halvings < 0:
        raise ValueError(f"halvings is {halvings}; it must be at least 0")
    if any(n % 2**halvings for n in grid):
        raise ValueError(
            f"a grid of {'x'.join(map(str, grid))} cannot be halved {halvings} times; set modality.size to a multiple "
            f"of {2**halvings}, or lower tokenizer.halvings"
        )
    return tuple(n // 2**halvings for n in grid)
