"""Self-attention: its masks and its cache are the same attention, and places on several grids are comparable."""

from __future__ import annotations

import torch

from vqkit.nn.attention import Block, overlay, rotations
from vqkit.nn.transformer import CachedBlock, phases


def test_a_mask_says_who_sees_whom() -> None:
    torch.manual_seed(0)
    block, x, turns = Block(16, 2, 1), torch.randn(2, 6, 16), rotations(torch.cat(overlay([(6,)])), 8)
    triangle = torch.ones(6, 6, dtype=torch.bool).tril()
    torch.testing.assert_close(block(x, turns, mask=triangle), block(x, turns))
    torch.testing.assert_close(block(x, turns, mask=torch.ones_like(triangle)), block(x, turns, causal=False))

    everywhere = block(x, turns, causal=False)
    torch.testing.assert_close(block(x, turns, last=2), everywhere[:, 4:])
    apart = torch.stack([turns, turns.flip(1)], 2)[:, None]
    torch.testing.assert_close(block(x, apart, last=2), block(x, apart, causal=False)[:, 4:])

    lengths = [1, 2, 3]
    group = torch.arange(3).repeat_interleave(torch.tensor(lengths))
    whole = block(x, turns, mask=group[:, None] >= group)
    cached, past = CachedBlock(block, 2, 6), 0
    for length in lengths:  # group by group, each seen whole
        here = slice(past, past + length)
        part = cached(x[:, here], phases(turns[:, here]), past, causal=False)
        torch.testing.assert_close(part, whole[:, here])
        past += length


def test_cells_of_several_grids_are_where_they_lie_on_the_finest() -> None:
    found = torch.cat(overlay([(1, 1), (2, 2), (2, 4)]))
    assert found[0].tolist() == [0.5, 1.5]
    assert found[1:5].tolist() == [[0.0, 0.5], [0.0, 2.5], [1.0, 0.5], [1.0, 2.5]]
    assert found[5:].tolist() == [[float(row), float(column)] for row in range(2) for column in range(4)]
