"""Training with the rate: its gradient by hand, what learns from what, and that it lowers what tokens cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import (
    Bottleneck,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    Identity,
    ProductQuantizer,
    ResidualQuantizer,
    UniformScalarQuantizer,
)
from vqkit.data import Dataset, open_source, shuffled
from vqkit.likelihoods import Gaussian
from vqkit.modality import Image
from vqkit.priors import (
    LearnedUnigramPrior,
    MaskedTransformerPrior,
    PixelCNN,
    Prior,
    TransformerPrior,
    UniformPrior,
)
from vqkit.signal import Layout
from vqkit.training import JointObjective, TokenizerObjective, Training
from vqkit.training.fit import fit
from vqkit.training.joint import cost

SIZE = 16


def data() -> Dataset:
    return Dataset(open_source("digits").split("validation"), Image())


def tokenizer(bottleneck: Bottleneck | None = None, halvings: Any = 1) -> Autoencoder:
    torch.manual_seed(0)
    bottleneck = bottleneck or EMAVectorQuantizer(4, SIZE)
    made = Convolutional(bottleneck, Gaussian(), 8, halvings, residual_layers=1, residual_width=4)(data().signal)
    made.initialise(lambda: shuffled(data(), 32, 0))
    return made


def transformer(layout: Layout) -> Prior:
    torch.manual_seed(0)
    prior = TransformerPrior(layout, width=16, depth=1, heads=2)
    for parameter in prior.parameters():  # far from uniform, without training
        parameter.data += 0.3 * torch.randn_like(parameter)
    return prior


def objective(rate_weight: float = 0.3, temperature: float = 0.5, **parts: Any) -> JointObjective:
    model = tokenizer(**parts)
    return JointObjective(model, transformer(model.layout()), rate_weight, temperature)


BATCH = data().read(range(6))


# ---------------------------------------------------------------- what tokens cost


def test_the_cost_is_that_of_the_chosen_symbols_and_its_gradient_that_of_drawn_ones() -> None:
    """Two codebooks, of 5 and 3 symbols, against the formula in float64, by finite differences."""
    generator = torch.Generator().manual_seed(0)
    scores, log_p = (torch.randn(2, 2, 5, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    beyond = torch.arange(5)[None] >= torch.tensor([5, 3])[:, None]
    scores, log_p = (x.masked_fill(beyond[None, :, :, None], -math.inf).log_softmax(2) for x in (scores, log_p))
    indices, weights = scores.argmax(2), torch.randn(2, 2, 3, dtype=torch.float64, generator=generator)
    nats = -log_p.masked_fill(beyond[None, :, :, None], 0)

    def drawn(log_q: Tensor) -> Tensor:
        q = torch.where(beyond[None, :, :, None], 0, (log_q / 0.7).exp())
        return (weights * (q / q.sum(2, keepdim=True) * nats).sum(2)).sum()

    log_q = scores.clone().requires_grad_()
    found = cost(indices, log_q, log_p, temperature=0.7)
    assert torch.equal(found, nats.gather(2, indices[:, :, None])[:, :, 0])
    (weights * found).sum().backward()
    numerical = torch.zeros_like(scores)
    for place in (~beyond[None, :, :, None]).expand_as(scores).nonzero().tolist():
        for sign in (1, -1):
            moved = scores.clone()
            moved[tuple(place)] += sign * 1e-6
            numerical[tuple(place)] += sign * drawn(moved) / 2e-6
    torch.testing.assert_close(log_q.grad, numerical, atol=1e-8, rtol=1e-6)


KINDS: dict[str, dict[str, Any]] = {
    "one codebook": {},
    "residual": {"bottleneck": ResidualQuantizer(EMAVectorQuantizer(4, SIZE), 2)},
    "scalar": {"bottleneck": FiniteScalarQuantizer([5, 3, 4], groups=[2, 1])},
    "stages": {"bottleneck": UniformScalarQuantizer(3, 1.0, 5, 2.0, stages=2, dropout=0.5)},
    "two levels": {"halvings": [2, 1]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_is_in_the_loss_per_data_dimension(kind: str) -> None:
    """The loss, and the gradient that reaches z_e of every level, put together by hand from public parts."""
    joint = objective(**KINDS[kind])
    model, prior = joint.tokenizer.model, joint.prior.model
    torch.manual_seed(1)
    loss, logs = joint(BATCH)
    torch.manual_seed(1)
    output = model(BATCH)
    indices = tuple(latent.indices for latent in output.latents)
    log_p = [level.detach() for level in prior.log_conditionals(indices, BATCH.side)]
    hard = -sum(float(level.detach().double().sum()) for level in prior.log_prob(indices, BATCH.side))
    count = sum(level.numel() for level in indices)
    assert float(logs["nats_per_token"]) == pytest.approx(hard / count, rel=1e-5)
    found = prior.log_prob(indices, BATCH.side)
    weighted = [
        -sum(float(log_p[:, q].detach().double().sum()) * weight for q, weight in enumerate(quantizer.rate_weights))
        for quantizer, log_p in zip(model.quantizers, found, strict=True)
    ]
    wanted_loss = float(output.loss.detach()) + hard / count + 0.3 * sum(weighted) / (6 * 64)
    assert float(loss.detach()) == pytest.approx(wanted_loss, rel=1e-4)

    soft = torch.zeros(())
    for quantizer, z_e, of_symbols in zip(model.quantizers, output.z_e, log_p, strict=True):
        q = (quantizer.assignment(z_e) / 0.5).softmax(2)
        weights = torch.tensor(quantizer.rate_weights).view(-1, 1, 1, 1)
        soft = soft - (weights * q * of_symbols.clamp_min(-1e6)).sum()  # beyond an alphabet 0 x -1e6, not 0 x -inf
    wanted = torch.autograd.grad(output.loss + 0.3 * soft / (6 * 64), list(model.parameters()), allow_unused=True)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    assert sum(gradient is not None for gradient in found) > 4
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-3)


def test_the_prior_learns_as_it_would_alone() -> None:
    """Its gradient is that of -log p, whatever the weight of the rate; and it reaches nothing else."""
    for weight in (0.0, 0.3, 30.0):
        joint = objective(weight)
        parameters = list(joint.prior.model.parameters())
        torch.manual_seed(1)
        found = torch.autograd.grad(joint(BATCH)[0], parameters)
        torch.manual_seed(1)
        indices = tuple(latent.indices for latent in joint.tokenizer.model(BATCH).latents)
        (log_prob,) = joint.prior.model.log_prob(indices, BATCH.side)
        wanted = torch.autograd.grad(-log_prob.mean(), parameters)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_a_weight_of_zero_trains_the_tokenizer_as_alone(tmp_path: Path) -> None:
    settings = Training(max_steps=6, batch_size=16, precision="float32", device="cpu", gradient_clip=0.0)
    one, other = (tokenizer(EMAVectorQuantizer(4, SIZE, revival=0.0)) for _ in range(2))
    joint, alone = JointObjective(one, transformer(one.layout()), 0.0, 1.0), TokenizerObjective(other)
    fit("joint", joint, settings, tmp_path / "joint", data(), data(), bar=False)
    fit("tokenizer", alone, settings, tmp_path / "alone", data(), data(), bar=False)
    for with_prior, without in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(with_prior, without, atol=1e-5, rtol=1e-4)


def test_nets_may_be_in_half_precision(tmp_path: Path) -> None:
    settings = Training(max_steps=2, batch_size=16, precision="bfloat16", device="cpu")
    joint = objective(bottleneck=ProductQuantizer([EMAVectorQuantizer(2, SIZE), FiniteScalarQuantizer([5, 3])]))
    fit("joint", joint, settings, tmp_path, data(), data(), bar=False)
    assert all(torch.isfinite(parameter).all() for parameter in joint.parameters())


@pytest.mark.parametrize("kind", [LearnedUnigramPrior, transformer])
def test_a_weight_lowers_what_tokens_cost(kind: Any, tmp_path: Path) -> None:
    settings = Training(
        max_steps=200, batch_size=32, learning_rate=3e-3, weight_average=0.9, precision="float32", device="cpu"
    )
    found = {}
    for weight in (0.0, 3.0):
        model = tokenizer()
        joint = JointObjective(model, kind(model.layout()), weight, 1.0)
        fit("joint", joint, settings, tmp_path / str(weight), data(), data(), bar=False)
        found[weight] = joint.validate([BATCH])
    assert found[3.0]["nats_per_token"] < found[0.0]["nats_per_token"] - 0.2
    assert set(found[0.0]) == {"mse", "nats_per_token"}


def test_the_validation_is_that_of_tokenizer_and_prior() -> None:
    joint = objective()
    model, prior = joint.tokenizer.model, joint.prior.model
    numbers = joint.validate(iter([BATCH]))
    error = (model.reconstruct(BATCH.x) - BATCH.x.float()) / 255
    assert numbers["mse"] == pytest.approx(float(error.square().mean()), rel=1e-5)
    (nats,) = prior.eval().log_prob(model.encode(BATCH.x), BATCH.side)
    assert numbers["nats_per_token"] == pytest.approx(-float(nats.detach().mean()), rel=1e-5)


def test_updates_reach_both() -> None:
    model = tokenizer()
    prior = TransformerPrior(model.layout(), width=16, depth=1, heads=2, random_order_updates=5)
    joint = JointObjective(model, prior, 0.1, 1.0).train()
    joint(BATCH)[0].backward()
    joint.update()
    assert int(model.quantizers[0].get_submodule("codebook").updates) == int(prior.get_buffer("order.done")) == 1


def test_codes_are_not_revived() -> None:
    """Of one that wins nothing; training without the rate would re-draw it at once."""
    for revives in (False, True):
        model = tokenizer(EMAVectorQuantizer(4, SIZE, revival=0.9))
        joint = JointObjective(model, transformer(model.layout()), 0.1, 1.0).train()
        book = model.quantizers[0].get_submodule("codebook")
        book.get_buffer("vectors")[3] = far = torch.full((4,), 1e3)
        for _ in range(3):
            joint(BATCH)
            (joint.tokenizer if revives else joint).update()
        assert torch.equal(book.get_buffer("vectors")[3], far) != revives
        assert book.revival == 0.9


def test_what_does_not_fit_is_refused() -> None:
    model = tokenizer()
    masked = MaskedTransformerPrior(model.layout(), width=16, depth=1, heads=2)
    with pytest.raises(ValueError, match=r"MaskedTransformerPrior does not tell.*such as TransformerPrior"):
        JointObjective(model, masked, 0.1, 1.0)(BATCH)
    for weight, temperature, name in ((-1.0, 1.0, "rate_weight"), (math.nan, 1.0, "rate_weight"), (1.0, 0.0, "temper")):
        with pytest.raises(ValueError, match=name):
            JointObjective(model, UniformPrior(model.layout()), weight, temperature)
    continuous = tokenizer(Identity(4))
    with pytest.raises(ValueError, match="Identity has no indices"):
        JointObjective(continuous, PixelCNN(model.layout(), 8, 1), 0.1, 1.0)(BATCH)
