"""The pass position by position: the same numbers as the pass over all."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqkit.nn.attention import rotations
from vqkit.nn.packed import packed
from vqkit.nn.transformer import CachedTransformer, Transformer, phases


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2], [6], [1, 5]])
@pytest.mark.parametrize("apart", [False, True])
def test_a_cached_pass_is_the_pass_over_all(pieces: list[int], apart: bool) -> None:
    """Also where queries and keys are turned differently, and where norms and scales are far from 1."""
    torch.manual_seed(0)
    net, x = Transformer(24, 2, 3), torch.randn(2, 6, 24)
    for module in net.modules():
        if isinstance(module, nn.RMSNorm):
            module.weight.uniform_(0.5, 2.0)
    turns = rotations(torch.ones(2, 3).nonzero(), 8)
    if apart:
        turns = torch.stack([turns, turns.flip(1)], 2)[:, None]
    whole, cached, past = net(x, turns), CachedTransformer(net, 2, 6), 0
    for _ in range(2):  # from 0 on it is another sequence
        past = 0
        for length in pieces:
            here = slice(past, past + length)
            found = cached(x[:, here], phases(turns)[:, here], past)
            past += length
            torch.testing.assert_close(found, whole[:, here], atol=1e-5, rtol=0)


def test_a_small_norm_is_that_of_the_net() -> None:
    torch.manual_seed(0)
    net, x = Transformer(8, 1, 1), 1e-4 * torch.randn(2, 1, 8)
    turns = rotations(torch.zeros(1, 1), 8)
    found = CachedTransformer(net, 2, 1)(x, phases(turns), 0)
    torch.testing.assert_close(found, net(x, turns).detach(), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_packed_matrix_multiplies_as_it_would_unpacked(rows: int) -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(7, 5).t(), torch.randn(rows, 7)
    torch.testing.assert_close(packed(weight, 3)(x), x @ weight.t(), atol=1e-5, rtol=0)
    torch.testing.assert_close(packed(weight.bfloat16(), 3)(x).float(), x @ weight.t(), atol=0.1, rtol=0)
