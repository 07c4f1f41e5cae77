"""p(x | z) value by value: a prior over the data's levels scores and draws, and reconstructions are read off z."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn

from vqkit import checkpoint
from vqkit.autoencoders import (
    Autoencoder,
    AutoregressiveDecoder,
    ClassConditionalDecoder,
    Convolutional,
    FeedForwardDecoder,
)
from vqkit.autoencoders.autoregressive import value_layout
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, GaussianBottleneck
from vqkit.likelihoods import Gaussian
from vqkit.nn import ConvDecoder
from vqkit.priors import PixelCNN, Prior, TransformerPrior, WaveNet
from vqkit.signal import Batch, Layout, Signal
from vqkit.training.objectives import TokenizerObjective

COLOUR = Signal(2, (4, 4), -1.0, 3.0, 5, ("cat", "dog"))  # levels from -1
X = torch.randint(-1, 4, (3, 2, 4, 4), generator=torch.Generator().manual_seed(0))
SIDE = {"label": torch.tensor([1, 0, 1])}


def shaken(decoder: nn.Module) -> nn.Module:
    """Weights under which every symbol has its own probability, as those of a new prior's outputs are 0."""
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return decoder


def decoder_of(
    signal: Signal, dropout: float = 0.0, kind: type[PixelCNN | WaveNet] = PixelCNN
) -> AutoregressiveDecoder:
    torch.manual_seed(0)
    dims = len(signal.grid)
    net, mean = (ConvDecoder(3, outputs, 4, 0, dims=dims) for outputs in (6, signal.channels))
    prior = kind(value_layout(signal), 8, 2, context_channels=6, dropout=dropout)
    decoder = AutoregressiveDecoder(signal, net, prior, FeedForwardDecoder(signal, mean, Gaussian()))
    return shaken(decoder)  # type: ignore[return-value]


def autoencoder(
    bottleneck: Bottleneck, signal: Signal = COLOUR, label_dim: int = 0, dropout: float = 0.0
) -> Autoencoder:
    torch.manual_seed(0)
    pixels = partial(PixelCNN, width=8, depth=2, context_channels=6, dropout=dropout)
    model = Convolutional(bottleneck, Gaussian(), 8, 1, 1, 4, label_dim=label_dim, value_prior=pixels)(signal)
    return shaken(model)  # type: ignore[return-value]


@pytest.mark.parametrize(
    "signal",
    [Signal(1, (3,), 0.0, 2.0, 3), Signal(2, (1, 2), -1.0, 1.0, 3), Signal(1, (2, 1, 2), 5.0, 7.0, 3)],
    ids=lambda signal: f"{len(signal.grid)}d",
)
@pytest.mark.parametrize("kind", [PixelCNN, WaveNet])
@torch.no_grad()
def test_the_probabilities_of_all_samples_sum_to_one(signal: Signal, kind: type[PixelCNN | WaveNet]) -> None:
    decoder, low = decoder_of(signal, kind=kind), int(signal.low)
    x = torch.tensor(list(product(range(low, low + 3), repeat=signal.dims))).view(-1, signal.channels, *signal.grid)
    for z in torch.randn(2, 3, *signal.grid):
        p = (-decoder.nll(x, z.expand(len(x), *z.shape), {}).double()).exp()
        assert float(p.sum()) == pytest.approx(1, abs=1e-5) and float(p.max()) > 1.5 * float(p.median())


@torch.no_grad()
def test_samples_occur_as_often_as_the_likelihood_says() -> None:
    signal = Signal(1, (2,), -1.0, 1.0, 3)
    decoder, z = decoder_of(signal), torch.randn(1, 3, 2).expand(4000, -1, -1)
    drawn = decoder.sample(z, {}, torch.Generator().manual_seed(0))
    for x in product((-1, 0, 1), repeat=2):
        p = float((-decoder.nll(torch.tensor([[x]]), z[:1], {})).exp())
        share = float((drawn == torch.tensor([x])).all(2).float().mean())
        assert share == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 4000))


