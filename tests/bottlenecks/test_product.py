"""Channels that are quantized apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import (
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    SimVectorQuantizer,
    VectorQuantizer,
)


def product() -> ProductQuantizer:
    """Heads of 3, 4 and 2 channels with 1, 2 and 1 columns of indices."""
    return ProductQuantizer(
        [VectorQuantizer(3, 5), ResidualQuantizer(EMAVectorQuantizer(4, 7), 2), FiniteScalarQuantizer((5, 4))]
    )


def test_each_head_has_its_channels_and_its_columns() -> None:
    quantizer, z_e = product(), torch.randn(2, 9, 6)
    assert quantizer.dim == 9 and quantizer.codebook_sizes == (5, 7, 7, 20)
    alone = [
        head(part) for head, part in zip(copy.deepcopy(quantizer.quantizers), z_e.split([3, 4, 2], 1), strict=True)
    ]
    latent = quantizer(z_e)
    assert torch.equal(latent.z, torch.cat([part.z for part in alone], 1))
    assert torch.equal(latent.indices, torch.cat([part.indices for part in alone], 1))
    torch.testing.assert_close(latent.kl, alone[0].kl + alone[1].kl + alone[2].kl)
    torch.testing.assert_close(latent.loss, (3 * alone[0].loss + 4 * alone[1].loss + 2 * alone[2].loss) / 9)
    assert torch.equal(latent.stats["perplexity_0"], alone[0].stats["perplexity"])


def test_stats_are_means_where_all_heads_have_them() -> None:
    z_e = torch.randn(2, 4, 6)
    stats = ProductQuantizer([VectorQuantizer(2, 5), SimVectorQuantizer(2, 5)])(z_e).stats
    assert {"perplexity_0", "code_norm_0", "batch_perplexity_1"} <= set(stats)
    assert not {"perplexity", "batch_perplexity"} & set(stats)  # of the batch alone is another thing
    torch.testing.assert_close(stats["code_norm"], (stats["code_norm_0"] + stats["code_norm_1"]) / 2)
    alike = ProductQuantizer([SimVectorQuantizer(2, 5), FiniteScalarQuantizer((3, 3))])(z_e).stats
    torch.testing.assert_close(alike["batch_usage"], (alike["batch_usage_0"] + alike["batch_usage_1"]) / 2)


def test_equal_heads_have_the_loss_of_one_mean_over_all_channels() -> None:
    quantizer, z_e = (
        ProductQuantizer([EMAVectorQuantizer(2, 5, 0.3), EMAVectorQuantizer(4, 5, 0.3)]),
        torch.randn(3, 6, 8),
    )
    latent = quantizer(z_e)
    torch.testing.assert_close(latent.loss, 0.3 * (z_e - latent.z).square().mean())


def test_smaller_alphabets_end_in_impossible_codes() -> None:
    log_p = product().assignment(torch.randn(2, 9, 6))
    assert log_p.shape == (2, 4, 20, 6) and bool((log_p[:, 0, 5:] == -torch.inf).all())
    torch.testing.assert_close(log_p.exp().sum(2), torch.ones(2, 4, 6))


def test_a_stream_given_once_initialises_every_head_by_its_channels() -> None:
    quantizer = ProductQuantizer([EMAVectorQuantizer(1, 2), EMAVectorQuantizer(2, 3)])

    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.randn(50, 3) + torch.tensor([10.0, -10.0, -10.0])

    quantizer.initialise(endless())
    assert float(quantizer.quantizers[0].codebook.vectors.min()) > 5
    assert float(quantizer.quantizers[1].codebook.vectors.max()) < -5


def test_no_head_and_a_head_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="quantizers is empty"):
        ProductQuantizer([])
    head = EMAVectorQuantizer(2, 3)
    with pytest.raises(ValueError, match="one quantizer twice"):
        ProductQuantizer([head, head])


@pytest.mark.parametrize("columns", [1, 3, 5])
def test_indices_of_another_number_of_codebooks_are_refused(columns: int) -> None:
    with pytest.raises(ValueError, match=rf"\[2, {columns}, 6\].*\[B, 4, \*grid\]"):
        product().lookup(torch.zeros(2, columns, 6, dtype=torch.int64))
