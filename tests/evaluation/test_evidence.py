"""The bound and its parts against hand computations, and that what is undefined has a reason in place of a number."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import Bottleneck, GaussianBottleneck, Identity, VectorQuantizer
from vqkit.evaluation import Evidence, evaluate
from vqkit.likelihoods import Categorical, Gaussian, Likelihood
from vqkit.priors import UniformPrior, UnigramPrior
from vqkit.signal import Batch, Signal

SIGNAL = Signal(1, (4, 4), 0.0, 3.0, 4)  # four levels, two bits a value
FLOATS = Signal(1, (4, 4), -1.0, 1.0, None)
X = torch.randint(0, 4, (5, 1, 4, 4), generator=torch.Generator().manual_seed(0)).byte()


def model(bottleneck: Bottleneck, likelihood: Likelihood | None = None, signal: Signal = SIGNAL) -> Autoencoder:
    torch.manual_seed(0)
    return Convolutional(bottleneck, likelihood or Categorical(), 8, 2, 1, 4)(signal)


def batches(x: torch.Tensor = X, cut: int = 3) -> list[Batch]:
    return [Batch(part, None, {}, [str(i) for i in range(len(part))]) for part in (x[:cut], x[cut:])]


@torch.no_grad()
def test_the_bound_of_a_vae_by_hand() -> None:
    vae = model(GaussianBottleneck(3))
    found = evaluate(vae, None, None, batches())
    draws = torch.Generator().manual_seed(0)
    nll = kl = 0.0
    for batch in batches():
        (features,) = vae.encoder(SIGNAL.normalise(batch.x))
        mean, log_variance = vae.levels[0].project(features).double().chunk(2, 1)
        q = Normal(mean, (log_variance / 2).exp())
        z = mean + q.stddev * torch.randn(mean.shape, generator=draws)
        log_p = vae.decoder.net(z.float()).double().view(-1, 4, 4, 4).log_softmax(1)
        nll -= float(log_p.gather(1, batch.x.long()).sum())
        kl += float(kl_divergence(q, Normal(0.0, 1.0)).sum())
    wanted = {
        "nll_nats": nll / 5,
        "kl_nats_training_prior": kl / 5,
        "elbo_nats_training_prior": -(nll + kl) / 5,
        "nll_bits_per_dim": nll / 5 / 16 / math.log(2),
        "rate_bits_per_dim_training_prior": kl / 5 / 16 / math.log(2),
        "bits_per_dim_training_prior": (nll + kl) / 5 / 16 / math.log(2),
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-5)
    assert not any("learned" in name for name in found)
    assert kl > 0.1  # else this says nothing of it


@torch.no_grad()
def test_the_bound_of_a_vq_vae_by_hand_under_both_priors() -> None:
    vq = model(VectorQuantizer(3, 8))
    layout = vq.layout()
    unigram = UnigramPrior(layout)
    unigram.fit([(vq.encode(X), {})])
    found = evaluate(vq, unigram, unigram, batches())
    nll = float(vq.decoder.nll(X, vq.latents(X)[0].z, {}).sum()) / 5
    nats = -float(unigram.log_prob(vq.encode(X), {})[0].sum()) / 5
    a_bit = 1 / math.log(2) / 16
    assert found["nll_bits_per_dim"] == pytest.approx(nll * a_bit, rel=1e-5)
    assert found["kl_nats_training_prior"] == pytest.approx(layout.nominal_bits * math.log(2))
    assert found["kl_nats_learned_prior"] == pytest.approx(nats, rel=1e-5)
    assert found["rate_bits_per_dim_learned_prior"] == pytest.approx(found["estimated_bits"] / 16)
    for prior, rate in (("training", math.log(8)), ("learned", nats)):
        assert found[f"elbo_nats_{prior}_prior"] == pytest.approx(-nll - rate, rel=1e-5)
        assert found[f"bits_per_dim_{prior}_prior"] == pytest.approx((nll + rate) * a_bit, rel=1e-5)


@torch.no_grad()
def test_the_bound_is_below_the_exact_likelihood() -> None:
    vq = model(VectorQuantizer(3, 8))
    with torch.no_grad():
        vq.bottlenecks[0].codebook.vectors.mul_(20)  # type: ignore[union-attr, operator]  codes that decode apart
    found = evaluate(vq, None, UnigramPrior(vq.layout()), batches())
    codes = vq.bottlenecks[0].lookup(torch.arange(8).view(8, 1, 1, 1))  # type: ignore[operator]
    exact = []
    for x in X:  # log p(x) = log of the mean over codes
        log_p = -vq.nll(x.expand(8, -1, -1, -1), codes)
        exact.append(float(log_p.double().logsumexp(0)) - math.log(8))
    assert found["elbo_nats_training_prior"] < sum(exact) / 5
    assert found["bits_per_dim_training_prior"] > -sum(exact) / 5 / 16 / math.log(2)


@torch.no_grad()
def test_what_the_z_of_a_neighbour_costs_by_hand() -> None:
    autoencoder = model(Identity(3))
    for parameter in autoencoder.parameters():
        parameter.mul_(3)  # a decoder that is new hardly looks at z
    z = [autoencoder.latents(batch.x)[0].z for batch in batches()]
    cost = 0.0
    for batch, own in zip(batches(), z, strict=True):
        for n, x in enumerate(batch.x):
            cost += float(autoencoder.nll(x[None], own[n - 1][None]) - autoencoder.nll(x[None], own[n][None]))
    found = evaluate(autoencoder, None, None, batches())
    assert found["shuffled_z_nats"] == pytest.approx(cost / 5, abs=1e-5)
    assert abs(cost) > 0.01  # else this says nothing of it


def test_a_decoder_that_ignores_z_pays_nothing_for_a_wrong_one() -> None:
    vae = model(GaussianBottleneck(3))
    for parameter in vae.decoder.net.stem.parameters():  # type: ignore[union-attr]
        torch.nn.init.zeros_(parameter)
    found = evaluate(vae, None, None, batches())
    assert found["shuffled_z_nats"] == pytest.approx(0, abs=1e-6) and found["kl_nats_training_prior"] > 0.1


def test_a_sample_alone_in_its_batch_has_no_z_to_be_shuffled_with() -> None:
    vae = model(GaussianBottleneck(3))
    alone = evaluate(vae, None, None, batches(X[:1], 1)[:1])
    assert alone["shuffled_z_nats"] is None and "alone in its batch" in alone["reasons"]["shuffled_z_nats"]
    first_four = evaluate(vae, None, None, batches(X[:4], 4)[:1])["shuffled_z_nats"]
    assert evaluate(vae, None, None, batches(X, 4))["shuffled_z_nats"] == pytest.approx(first_four)


def test_data_that_the_model_knows_nothing_of_cost_their_levels() -> None:
    vae = model(GaussianBottleneck(3))
    for parameter in vae.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    found = evaluate(vae, None, None, batches())
    assert found["nll_bits_per_dim"] == pytest.approx(2.0)


def test_an_autoencoder_has_distortion_and_a_reason_for_no_bound() -> None:
    found = evaluate(model(Identity(3)), None, None, batches())
    assert found["nll_bits_per_dim"] > 0
    for name in ("kl_nats", "elbo_nats", "rate_bits_per_dim", "bits_per_dim"):
        assert found[f"{name}_training_prior"] is None
        assert "Identity is a point in a continuous space" in found["reasons"][f"{name}_training_prior"]


def test_a_density_over_integers_is_no_distortion_part_but_leaves_the_rate() -> None:
    found = evaluate(model(GaussianBottleneck(3), Gaussian()), None, None, batches())
    for name in (
        "nll_nats",
        "shuffled_z_nats",
        "elbo_nats_training_prior",
        "nll_bits_per_dim",
        "bits_per_dim_training_prior",
    ):
        assert found[name] is None and "cannot score data of 4 levels; use" in found["reasons"][name]
    assert found["kl_nats_training_prior"] > 0 and found["rate_bits_per_dim_training_prior"] > 0


def test_floats_have_nats_and_no_bits() -> None:
    x = torch.rand(5, 1, 4, 4)
    found = evaluate(model(GaussianBottleneck(3), Gaussian(), FLOATS), None, None, batches(x))
    assert math.isfinite(found["elbo_nats_training_prior"])
    assert found["bits_per_dim_training_prior"] is None and "density" in found["reasons"]["bits_per_dim_training_prior"]
    assert found["rate_bits_per_dim_training_prior"] > 0


def test_what_is_not_finite_is_a_reason() -> None:
    vae = model(GaussianBottleneck(3))
    with torch.no_grad():
        vae.decoder.net.up[-1].bias[0] = 1e30  # type: ignore[union-attr, index]  every value is surely 0
        vae.decoder.net.up[-1].bias[1] = -torch.inf  # type: ignore[union-attr, index]
    found = evaluate(vae, None, None, batches())
    assert found["nll_nats"] is None and "not finite" in found["reasons"]["bits_per_dim_training_prior"]


def test_a_prior_that_is_missing_is_the_reason_and_the_uniform_one_is_the_training_one() -> None:
    vq = model(VectorQuantizer(3, 8))
    uniform = UniformPrior(vq.layout())
    without, with_uniform = evaluate(vq, None, uniform, batches()), evaluate(vq, uniform, uniform, batches())
    assert "no prior" in without["reasons"]["bits_per_dim_learned_prior"]
    assert without["bits_per_dim_training_prior"] == pytest.approx(with_uniform["bits_per_dim_learned_prior"])


def test_an_evaluation_can_be_repeated_and_needs_samples() -> None:
    vae = model(GaussianBottleneck(3))
    assert evaluate(vae, None, None, batches()) == evaluate(vae, None, None, batches())
    with pytest.raises(ValueError, match="add samples first"):
        Evidence(vae).measured(None)
