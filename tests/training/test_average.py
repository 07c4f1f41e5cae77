"""The moving average of the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vqkit.training.average import WeightAverage


def test_it_is_the_recursion_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(5.0)
    average, mean = WeightAverage(model, 0.5), 5.0
    for step in range(1, 40):
        model.weight.data.fill_(float(step))
        average.update()
        decay = min(0.5, step / (step + 10))
        mean = decay * mean + (1 - decay) * step
        assert average.mean[0].item() == pytest.approx(mean, rel=1e-5)


def test_the_initial_weights_leave_no_trace() -> None:
    model = nn.Linear(3, 3)
    average = WeightAverage(model, 0.9999)
    for parameter in model.parameters():
        parameter.data.fill_(2.0)
    for _ in range(30):
        average.update()
    for mean in average.mean:
        torch.testing.assert_close(mean, torch.full_like(mean, 2.0))


def test_it_is_applied_inside_the_block_only_even_after_an_error() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    own = [parameter.detach() + 1 for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.data += 1

    def use_and_fail() -> None:
        with average.applied():
            assert all(map(torch.equal, model.parameters(), average.mean))
            assert not torch.equal(model.weight, own[0])
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        use_and_fail()
    assert all(map(torch.equal, model.parameters(), own))


def test_copy_to_model_keeps_the_mean() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.9)
    mean = [tensor.clone() for tensor in average.mean]
    for parameter in model.parameters():
        parameter.data += 1
    average.copy_to_model()
    assert all(map(torch.equal, model.parameters(), mean))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_buffers_stay_as_they_are() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    model.running_mean.fill_(7.0)
    average.update()
    with average.applied():
        assert torch.equal(model.running_mean, torch.full((2,), 7.0))


def test_it_goes_on_from_its_state() -> None:
    model = nn.Linear(2, 2)
    first, again = WeightAverage(model, 0.9), WeightAverage(model, 0.9)
    for parameter in model.parameters():
        parameter.data += 1
    first.update()
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    for parameter in model.parameters():
        parameter.data += 1
    for each in (first, again):
        each.update()
    assert first.steps == again.steps == 2 and all(map(torch.equal, first.mean, again.mean))
