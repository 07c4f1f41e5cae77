"""p(x) by way of tokens: one walk over both, which a codec takes at both ends without losing anything."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from vqkit.autoencoders import Autoencoder, Convolutional, LosslessPrior
from vqkit.bottlenecks import EMAVectorQuantizer
from vqkit.codec import Codec
from vqkit.likelihoods import Gaussian
from vqkit.priors import PixelCNN, Prior, TransformerPrior, UniformPrior, sample, score
from vqkit.signal import Signal

COLOUR = Signal(2, (4, 8), -1.0, 3.0, 5, ("cat", "dog"))  # levels from -1
X = torch.randint(-1, 4, (3, 2, 4, 8), generator=torch.Generator().manual_seed(0))
SIDE = {"label": torch.tensor([1, 0, 1])}


def tokenizer(halvings: int | list[int] = 1, label_dim: int = 0, signal: Signal = COLOUR) -> Autoencoder:
    torch.manual_seed(0)
    pixels = partial(PixelCNN, width=8, depth=2, context_channels=6)
    codes = EMAVectorQuantizer(4, 8)
    model = Convolutional(codes, Gaussian(), 8, halvings, 1, 4, label_dim=label_dim, value_prior=pixels)(signal)
    return shaken(model)  # type: ignore[return-value]


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """No two symbols are equally likely, as they are at first."""
    for parameter in module.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return module.eval()


def lossless(halvings: int | list[int] = 1, label_dim: int = 0, known: bool = True) -> LosslessPrior:
    model = tokenizer(halvings, label_dim)
    prior: Prior = shaken(TransformerPrior(model.layout(), 8, 1, 2)) if known else UniformPrior(model.layout())  # type: ignore[assignment]
    return LosslessPrior(model, prior)


MEMBERS = pytest.mark.parametrize(("halvings", "label_dim"), [(1, 0), ([2, 1], 0), (1, 2)])


@MEMBERS
def test_its_parts_are_those_of_the_tokens_and_of_the_decoder(halvings: int | list[int], label_dim: int) -> None:
    prior = lossless(halvings, label_dim)
    tokens = prior.tokenizer.encode(X)
    indices = prior.indices(X, tokens)
    assert torch.equal(prior.x(indices), X)
    *of_tokens, of_values = prior.log_prob(indices, SIDE)
    for ours, theirs in zip(of_tokens, prior.prior.log_prob(tokens, SIDE), strict=True):
        torch.testing.assert_close(ours, theirs)
    _, z = prior.tokenizer.posterior(X)
    torch.testing.assert_close(-of_values.flatten(1).sum(1), prior.tokenizer.nll(X, z, SIDE))


@MEMBERS
def test_the_walk_has_the_probabilities_of_one_pass(halvings: int | list[int], label_dim: int) -> None:
    prior = lossless(halvings, label_dim)
    indices = prior.indices(X, prior.tokenizer.encode(X))
    for walked, at_once in zip(score(prior, indices, SIDE), prior.log_prob(indices, SIDE), strict=True):
        torch.testing.assert_close(walked, at_once, atol=1e-4, rtol=0)


@MEMBERS
@pytest.mark.parametrize("known", [True, False])
def test_a_codec_gives_the_data_back_to_the_bit(halvings: int | list[int], label_dim: int, known: bool) -> None:
    prior = lossless(halvings, label_dim, known)
    codec, indices = Codec(prior), prior.indices(X, prior.tokenizer.encode(X))
    coded = tuple(torch.ones_like(level, dtype=torch.bool) for level in indices)
    chunk = codec.encode(indices, coded, SIDE)
    assert torch.equal(prior.x(codec.decode(chunk, coded, SIDE)), X)
    nats = -sum(float(level.sum()) for level in prior.log_prob(indices, SIDE))
    assert len(chunk.payload) * 8 == pytest.approx(nats / 0.6931, rel=0.02)


def test_what_is_known_is_kept() -> None:
    prior = lossless()
    indices = prior.indices(X, prior.tokenizer.encode(X))
    known = (*indices[:-1], indices[-1].clone())
    known[-1][..., 2:, :] = -1
    drawn = sample(prior, prior.layout, 3, SIDE, known=known, generator=torch.Generator().manual_seed(0))
    assert torch.equal(drawn[0], indices[0]) and torch.equal(drawn[-1][..., :2, :], indices[-1][..., :2, :])
    assert not torch.equal(drawn[-1], indices[-1])


def test_a_decoder_that_predicts_all_at_once_is_refused() -> None:
    model = Convolutional(EMAVectorQuantizer(4, 8), Gaussian(), 8, 1, 1, 4)(COLOUR)
    with pytest.raises(ValueError, match=r"predicts all values at once, .* train with tokenizer\.value_prior"):
        LosslessPrior(model, UniformPrior(model.layout()))


def test_a_prior_over_other_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="take that of their run"):
        LosslessPrior(tokenizer(), UniformPrior(tokenizer([2, 1]).layout()))
