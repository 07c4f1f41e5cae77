"""One vector a sample, and back to the grid."""

from __future__ import annotations

import pytest
import torch

from vqkit.nn import Flatten, LinearDecoder


@pytest.mark.parametrize("grid", [(5,), (4, 3), (2, 4, 3)])
def test_a_decoder_that_changes_nothing_undoes_the_flattening(grid: tuple[int, ...]) -> None:
    x = torch.randn(3, 2, *grid)
    (features,) = Flatten()(x.movedim(1, -1).contiguous().movedim(-1, 1))  # however it lies in memory
    assert features.shape == (3, x[0].numel(), *(1,) * len(grid))
    decoder = LinearDecoder(x[0].numel(), 2, grid)
    with torch.no_grad():
        decoder.project.weight.copy_(torch.eye(x[0].numel()).view_as(decoder.project.weight))
        decoder.project.bias.zero_()
    assert torch.equal(decoder(features), x)
