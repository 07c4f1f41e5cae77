"""The entropies of codes of independent bits, against all 2^dim codes written out."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import BinarySphericalQuantizer, LookupFreeQuantizer
from vqkit.bottlenecks.binary import BinaryQuantizer

DIM = 4
BOTH = pytest.mark.parametrize("kind", [LookupFreeQuantizer, BinarySphericalQuantizer])
Kind = type[LookupFreeQuantizer] | type[BinarySphericalQuantizer]


def q_of_codes(quantizer: BinaryQuantizer, bounded: Tensor) -> Tensor:
    """[N, 2^D] of bounded [N, D]: the softmax that the docstring defines."""
    codes = torch.tensor(list(itertools.product([-quantizer.scale, quantizer.scale], repeat=DIM)))
    return (-torch.cdist(bounded, codes).square() / quantizer.temperature).softmax(1)


def entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p).sum(-1)


def brute_force(quantizer: BinaryQuantizer, bounded: Tensor) -> tuple[Tensor, Tensor]:
    """E H(q) and H(E q), in nats."""
    q = q_of_codes(quantizer, bounded)
    return entropy(q).mean(), entropy(q.mean(0))


def to_grid(vectors: Tensor) -> Tensor:
    return vectors.t()[None]


def soft(kind: Kind) -> BinaryQuantizer:
    return kind(DIM, temperature=1.0 if kind is LookupFreeQuantizer else 1 / DIM)  # where codes are as far apart


@BOTH
def test_the_first_entropy_is_exact_and_the_second_a_bound(kind: Kind) -> None:
    quantizer, z_e = soft(kind), torch.randn(50, DIM) + torch.tensor([1.0, 0.0, -0.5, 2.0])
    z_e[:, 2] = z_e[:, 1]  # two bits that agree: this the bound does not see
    bounded = quantizer.bound(z_e)
    each, codes = brute_force(quantizer, bounded)
    loss = DIM * quantizer.entropy_loss(to_grid(bounded), None)  # of a position, not of a bit
    bits = entropy(torch.stack([p := quantizer.logits(bounded).sigmoid().mean(0), 1 - p], 1)).sum()
    torch.testing.assert_close(loss, each - bits)
    assert float(bits) > float(codes) * 1.005


@BOTH
def test_it_is_exact_where_bits_are_independent(kind: Kind) -> None:
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=DIM)))  # every code once
    quantizer = soft(kind)
    bounded = quantizer.bound(signs * torch.tensor([1.0, 0.1, 0.5, 0.3]))
    each, codes = brute_force(quantizer, bounded)
    torch.testing.assert_close(DIM * quantizer.entropy_loss(to_grid(bounded), None), each - codes)


@BOTH
def test_its_gradient_is_brute_forces(kind: Kind) -> None:
    quantizer = soft(kind)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=DIM)))
    vectors = (signs * torch.tensor([1.0, 0.1, 0.5, 0.3])).requires_grad_()
    each, codes = brute_force(quantizer, quantizer.bound(vectors))
    (wanted,) = torch.autograd.grad(each - codes, vectors)
    loss = DIM * quantizer.entropy_loss(to_grid(quantizer.bound(vectors)), None)
    (gradient,) = torch.autograd.grad(loss, vectors)
    torch.testing.assert_close(gradient, wanted)


@BOTH
def test_assignment_is_the_softmax_over_all_codes(kind: Kind) -> None:
    quantizer, z_e = soft(kind), torch.randn(7, DIM)
    wanted = q_of_codes(quantizer, quantizer.bound(z_e))
    torch.testing.assert_close(quantizer.assignment(to_grid(z_e)).exp()[0, 0], wanted.t())


@BOTH
def test_the_entropy_loss_is_least_where_sure_and_balanced(kind: Kind) -> None:
    quantizer = kind(DIM)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=DIM)))
    sure = quantizer.entropy_loss(to_grid(signs * quantizer.scale), None)
    assert float(sure) == pytest.approx(-math.log(2))
    collapsed = quantizer.entropy_loss(to_grid(torch.ones(16, DIM) * quantizer.scale), None)
    assert float(collapsed) == pytest.approx(0, abs=1e-5)


@BOTH
@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 1e4])
def test_its_gradient_is_finite_and_turns_no_signs_alone(kind: Kind, size: float) -> None:
    """Also where every bit of the batch is the same and sure, as the entropy's own slope is infinite there."""
    z_e = torch.full((2, DIM, 5), size, requires_grad=True)
    latent = kind(DIM)(z_e)
    (latent.z.sum() + latent.loss).backward()
    assert z_e.grad is not None and bool(z_e.grad.isfinite().all()) and float(z_e.grad.abs().max()) < 1e5


@BOTH
def test_gradient_descent_on_the_entropy_balances_the_bits(kind: Kind) -> None:
    quantizer, data = kind(DIM, entropy_weight=1.0), torch.randn(1, DIM, 256)
    bias = torch.full((1, DIM, 1), 1.0, requires_grad=True)
    optimizer = torch.optim.Adam([bias], lr=0.05)
    shares = []
    for _ in range(120):
        optimizer.zero_grad()
        latent = quantizer(data + bias)
        latent.loss.backward()
        optimizer.step()
        shares.append((latent.z > 0).float().mean((0, 2)))
    assert bool((shares[0] > 0.75).all()) and bool(((shares[-1] - 0.5).abs() < 0.1).all())


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dim": 0}, "dim is 0"),
        ({"entropy_weight": -1.0}, "entropy_weight is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(kind: Kind, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**{"dim": 4, **arguments})  # type: ignore[arg-type]
