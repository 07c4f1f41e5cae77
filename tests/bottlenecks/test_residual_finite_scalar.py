"""Stages of finite scalar quantization: what they add up to, and how near each comes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import FiniteScalarQuantizer, ResidualFiniteScalarQuantizer


def every_value(channels: int = 1) -> Tensor:
    return torch.linspace(-6, 6, 2001).expand(1, channels, -1)


@pytest.mark.parametrize("levels", [3, 5, 7])
@pytest.mark.parametrize("depth", [2, 3])
def test_stages_of_an_odd_number_of_levels_are_the_points_of_many_levels_at_once(levels: int, depth: int) -> None:
    stages, once = ResidualFiniteScalarQuantizer((levels,), depth), FiniteScalarQuantizer(((levels - 1) ** depth + 1,))
    z_e = torch.randn(1, 1, 20_000)
    z, wanted = stages(z_e).z, once(z_e).z
    differ = (z - wanted).abs() > 1e-5
    assert float(differ.float().mean()) < 1e-3  # half way between two points, where rounding decides
    assert len(wanted.unique()) == (levels - 1) ** depth + 1


@pytest.mark.parametrize("levels", [(3,), (4,), (5,), (8, 5, 5)])
def test_each_stage_comes_nearer_by_its_scale_and_the_first_is_finite_scalar(levels: tuple[int, ...]) -> None:
    quantizer, z_e = ResidualFiniteScalarQuantizer(levels, 4), every_value(len(levels))
    latent, first = quantizer(z_e), FiniteScalarQuantizer(levels)(z_e)
    assert torch.equal(latent.indices[:, :1], first.indices) and torch.equal(quantizer.lookup(first.indices), first.z)
    intervals = torch.tensor(levels)[:, None] - 1
    for stages in (1, 2, 3, 4):
        error = (z_e.tanh() - quantizer.lookup(latent.indices[:, :stages])).abs()
        assert bool((error <= 1 / intervals**stages + 1e-6).all())
        assert bool((error > 0.9 / intervals**stages).any())
        used = latent.indices[:, stages - 1].unique()
        assert len(levels) > 1 or len(used) == levels[0]  # no level of a stage is out of reach


def test_the_gradient_is_that_of_tanh() -> None:
    quantizer, gradient = ResidualFiniteScalarQuantizer((8, 5, 5), 3), torch.randn(2, 3, 7)
    z_e = torch.randn(2, 3, 7, requires_grad=True)
    quantizer(z_e).z.backward(gradient)
    torch.testing.assert_close(z_e.grad, gradient * (1 - z_e.detach().tanh().square()))


def test_a_stage_is_a_codebook() -> None:
    quantizer = ResidualFiniteScalarQuantizer([8, 5, 5], 3)
    assert quantizer.codebook_sizes == (200, 200, 200) and quantizer.prefixes == (1, 2, 3) and quantizer.dim == 3
    assert not list(quantizer.parameters()) and not quantizer.state_dict()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"levels": (2, 5)}, r"levels are \(2, 5\); give each channel 3 or more"),
        ({"levels": ()}, "levels are"),
        ({"levels": (1, 5)}, "levels are"),
        ({"depth": 0}, "depth is 0"),
        ({"levels": (1291,) * 3}, "a codebook would have"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ResidualFiniteScalarQuantizer(**{"levels": (5, 5), "depth": 2, **arguments})
