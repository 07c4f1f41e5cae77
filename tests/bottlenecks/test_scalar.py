"""Indices as mixed-radix numbers, whatever the rounding: exact for every set of levels, and never a table."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    UniformScalarQuantizer,
)
from vqkit.bottlenecks.base import use_in_batch
from vqkit.bottlenecks.scalar import ScalarQuantizer


def all_indices(quantizer: ScalarQuantizer) -> Tensor:
    """[1, Q, K]: each codebook's indices in turn, those of the smaller ones again and again."""
    last = max(quantizer.codebook_sizes)
    return torch.stack([torch.arange(last) % size for size in quantizer.codebook_sizes])[None]


def z_e_of(z: Tensor) -> Tensor:
    """What a FiniteScalarQuantizer bounds to z, up to float32."""
    return (z.double() * (1 - 1e-6)).atanh().float()


@pytest.mark.parametrize(
    ("levels", "groups"),
    [
        ((8, 5, 5, 5), None),
        ((7, 5, 5, 5, 5), None),
        ((8, 8, 8, 5, 5, 5), None),
        ((4,) * 16, (8, 8)),
        ((4,) * 16, (4,) * 4),
        ((2,), None),
        ((3, 1000), None),
        ((1000, 3), (1, 1)),
        ((65536,), None),
        ((2,) * 18, (9, 9)),
    ],
)
def test_every_index_survives_z(levels: tuple[int, ...], groups: tuple[int, ...] | None) -> None:
    quantizer = FiniteScalarQuantizer(levels, groups)
    indices = all_indices(quantizer)
    z = quantizer.lookup(indices)
    latent = quantizer(z_e_of(z))
    assert torch.equal(latent.indices, indices) and torch.equal(latent.z, z)