def test_samples_are_native_and_repeated_by_a_seed() -> None:
    decoder, z = decoder_of(COLOUR), torch.randn(3, 3, 4, 4)
    one, again, other = (decoder.sample(z, {}, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == X.shape and int(one.min()) == -1 and int(one.max()) == 3
    greys = decoder_of(Signal(1, (4, 4), 0.0, 255.0, 256))
    assert greys.sample(z, {}).dtype == torch.uint8


def test_z_learns_from_the_likelihood_alone_and_the_mean_from_its_own_loss() -> None:
    decoder, z = decoder_of(COLOUR), torch.randn(3, 3, 4, 4, requires_grad=True)
    parameters = list(decoder.parameters())
    gradients = torch.autograd.grad(decoder.loss(X, z, {}) + decoder.mean_loss(X, z, {}), [z, *parameters])
    nats = decoder.nll(X, z, {}).mean() / COLOUR.dims
    of_nats = torch.autograd.grad(nats, [z, *parameters], allow_unused=True, materialize_grads=True)
    of_mean = torch.autograd.grad(
        decoder.mean.loss(X, z, {}), [z, *parameters], allow_unused=True, materialize_grads=True
    )
    torch.testing.assert_close(gradients[0], of_nats[0])
    assert float(of_mean[0].abs().max()) > 1e-3  # what the mean would have z learn
    for gradient, one, other in zip(gradients[1:], of_nats[1:], of_mean[1:], strict=True):
        torch.testing.assert_close(gradient, one + other)
        assert not (one.any() and other.any())


def test_a_reconstruction_is_the_mean_that_is_read_off_z() -> None:
    decoder, z = decoder_of(COLOUR), torch.randn(3, 3, 4, 4)
    assert torch.equal(decoder.reconstruct(z, {}), decoder.mean.reconstruct(z, {}))


@pytest.mark.parametrize(
    "make", [partial(GaussianBottleneck, 4), partial(EMAVectorQuantizer, 4, 16)], ids=["Gaussian", "EMA"]
)
@pytest.mark.parametrize("label_dim", [0, 2])
def test_an_autoencoder_learns_scores_and_is_saved(
    make: Callable[[], Bottleneck], label_dim: int, tmp_path: Path
) -> None:
    model = autoencoder(make(), label_dim=label_dim)
    assert isinstance(model.decoder, ClassConditionalDecoder if label_dim else AutoregressiveDecoder)
    loss, logs = TokenizerObjective(model)(Batch(X, None, SIDE, list("abc")))
    torch.testing.assert_close(loss.detach(), sum(logs[name] for name in ("decoder_loss", "mean_loss", "latent_loss")))
    loss.backward()
    assert all(
        p.grad is not None and bool(p.grad.any()) for p in [*model.encoder.parameters(), *model.decoder.parameters()]
    )
    _, z = model.posterior(X)
    nll = model.nll(X, z, SIDE)
    assert bool(((model.nll(X, z.roll(1, 0), SIDE) - nll).abs() > 1e-3).any())  # the decoder sees z
    if label_dim:
        assert not torch.equal(model.nll(X, z, {"label": 1 - SIDE["label"]}), nll)
    checkpoint.save(model, tmp_path / "model")
    again = checkpoint.load(tmp_path / "model", Autoencoder)
    assert torch.equal(again.nll(X, z, SIDE), nll)
    assert torch.equal(again.reconstruct(X, SIDE), model.reconstruct(X, SIDE))


def test_outputs_are_dropped_in_training_alone() -> None:
    model, batch = autoencoder(EMAVectorQuantizer(4, 16), dropout=0.5), Batch(X, None, SIDE, list("abc"))
    _, z = model.posterior(X)
    assert model(batch).decoder_loss != model(batch).decoder_loss
    assert torch.equal(model.nll(X, z), model.nll(X, z))
    model.eval()
    assert model(batch).decoder_loss == model(batch).decoder_loss


def test_a_transformer_over_pixels_is_told_z_and_counts_its_updates() -> None:
    torch.manual_seed(0)
    pixels = partial(TransformerPrior, width=16, depth=1, heads=2, context_channels=6, random_order_updates=4)
    made = Convolutional(EMAVectorQuantizer(4, 16), Gaussian(), 8, 1, 1, 4, label_dim=2, value_prior=pixels)(COLOUR)
    model = shaken(made)
    for _ in range(3):
        model(Batch(X, None, SIDE, list("abc"))).loss.backward()
        model.update()
    assert [int(value) for name, value in model.state_dict().items() if name.endswith("prior.order.done")] == [3]
    _, z = model.eval().posterior(X)
    assert bool(((model.nll(X, z.roll(1, 0), SIDE) - model.nll(X, z, SIDE)).abs() > 1e-3).all())


def test_what_it_cannot_score_is_refused() -> None:
    decoder, z = decoder_of(COLOUR), torch.randn(3, 3, 4, 4)
    for score in (decoder.loss, decoder.nll):
        with pytest.raises(ValueError, match="cannot score floats; give it the native integers"):
            score(X.float(), z, {})
        with pytest.raises(ValueError, match="whole samples; cut the source into windows"):
            score(X, z, {}, torch.ones(3, 4, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match="these data are floats; leave value_prior out"):
        autoencoder(GaussianBottleneck(4), COLOUR._replace(levels=None))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (partial(TransformerPrior, width=16, depth=1, heads=2), "TransformerPrior without a context would not know z"),
        (partial(PixelCNN, width=8, depth=1), "set value_prior.context_channels"),
        (
            lambda layout: PixelCNN(Layout(layout.grids, ((5,),)), 8, 1, context_channels=6),
            "the prior is over .*; make it",
        ),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(make: partial[Prior], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Convolutional(GaussianBottleneck(4), Gaussian(), 8, 1, 1, 4, value_prior=make)(COLOUR)


def test_the_values_of_a_signal_are_a_level_of_indices() -> None:
    assert value_layout(COLOUR) == Layout(((4, 4),), ((5, 5),), 0)


def test_new_samples_are_drawn_and_reconstructions_are_not() -> None:
    vq, vae = autoencoder(EMAVectorQuantizer(4, 16)), autoencoder(GaussianBottleneck(4))
    indices = vq.encode(X)
    z = vq.quantizers[0].lookup(indices[0])
    drawn = vq.render(indices, {}, torch.Generator().manual_seed(0))
    assert torch.equal(drawn, vq.decoder.sample(z, {}, torch.Generator().manual_seed(0)))
    assert torch.equal(vq.decode(indices), vq.decoder.reconstruct(z, {}))
    assert not vae.sample(3, {}, torch.Generator().manual_seed(0)).is_floating_point()
    told = autoencoder(EMAVectorQuantizer(4, 16), label_dim=2)
    assert not told.render(indices, SIDE).is_floating_point()
    independent = Convolutional(EMAVectorQuantizer(4, 16), Gaussian(), 8, 1, 1, 4)(COLOUR)
    assert torch.equal(independent.render(indices), independent.decode(indices))
