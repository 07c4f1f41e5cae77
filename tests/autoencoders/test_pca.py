"""PCA against scikit-learn's, and the transform codec made of it against its formulas."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import decomposition
from torch import Tensor

from vqkit import checkpoint
from vqkit.autoencoders import PCA, Autoencoder
from vqkit.autoencoders.pca import principal_components
from vqkit.bottlenecks import (
    Bottleneck,
    EMAVectorQuantizer,
    GaussianBottleneck,
    Identity,
    LookupFreeQuantizer,
    UniformScalarQuantizer,
)
from vqkit.likelihoods import ContinuousBernoulli, DiscretizedDensity, Gaussian, LogisticMixture, Scored
from vqkit.priors import UnigramPrior
from vqkit.signal import Batch, Signal

SIGNALS = {
    "1d floats": Signal(2, (12,), -30.0, 50.0, None),
    "2d bytes": Signal(3, (4, 6), 0.0, 255.0, 256, ("cat", "dog")),
    "3d bytes": Signal(1, (2, 4, 3), 0.0, 255.0, 256),
}
FLOATS, PICTURES = SIGNALS["1d floats"], SIGNALS["2d bytes"]
COUNT = 200  # samples


@pytest.fixture(params=SIGNALS)
def signal(request: pytest.FixtureRequest) -> Signal:
    return SIGNALS[request.param]


def samples(signal: Signal, count: int = COUNT, rank: int = 9) -> Tensor:
    """Of `rank` correlated directions of falling variance around a mean that is not 0, far from the range's ends."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, rank, generator=generator) * 0.12 * 0.8 ** torch.arange(rank)
    y = 0.1 + z @ torch.randn(rank, signal.dims, generator=generator) / math.sqrt(rank)
    return signal.denormalise(y.view(count, signal.channels, *signal.grid))


def stream(x: Tensor, size: int = 64) -> Callable[[], list[Batch]]:
    return lambda: [Batch(part, None, {}, [""] * len(part)) for part in x.split(size)]


def fitted(bottleneck: Bottleneck, signal: Signal = FLOATS, size: int = 64, rank: int = 9) -> Autoencoder:
    return PCA(bottleneck, Gaussian()).fit(signal, stream(samples(signal, rank=rank), size))


def rows(signal: Signal, x: Tensor) -> np.ndarray:
    return signal.normalise(x).flatten(1).double().numpy()


def reference(signal: Signal, components: int, rank: int = 9) -> decomposition.PCA:
    return decomposition.PCA(components, svd_solver="full").fit(rows(signal, samples(signal, rank=rank)))


def weights(model: Autoencoder) -> tuple[Tensor, Tensor]:
    """The rows of the encoder and the columns of the decoder, [dim, D] both."""
    encoder, decoder = model.levels[0].project, model.decoder.net.project
    return encoder.weight.detach().flatten(1), decoder.weight.detach().flatten(1).t()


# ---------------------------------------------------------------- the components


