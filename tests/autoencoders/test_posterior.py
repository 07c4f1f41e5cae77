"""What an autoencoder draws: z from its posterior, and x from the training prior."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, GaussianBottleneck, Identity
from vqkit.likelihoods import Categorical
from vqkit.signal import Signal

SIGNAL = Signal(1, (8, 8), 0.0, 255.0, 256)
X = torch.randint(0, 256, (3, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()


def model(bottleneck: Bottleneck) -> Autoencoder:
    torch.manual_seed(0)
    return Convolutional(bottleneck, Categorical(), 8, 1, 1, 4)(SIGNAL)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("training", [True, False])
def test_a_gaussian_posterior_is_drawn_from_by_seed(training: bool) -> None:
    vae = model(GaussianBottleneck(4)).train(training)
    (latent,), z = vae.posterior(X, generator=seeded(1))
    assert torch.equal(z, latent.z) and not z.requires_grad and vae.training is training
    assert torch.equal(z, vae.posterior(X, generator=seeded(1))[1])
    (mean,), (other,) = vae.latents(X), vae.posterior(X, generator=seeded(2))[0]
    assert not torch.equal(z, mean.z) and not torch.equal(z, other.z)
    assert torch.equal(latent.kl, mean.kl)  # analytic, so it does not depend on the draw
    assert int(vae.bottlenecks[0].get_buffer("updates")) == 0


@pytest.mark.parametrize("make", [partial(Identity, 4), partial(EMAVectorQuantizer, 4, 16)], ids=["Identity", "EMA"])
def test_a_point_is_its_own_draw(make: Callable[[], Bottleneck]) -> None:
    tokenizer = model(make())
    (latent,), z = tokenizer.posterior(X)
    assert torch.equal(z, tokenizer.latents(X)[0].z)
    assert torch.equal(tokenizer.nll(X, z), tokenizer.decoder.nll(X, z, {}).detach())
    assert tokenizer.discrete == (latent.indices is not None) == (not isinstance(tokenizer.bottlenecks[0], Identity))


@pytest.mark.parametrize(
    "make", [partial(GaussianBottleneck, 4), partial(EMAVectorQuantizer, 4, 16)], ids=["Gaussian", "EMA"]
)
def test_samples_are_decoded_from_the_training_prior(make: Callable[[], Bottleneck]) -> None:
    tokenizer = model(make())
    x = tokenizer.sample(5, generator=seeded(1))
    assert x.shape == (5, 1, 8, 8) and x.dtype == torch.float32
    assert torch.equal(x, tokenizer.sample(5, generator=seeded(1)))
    z = tokenizer.bottlenecks[0].sample(5, (4, 4), seeded(1))
    assert torch.equal(x, tokenizer.eval().decoder.reconstruct(z, {}).detach())


def test_an_autoencoder_without_a_prior_does_not_sample() -> None:
    with pytest.raises(ValueError, match="an Identity has no prior to sample from; use a GaussianBottleneck"):
        model(Identity(4)).sample(1)
