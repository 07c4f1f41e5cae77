"""Trained by one thing, scored by another, whose scale is found afterwards."""

from __future__ import annotations

import pytest
import torch

from vqkit.autoencoders import ClassConditionalDecoder, Convolutional
from vqkit.bottlenecks import GaussianBottleneck
from vqkit.likelihoods import (
    L1,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedDensity,
    Gaussian,
    Laplace,
    LearnedScale,
    LogisticMixture,
    Scored,
)
from vqkit.signal import Batch, Signal

BYTES = Signal(3, (8, 8), 0.0, 255.0, 256, ("cat", "dog"))
SERIES = Signal(2, (200,), -2.0, 4.0, None)


def pictures(n: int = 40) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_the_nets_learn_from_the_objective_and_the_score_is_the_likelihoods() -> None:
    objective, likelihood = L1(3.0), DiscretizedDensity(Laplace(LearnedScale(3, 0.2)))
    scored, x = Scored(objective, likelihood), pictures(2)
    parameters = torch.randn(2, 3, 8, 8, requires_grad=True)
    ours, theirs = (torch.autograd.grad(r.loss(parameters, x, BYTES).sum(), parameters) for r in (scored, objective))
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(scored.nll(parameters, x, BYTES), likelihood.nll(parameters, x, BYTES))
    torch.testing.assert_close(scored.reconstruct(parameters, BYTES), objective.reconstruct(parameters, BYTES))
    first, second = (r.sample(parameters, BYTES, torch.Generator().manual_seed(1)) for r in (scored, likelihood))
    assert torch.equal(first, second)


def test_a_calibrated_scale_is_that_of_what_is_left() -> None:
    x = torch.stack([torch.linspace(-1.5, 1.5, 200), torch.linspace(-0.3, 0.3, 200)]).unsqueeze(0) + 1
    left, zero = SERIES.normalise(x), torch.zeros(1, 2, 200)
    for likelihood, wanted in (
        (Gaussian(LearnedScale(2)), left.square().mean((0, 2)).sqrt()),
        (Laplace(LearnedScale(2)), left.abs().mean((0, 2))),
        (Gaussian(LearnedScale()), left.square().mean().sqrt().view(1)),
    ):
        Scored(Gaussian(), likelihood).calibrate(zero, x, SERIES)
        torch.testing.assert_close(likelihood.scale(1).flatten().detach(), wanted, atol=1e-4, rtol=0)


def test_no_scale_nearby_scores_better() -> None:
    x, parameters = pictures(), torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1)) / 3
    likelihood = DiscretizedDensity(Gaussian(LearnedScale()))
    likelihood.calibrate(parameters, x, BYTES)
    best = float(likelihood.density.scale(2).detach())
    nll = [float(DiscretizedDensity(Gaussian(best * f)).nll(parameters, x, BYTES).mean()) for f in (0.95, 1.0, 1.05)]
    assert nll[1] == min(nll) and nll[1] < nll[0] - 1e-4 and nll[1] < nll[2] - 1e-4


@pytest.mark.parametrize("label_dim", [0, 2])
def test_an_autoencoder_is_calibrated_and_nothing_but_the_scale_moves(label_dim: int) -> None:
    torch.manual_seed(0)
    scored = Scored(Gaussian(), DiscretizedDensity(Gaussian(LearnedScale())))
    model = Convolutional(GaussianBottleneck(2), scored, 8, 1, 1, 4, label_dim=label_dim)(BYTES)
    assert isinstance(model.decoder, ClassConditionalDecoder) == bool(label_dim)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = Batch(pictures(), None, {"label": torch.arange(40) % 2}, [""] * 40)
    model.calibrate(batch)
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert len(moved) == 1 and moved[0].endswith("likelihood.likelihood.density.scale.log_scale")
    again = {name: value.clone() for name, value in model.state_dict().items()}
    model.calibrate(batch)
    assert all(torch.allclose(value, again[name], atol=1e-4) for name, value in model.state_dict().items())


def test_a_scale_for_scoring_alone_takes_no_gradient_and_can_be_calibrated_all_the_same() -> None:
    scale = LearnedScale()
    scored, zero = Scored(Gaussian(), Gaussian(scale)), torch.zeros(1, 2, 200)
    assert not any(parameter.requires_grad for parameter in scored.parameters())
    before = scale.log_scale.clone()
    scored.calibrate(zero, torch.rand(1, 2, 200), SERIES)
    assert not torch.equal(scale.log_scale, before) and not scale.log_scale.requires_grad


def test_a_scale_that_the_objective_shares_goes_on_learning() -> None:
    density = Gaussian(LearnedScale())
    scored = Scored(density, DiscretizedDensity(density))
    assert all(parameter.requires_grad for parameter in scored.parameters())
    scored.calibrate(torch.zeros(2, 3, 8, 8), pictures(2), BYTES)
    assert all(parameter.requires_grad for parameter in scored.parameters())


def test_what_reads_the_outputs_otherwise_cannot_score() -> None:
    assert Scored(Gaussian(), DiscretizedDensity(Laplace())).outputs(BYTES) == 3
    greys = ContinuousBernoulli()
    assert Scored(greys, DiscretizedDensity(greys)).outputs(BYTES) == 3
    for objective, likelihood in (
        (Gaussian(), Categorical()),
        (Gaussian(), DiscretizedDensity(greys)),
        (L1(), Bernoulli()),
        (greys, DiscretizedDensity(Gaussian())),
        (Gaussian(), LogisticMixture(2)),
    ):
        with pytest.raises(ValueError, match=r"takes the decoder's outputs for .* score by a likelihood that reads"):
            Scored(objective, likelihood)


def test_what_wants_other_numbers_of_outputs_cannot_score() -> None:
    with pytest.raises(ValueError, match=r"wants 40 outputs .* LogisticMixture 20; score by one of as many"):
        Scored(LogisticMixture(4), LogisticMixture(2)).outputs(BYTES)