def test_the_components_are_those_of_scikit_learn(signal: Signal) -> None:
    model, wanted = fitted(Identity(5), signal), reference(signal, 5)
    components, back = weights(model)
    of_reference = torch.from_numpy(wanted.components_).float()
    signs = (components * of_reference).sum(1, keepdim=True).sign()
    torch.testing.assert_close(components, of_reference * signs, atol=1e-4, rtol=0)
    torch.testing.assert_close(components @ components.t(), torch.eye(5), atol=1e-6, rtol=0)
    torch.testing.assert_close(back, components)
    x = samples(signal)
    z = model.latents(x)[0].z
    assert z.shape == (COUNT, 5, *(1,) * len(signal.grid))
    projections = torch.from_numpy(wanted.transform(rows(signal, x))).float()
    torch.testing.assert_close(z.flatten(1), projections * signs.t(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("components", [1, 4, 8])
def test_the_error_is_the_variance_that_was_left_out(components: int) -> None:
    x = samples(FLOATS)
    x_hat = fitted(Identity(components)).reconstruct(x)
    error = (FLOATS.normalise(x_hat) - FLOATS.normalise(x)).double().square().sum(1).sum() / COUNT
    variances = reference(FLOATS, FLOATS.dims).explained_variance_ * (COUNT - 1) / COUNT
    assert float(error) == pytest.approx(variances[components:].sum(), rel=1e-4)


def test_all_components_give_everything_back(signal: Signal) -> None:
    x = samples(signal)
    x_hat = fitted(Identity(signal.dims), signal).reconstruct(x)
    torch.testing.assert_close(x_hat, x.float(), atol=1e-4 * (signal.high - signal.low), rtol=0)


def test_the_size_of_the_streams_batches_changes_nothing() -> None:
    models = [fitted(UniformScalarQuantizer(5, 0.05), PICTURES, size) for size in (1, 7, COUNT)]
    for other in models[1:]:
        for name, value in other.state_dict().items():
            torch.testing.assert_close(value, models[0].state_dict()[name], atol=1e-6, rtol=1e-5)


def test_the_largest_entry_of_each_component_is_positive() -> None:
    data = torch.from_numpy(rows(FLOATS, samples(FLOATS)))
    mean, components = principal_components([data], 6)
    torch.testing.assert_close(mean, data.mean(0))
    mirrored = principal_components([-data], 6)[1]
    torch.testing.assert_close(components, mirrored)  # the same axes, whichever end is which
    assert bool((components.amax(1) >= -components.amin(1)).all())


def test_a_mean_far_from_zero_costs_no_digits() -> None:
    data = torch.from_numpy(rows(FLOATS, samples(FLOATS)))
    far, near = (principal_components([rows], 6)[1] for rows in (data + 1e3, data))
    torch.testing.assert_close(far, near, atol=1e-5, rtol=0)


def test_gradients_find_nothing_to_improve() -> None:
    """Of linear autoencoders it has the least error, so training would start at the optimum."""
    model = fitted(Identity(5)).train()
    fresh = PCA(Identity(5), Gaussian())(FLOATS)
    for each in (model, fresh):
        each(stream(samples(FLOATS), COUNT)()[0]).loss.backward()
    for name, parameter in model.named_parameters():
        assert float(parameter.grad.norm()) < 1e-4 * float(fresh.get_parameter(name).grad.norm()), name


# ---------------------------------------------------------------- with a quantizer: the transform codec


def test_indices_are_the_rounded_projections(signal: Signal) -> None:
    step = 0.05
    model, x = fitted(UniformScalarQuantizer(5, step, 101), signal), samples(signal)
    (indices,) = model.encode(x)
    assert indices.shape == (COUNT, 5, *(1,) * len(signal.grid))
    data = torch.from_numpy(rows(signal, x))
    mean, components = principal_components([data], 5)
    projections = (data - mean) @ components.t()
    z = model.latents(x)[0].z.flatten(1).double()
    assert float((z - projections).abs().max()) <= step / 2 + 1e-6
    assert bool((indices.flatten(1) - 50 == (z / step).round()).all())
    assert torch.equal(model.decode((indices,)), model.reconstruct(x))
    assert model.layout().codebook_sizes == ((101,) * 5,) and model.layout().grids == ((1,) * len(signal.grid),)


def test_the_gains_leave_an_error_that_no_other_gains_could_lower() -> None:
    model, x = fitted(UniformScalarQuantizer(5, 0.2, 101)), samples(FLOATS)
    components, columns = weights(model)
    gains = (components * columns).sum(1)
    torch.testing.assert_close(columns, components * gains[:, None])
    assert float((gains - 1).abs().max()) > 0.01
    z = model.latents(x)[0].z.flatten(1)
    z_e = model.levels[0].project(*model.encoder(FLOATS.normalise(x))).flatten(1)
    torch.testing.assert_close(gains, (z_e * z).sum(0) / z.square().sum(0))


def test_smaller_steps_cost_more_bits_for_less_error() -> None:
    x, found = samples(PICTURES, 500), []
    for step in (0.4, 0.2, 0.1):
        model = PCA(UniformScalarQuantizer(12, step, 63, 1.2), Gaussian()).fit(PICTURES, stream(x))
        prior = UnigramPrior(model.layout(), smoothing=0.01)
        indices = model.encode(x)
        prior.fit([(indices, {})])
        bits = -float(prior.log_prob(indices, {})[0].sum()) / math.log(2) / len(x)
        found.append((bits, float((model.decode(indices) - x.float()).square().mean())))
    assert found[0][0] < 0.75 * found[1][0] < 0.75**2 * found[2][0]
    assert found[0][1] > 1.5 * found[1][1] > 1.5**2 * found[2][1]


def test_components_without_variance_cost_about_nothing() -> None:
    """Beyond the rank of the data every symbol is the middle one, and a table of each component knows it."""
    model, x = fitted(UniformScalarQuantizer(9, 0.05, 101), rank=3), samples(FLOATS, rank=3)
    (indices,) = model.encode(x)
    assert bool((indices[:, 3:] == 50).all()) and len(indices[:, 0].unique()) > 5
    prior = UnigramPrior(model.layout(), smoothing=1e-4)
    prior.fit([((indices,), {})])
    bits = -prior.log_prob((indices,), {})[0].flatten(1) / math.log(2)
    assert float(bits[:, 3:].sum(1).mean()) < 0.01 < 1 < float(bits[:, :3].sum(1).mean())
    components, columns = weights(model)
    torch.testing.assert_close(columns[3:], components[3:])  # no gain can be told of what is always 0


def test_a_codebook_starts_from_the_projections() -> None:
    model = fitted(EMAVectorQuantizer(5, 8))
    (indices,) = model.encode(samples(FLOATS))
    assert len(indices.unique()) == 8
    z_e = torch.from_numpy(reference(FLOATS, 5).transform(rows(FLOATS, samples(FLOATS))))
    error = (model.latents(samples(FLOATS))[0].z.flatten(1).norm(dim=1).mean(), z_e.norm(dim=1).mean())
    assert 0.5 < float(error[0] / error[1]) < 1.1  # codes are among the data


# ---------------------------------------------------------------- as an autoencoder


@pytest.mark.parametrize("bottleneck", [Identity(5), UniformScalarQuantizer(5, 0.05, 31, 1.2)])
def test_a_checkpoint_is_the_model_to_the_bit(signal: Signal, bottleneck: Bottleneck, tmp_path: Path) -> None:
    model, x = fitted(bottleneck, signal), samples(signal, 10)
    checkpoint.save(model, tmp_path / "tokenizer")
    again = checkpoint.load(tmp_path / "tokenizer", Autoencoder)
    assert not model.training and not again.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert torch.equal(again.reconstruct(x), model.reconstruct(x))
    assert torch.equal(again.latents(x)[0].z, model.latents(x)[0].z)


def test_a_sample_in_any_memory_format_is_the_same_sample() -> None:
    model, x = fitted(UniformScalarQuantizer(5, 0.05), PICTURES), samples(PICTURES)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.encode(last)[0], model.encode(x)[0])
    again = PCA(UniformScalarQuantizer(5, 0.05), Gaussian()).fit(PICTURES, stream(last))
    torch.testing.assert_close(weights(again)[0], weights(model)[0])


def test_no_two_models_share_a_part() -> None:
    quantizer = EMAVectorQuantizer(5, 8)
    before = copy.deepcopy(quantizer.state_dict())
    models = [PCA(quantizer, Gaussian()).fit(FLOATS, stream(samples(FLOATS))) for _ in range(2)]
    assert models[0].bottlenecks[0] is not models[1].bottlenecks[0]
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("bottleneck", "batches", "message"),
    [
        (Identity(25), stream(samples(FLOATS)), "samples of 24 dimensions have no 25 principal components; lower"),
        (Identity(5), stream(samples(FLOATS, 4)), "4 samples have no 5 principal components; lower"),
        (Identity(5), list, "0 samples have no 5 principal components; lower"),
        (
            Identity(5),
            lambda: [Batch(samples(FLOATS), torch.ones(COUNT, 12, dtype=torch.bool), {}, [])],
            "PCA takes whole samples; cut the source into windows",
        ),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    bottleneck: Bottleneck, batches: Callable[[], list[Batch]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PCA(bottleneck, Gaussian()).fit(FLOATS, batches)


def test_as_many_samples_as_components_are_enough() -> None:
    model = PCA(Identity(5), Gaussian()).fit(FLOATS, stream(samples(FLOATS, 5)))
    x = samples(FLOATS, 5)
    torch.testing.assert_close(model.reconstruct(x), x, atol=1e-3, rtol=0)


def test_a_covariance_beyond_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="49,152 dimensions takes a covariance of 18 GiB; make samples smaller"):
        principal_components([torch.zeros(1, 49_152)], 1)


@pytest.mark.parametrize("density", [ContinuousBernoulli(), LogisticMixture(2)])
def test_what_reads_no_x_hat_off_the_decoder_is_refused(density: ContinuousBernoulli | LogisticMixture) -> None:
    likelihood = DiscretizedDensity(density) if isinstance(density, ContinuousBernoulli) else Scored(density, density)
    with pytest.raises(ValueError, match=r"puts out x_hat and \w+ takes it for .*; use likelihoods\.Gaussian"):
        PCA(Identity(5), likelihood)


def test_a_bottleneck_of_another_width_than_its_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="GaussianBottleneck takes more than one number a dimension"):
        PCA(GaussianBottleneck(5), Gaussian())
    PCA(LookupFreeQuantizer(5), Gaussian())
