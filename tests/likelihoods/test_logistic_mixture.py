"""The mixture of discretized logistics against the slow obvious way, in float64."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from vqkit.likelihoods import LogisticMixture
from vqkit.signal import Signal

COLOURS = Signal(3, (2, 3), 0.0, 255.0, 256)


def pack(logits: Tensor, means: Tensor, log_scales: Tensor, coefficients: Tensor) -> Tensor:
    """[B, K], [B, K, C], [B, K, C], [B, K, C (C - 1) / 2] -> parameters [B, outputs, 1]."""
    return torch.cat([logits.unsqueeze(2), means, log_scales, coefficients], 2).flatten(1).unsqueeze(2)


def slow_nll(parameters: Tensor, x: Tensor, components: int) -> Tensor:
    """-log of the joint probability of all channels at each position, [B, *grid], for data of 256 levels."""
    batch, channels, *grid = x.shape
    given = parameters.double().view(batch, components, -1, *grid)
    y = x.double() / 127.5 - 1
    total = torch.zeros(batch, *grid, dtype=torch.float64)
    for k in range(components):
        probability = given[:, :, 0].softmax(1)[:, k]
        row = 1 + 2 * channels
        for c in range(channels):
            mean, scale = given[:, k, 1 + c].clone(), given[:, k, 1 + channels + c].exp()
            for before in range(c):
                mean += given[:, k, row].tanh() * y[:, before]
                row += 1
            upper = ((y[:, c] + 1 / 255 - mean) / scale).sigmoid().where(x[:, c] < 255, torch.ones(()).double())
            lower = ((y[:, c] - 1 / 255 - mean) / scale).sigmoid().where(x[:, c] > 0, torch.zeros(()).double())
            probability = probability * (upper - lower)
        total += probability
    return -total.log()


def test_it_has_the_outputs_of_the_paper() -> None:
    assert LogisticMixture(10).outputs(COLOURS) == 100
    assert LogisticMixture(5).outputs(Signal(1, (9,), 0.0, 255.0, 256)) == 15


def test_channels_sum_to_the_joint_of_the_slow_way() -> None:
    given = torch.randn(4, 5 * 10, 2, 3)
    given.view(4, 5, 10, 2, 3)[:, :, 1:4] *= 0.3
    given.view(4, 5, 10, 2, 3)[:, :, 4:7] *= 0.3
    given.view(4, 5, 10, 2, 3)[:, :, 4:7] -= 2  # scales of some 17 levels
    x = torch.randint(0, 256, (4, 3, 2, 3), dtype=torch.uint8)
    x[0, :, 0, 0], x[1, :, 0, 1] = 0, 255
    found = LogisticMixture(5).nll(given, x, COLOURS)
    torch.testing.assert_close(found.sum(1).double(), slow_nll(given, x, 5), atol=1e-4, rtol=1e-5)


def test_a_channel_knows_those_before_it_and_no_other() -> None:
    given, x = torch.randn(1, 50, 2, 3), torch.randint(0, 255, (1, 3, 2, 3), dtype=torch.uint8)
    before = LogisticMixture(5).nll(given, x, COLOURS)
    for channel in range(3):
        changed = x.clone()
        changed[:, channel] += 1
        moved = LogisticMixture(5).nll(given, changed, COLOURS) != before
        assert not bool(moved[:, :channel].any()) and bool(moved[:, channel:].all())


def test_a_narrow_component_is_a_linear_function_of_the_channels_before() -> None:
    tanh = torch.tensor([0.5, -0.25, 0.5])
    given = pack(
        torch.zeros(1, 1), torch.tensor([[[0.2, 0.1, -0.1]]]), torch.full((1, 1, 3), -20.0), tanh.atanh().view(1, 1, 3)
    )
    signal = COLOURS._replace(grid=(1,))
    y = torch.tensor([0.2, 0.1 + 0.5 * 0.2, 0.0])
    y[2] = -0.1 - 0.25 * y[0] + 0.5 * y[1]
    wanted = (y + 1) * 127.5
    torch.testing.assert_close(LogisticMixture(1).mean(given, signal).flatten(), wanted, atol=0.01, rtol=0)
    samples = LogisticMixture(1).sample(given.expand(500, -1, -1), signal).float()
    assert float((samples.squeeze(2) - wanted).abs().max()) < 3  # the least scale is a tenth of a level
    torch.testing.assert_close(samples.mean(0).flatten(), wanted, atol=0.6, rtol=0)


@pytest.mark.parametrize(
    ("spread", "log_scale", "bound"), [(0.1, -2.5, 0.002), (0.3, -1.5, 0.03), (1.0, -1.0, 0.05), (1.0, 0.5, 0.05)]
)
def test_the_mean_against_the_sum_over_every_pair(spread: float, log_scale: float, bound: float) -> None:
    """Of the first channel exact but for rounding, of the second as near as `bound`, a share of the range: clamping
    plays next to no part in the first case, and ever more in the others."""
    signal, n, components = Signal(2, (1,), 0.0, 32.0, 33), 20, 3
    given = pack(
        torch.randn(n, components),
        spread * torch.randn(n, components, 2),
        log_scale + 0.2 * torch.randn(n, components, 2),
        torch.randn(n, components, 1),
    )
    pairs = torch.tensor(list(product(range(33), range(33)))).view(-1, 2, 1)
    expanded = given.unsqueeze(1).expand(-1, len(pairs), -1, -1).flatten(0, 1)
    nll = LogisticMixture(components).nll(expanded, pairs.repeat(n, 1, 1), signal)
    probabilities = nll.double().sum((1, 2)).neg().exp().view(n, -1)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(n, dtype=torch.float64), atol=1e-5, rtol=0)
    exact = probabilities @ pairs.squeeze(2).double()
    error = (LogisticMixture(components).mean(given, signal).squeeze(2) - exact).abs().amax(0) / 32
    assert float(error[0]) < 1 / 40 / 32
    assert float(error[1]) < bound


def test_no_table_over_levels_is_made() -> None:
    signal = Signal(1, (640,), 0.0, 2.0**20, 2**20 + 1)  # of which one would have 20 GB
    nll = LogisticMixture(4).nll(torch.zeros(2, 12, 640), torch.full((2, 1, 640), 2**19), signal)
    # a logistic of scale 1 around the middle: its density is 1/4, and a level is 2 / 2^20 wide
    torch.testing.assert_close(nll, torch.full_like(nll, 21 * math.log(2)))