@given(data=st.data())
def test_any_index_of_any_levels_survives_z(data: st.DataObject) -> None:
    books = data.draw(st.lists(st.lists(st.integers(2, 40), min_size=1, max_size=5), min_size=1, max_size=4))
    quantizer = FiniteScalarQuantizer(tuple(itertools.chain(*books)), tuple(map(len, books)))
    assert quantizer.codebook_sizes == tuple(map(math.prod, books))
    drawn = [data.draw(st.lists(st.integers(0, k - 1), min_size=3, max_size=3)) for k in quantizer.codebook_sizes]
    indices = torch.tensor(drawn)[None]
    z = quantizer.lookup(indices)
    assert torch.equal(quantizer(z_e_of(z)).indices, indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(
    "quantizer",
    [
        FiniteScalarQuantizer((3, 1000)),
        LookupFreeQuantizer(20),
        BinarySphericalQuantizer(20),
        UniformScalarQuantizer(2, 0.1, 1001),
    ],
    ids=lambda quantizer: type(quantizer).__name__,
)
def test_the_precision_of_the_model_does_not_matter(quantizer: ScalarQuantizer, dtype: torch.dtype) -> None:
    indices = torch.stack([torch.randint(size, (500,)) for size in quantizer.codebook_sizes])[None]
    z = quantizer.lookup(indices)
    z_e = z_e_of(z) if isinstance(quantizer, FiniteScalarQuantizer) else z
    cast = quantizer.to(dtype)
    assert torch.equal(cast.lookup(indices), z) and cast.lookup(indices).dtype == torch.float32
    assert torch.equal(cast(z_e).indices, indices)


def test_bfloat16_reaches_every_code() -> None:
    """Indices are not sums of bfloat16 numbers, which hold no odd integer above 256."""
    quantizer = FiniteScalarQuantizer((8, 5, 5, 5))
    z_e = z_e_of(quantizer.lookup(all_indices(quantizer))).clamp(-4, 4).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert quantizer(z_e).indices.unique().numel() == 1000


def test_the_first_channel_is_the_most_significant_digit() -> None:
    quantizer = FiniteScalarQuantizer((3, 5, 2, 4), (2, 2))
    points = {n: [2 * k / (n - 1) - 1 for k in range(n)] for n in (2, 3, 4, 5)}
    for book, (first, second), channels in ((0, (3, 5), slice(0, 2)), (1, (2, 4), slice(2, 4))):
        indices = torch.zeros(1, 2, first * second, dtype=torch.int64)
        indices[0, book] = torch.arange(first * second)
        wanted = torch.tensor(list(itertools.product(points[first], points[second])))
        torch.testing.assert_close(quantizer.lookup(indices)[0, channels].t(), wanted)


def test_extreme_inputs_stay_in_the_alphabet() -> None:
    z_e = torch.tensor([-3e38, -1e10, -1e-30, 0.0, 1e-30, 1e10, 3e38]).expand(1, 3, 7)
    for quantizer in (
        FiniteScalarQuantizer((2, 5, 65536)),
        LookupFreeQuantizer(3),
        UniformScalarQuantizer(3, 1e-6, 9, 2.0),
    ):
        latent = quantizer(z_e)
        assert bool((latent.indices >= 0).all())
        assert all(int(c.max()) < k for c, k in zip(latent.indices.unbind(1), quantizer.codebook_sizes, strict=True))
        assert bool(latent.z.isfinite().all()) and torch.equal(quantizer.lookup(latent.indices), latent.z)


@pytest.mark.parametrize(
    "quantizer",
    [FiniteScalarQuantizer((4,) * 30, (15, 15)), LookupFreeQuantizer(62, (31, 31)), BinarySphericalQuantizer(31)],
    ids=lambda quantizer: type(quantizer).__name__,
)
def test_a_large_codebook_costs_nothing(quantizer: ScalarQuantizer) -> None:
    z_e = torch.randn(4, quantizer.dim, 32, requires_grad=True)
    latent = quantizer(z_e)
    (latent.z.sum() + latent.loss).backward()
    assert torch.equal(quantizer.eval().lookup(latent.indices), latent.z)
    assert sum(buffer.numel() for buffer in quantizer.buffers()) == 3 * quantizer.dim and not quantizer.state_dict()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_z_and_lookup_are_laid_out_alike(memory_format: torch.memory_format) -> None:
    """A decoder's convolutions may round differently in another layout, and then decoding is not reconstruction."""
    for quantizer in (FiniteScalarQuantizer((4, 3, 2)), BinarySphericalQuantizer(3), UniformScalarQuantizer(3, 0.5)):
        latent = quantizer(torch.randn(2, 3, 4, 5).contiguous(memory_format=memory_format))
        assert quantizer.lookup(latent.indices).stride() == latent.z.stride() == (60, 1, 15, 3)


def test_stats_are_of_what_the_batch_used() -> None:
    quantizer = FiniteScalarQuantizer((4, 2), (1, 1))
    z_e = torch.tensor([[[-9.0, -9.0, 9.0, 9.0, 0.2], [9.0, 9.0, 9.0, 9.0, -9.0]]])
    mask = torch.tensor([[True, True, True, True, False]])
    stats = quantizer(z_e, mask).stats
    assert float(stats["batch_perplexity"]) == pytest.approx((2 + 1) / 2)
    assert float(stats["batch_usage"]) == pytest.approx((2 / 4 + 1 / 2) / 2)
    padding = quantizer(z_e, torch.zeros(1, 5, dtype=torch.bool)).stats
    assert float(padding["batch_perplexity"]) == 1 and float(padding["batch_usage"]) == 0
    assert not quantizer.eval()(z_e).stats  # nobody reads them there


@pytest.mark.parametrize("size", [7, 100_000])  # with a table of counts, and without
def test_use_is_counted_alike_in_small_and_large_codebooks(size: int) -> None:
    indices = torch.tensor([[0, 0, 6, 1, 0, 6, 1, 0], [2, 2, 2, 2, 2, 2, 2, 2]])[None]
    stats = use_in_batch(indices, (size, 3), None)
    assert float(stats["batch_perplexity"]) == pytest.approx((2**1.5 + 1) / 2)  # 1.5 bits, and none
    assert float(stats["batch_usage"]) == pytest.approx((3 / size + 1 / 3) / 2)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (FiniteScalarQuantizer, {"levels": (8, 1)}, r"levels are \(8, 1\)"),
        (FiniteScalarQuantizer, {"levels": ()}, r"levels are \(\)"),
        (FiniteScalarQuantizer, {"levels": (2.5, 5.0)}, r"levels are \(2.5, 5.0\); give each channel an int"),
        (FiniteScalarQuantizer, {"levels": (8, 5), "groups": (1.0, 1.0)}, r"groups are \(1.0, 1.0\)"),
        (FiniteScalarQuantizer, {"levels": (65537,)}, "65536"),
        (FiniteScalarQuantizer, {"levels": (4,) * 16}, "4294967296 codes; name groups of fewer channels"),
        (FiniteScalarQuantizer, {"levels": (8, 5), "groups": (1,)}, r"groups are \(1,\).* the 2 channels"),
        (FiniteScalarQuantizer, {"levels": (8, 5), "groups": (2, 0)}, r"groups are \(2, 0\)"),
        (LookupFreeQuantizer, {"dim": 32}, "name groups of fewer channels"),
        (LookupFreeQuantizer, {"dim": 18, "groups": (9, 8)}, r"groups are \(9, 8\).* the 18 channels"),
        (BinarySphericalQuantizer, {"dim": 40, "groups": (36, 4)}, "name groups of fewer channels"),
    ],
)
def test_bad_arguments_are_refused_by_name(make: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**arguments)
