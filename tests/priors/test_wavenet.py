"""WaveNet: how far back it looks, and that it learns what lies there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from vqkit.priors import Choice, WaveNet, sample
from vqkit.signal import Layout

BACK = 65  # how far before a symbol the one is that it depends on


def train(prior: WaveNet, batch: Callable[[], Tensor], steps: int) -> WaveNet:
    optimizer = torch.optim.AdamW(prior.parameters(), 1e-2)
    for _ in range(steps):
        loss = prior.loss((batch(),), {})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior.eval()


def order_1(train: Tensor, x: Tensor, size: int) -> Tensor:
    """log p of every symbol of x [N, T] but the first, given the one before it, by counts over `train` [N, T]."""
    counts = torch.ones(size, size)
    counts.index_put_((train[:, :-1].flatten(), train[:, 1:].flatten()), torch.tensor(1.0), accumulate=True)
    return (counts / counts.sum(1, keepdim=True)).log()[x[:, :-1], x[:, 1:]]


@pytest.mark.parametrize(("depth", "cycle", "field"), [(1, 1, 2), (3, 3, 8), (5, 2, 8), (4, 10, 16)])
@torch.no_grad()
def test_a_symbol_is_given_its_receptive_field_and_nothing_else(depth: int, cycle: int, field: int) -> None:
    torch.manual_seed(0)
    prior = WaveNet(Layout(((5, 6),), ((3,),)), width=16, depth=depth, cycle=cycle).double().eval()
    for parameter in prior.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    assert prior.receptive_field == field
    x = torch.randint(3, (1, 1, 5, 6))
    before = prior.log_prob((x,), {})[0].flatten()
    for position in range(30):
        other = x.clone()
        other.flatten()[position] = (other.flatten()[position] + 1) % 3
        changed = prior.log_prob((other,), {})[0].flatten() != before
        assert changed.nonzero()[:, 0].tolist() == list(range(position, min(30, position + field + 1)))


def test_it_learns_what_is_far_back_and_goes_on_beyond_the_length_of_training() -> None:
    """Every symbol is the one 65 before it plus one: the symbol just before it says nothing."""
    generator = torch.Generator().manual_seed(0)

    def sequences(n: int, times: int) -> Tensor:
        start = torch.randint(4, (n, 1, BACK), generator=generator)
        return torch.cat([(start + k) % 4 for k in range(times)], 2)

    torch.manual_seed(0)
    layout = Layout(((2 * BACK,),), ((4,),))
    prior = train(WaveNet(layout, width=16, depth=7, cycle=7), lambda: sequences(16, 2), steps=60)
    x = sequences(16, 2)
    assert float(prior.log_prob((x,), {})[0].detach()[:, :, BACK:].mean()) > -0.03
    assert float(order_1(sequences(64, 2)[:, 0], x[:, 0], 4)[:, BACK:].mean()) < -1.35  # log 4 is 1.386

    longer = sequences(4, 4)
    known = longer.clone()
    known[..., BACK:] = -1
    other = layout._replace(grids=((4 * BACK,),))
    assert torch.equal(sample(prior, other, 4, {}, known=(known,), choice=Choice(temperature=0))[0], longer)


def test_it_learns_rows_of_pixels() -> None:
    """Digits of 8 x 8 pixels: what is above a pixel says more than the pixel before it alone."""
    pictures = torch.tensor(load_digits().images, dtype=torch.int64)[:, None]
    seen, held_out = pictures[:1500], pictures[1500:]
    torch.manual_seed(0)
    prior = WaveNet(Layout(((8, 8),), ((17,),)), width=16, depth=6, cycle=6)
    train(prior, lambda: seen[torch.randint(1500, (32,))], steps=80)
    nats = prior.log_prob((held_out,), {})[0].detach().flatten(1)[:, 1:]
    assert float(nats.mean()) > 0.88 * float(order_1(seen.flatten(1), held_out.flatten(1), 17).mean())


@pytest.mark.parametrize(("changes", "says"), [({"depth": 0}, "depth is 0"), ({"cycle": 0}, "cycle is 0")])
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        WaveNet(Layout(((9,),), ((5,),)), **changes)
