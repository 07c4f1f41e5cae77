"""The exact nearest code against brute force in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import nearest_code, search


def squared_distances(z: Tensor, codebook: Tensor) -> Tensor:
    return (z.double()[:, None] - codebook.double()).square().sum(2)


@pytest.mark.parametrize(("n", "k", "dim"), [(1, 1, 1), (7, 5, 3), (1000, 64, 8), (300, 513, 32)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_it_is_the_nearest_by_the_float64_distance(n: int, k: int, dim: int, offset: float) -> None:
    z, codebook = torch.randn(n, dim) + offset, torch.randn(k, dim) + offset
    distances = squared_distances(z, codebook)
    chosen = nearest_code(z, codebook)
    assert chosen.shape == (n,) and chosen.dtype == torch.int64
    assert torch.equal(chosen, distances.argmin(1))


def test_it_is_exact_where_float32_is() -> None:
    z, codebook = torch.randint(-8, 9, (500, 4)).float(), torch.randint(-8, 9, (60, 4)).float()
    assert torch.equal(nearest_code(z, codebook), squared_distances(z, codebook).argmin(1))


def test_what_decides_between_equal_codes_does_not_depend_on_batch_mates() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        values = torch.randn(8, generator=generator) * torch.randn(8, generator=generator).exp()  # sums that round
        permuted = torch.stack([values[torch.randperm(8, generator=generator)] for _ in range(6)])
        codebook = torch.cat([permuted, torch.full((100, 8), 9.0)])  # for the mates, a crowd of candidates
        z = torch.cat([torch.full((1, 8), 0.3), torch.full((50, 8), 8.0)])
        assert nearest_code(z[:1], codebook)[0] == nearest_code(z, codebook)[0]


def test_ties_go_to_the_lowest_index() -> None:
    codes = torch.randn(5, 3)
    assert torch.equal(nearest_code(codes, codes.repeat(4, 1)), torch.arange(5))
    assert torch.equal(nearest_code(torch.zeros(9, 3), torch.zeros(33, 3)), torch.zeros(9, dtype=torch.int64))


@pytest.mark.parametrize("scores", [1, 7, 32, 33, 64, 100, 31 * 32])
def test_tiles_do_not_show(scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    z, codebook = torch.randint(-9, 10, (31, 4)).float(), torch.randint(-9, 10, (32, 4)).float()
    whole = nearest_code(z, codebook)
    monkeypatch.setattr(search, "_TILE_SCORES", scores)
    assert torch.equal(nearest_code(z, codebook), whole)


def test_one_code_wins_everything() -> None:
    assert torch.equal(nearest_code(torch.randn(6, 2), torch.randn(1, 2)), torch.zeros(6, dtype=torch.int64))


def test_no_vectors_have_no_codes() -> None:
    chosen = nearest_code(torch.zeros(0, 2), torch.randn(3, 2))
    assert chosen.shape == (0,) and chosen.dtype == torch.int64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    z, codebook = torch.randn(200, 8).to(dtype), torch.randn(400, 8)
    wanted = nearest_code(z.float(), codebook)
    assert torch.equal(nearest_code(z, codebook), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest_code(z, codebook), wanted)


@pytest.mark.parametrize(("z", "codebook"), [((3, 4), (5, 3)), ((3, 4, 1), (5, 4)), ((4,), (5, 4)), ((3, 4), (4,))])
def test_wrong_shapes_are_refused(z: tuple[int, ...], codebook: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        nearest_code(torch.zeros(z), torch.zeros(codebook))


@pytest.mark.parametrize("k", [65, 127, 128, 200])
def test_a_padded_codebook_answers_within_itself(k: int) -> None:
    z, codebook = torch.randint(-9, 10, (300, 4)).float(), torch.randint(-9, 10, (k, 4)).float()
    assert torch.equal(nearest_code(z, codebook), squared_distances(z, codebook).argmin(1))
    assert int(nearest_code(torch.full((3, 4), torch.nan), codebook).max()) < k


@pytest.mark.parametrize("k", [60, 200])
def test_a_bias_is_added_to_the_squared_distance(k: int) -> None:
    z, codebook = torch.randint(-8, 9, (500, 4)).float(), torch.randint(-8, 9, (k, 4)).float()
    bias = torch.randint(0, 200, (k,)).float()
    wanted = (squared_distances(z, codebook) + bias).argmin(1)
    assert torch.equal(nearest_code(z, codebook, bias), wanted)
    assert not torch.equal(nearest_code(z, codebook), wanted)
    with pytest.raises(ValueError, match="one number for each"):
        nearest_code(z, codebook, bias[:-1])


PRECISIONS = pytest.mark.parametrize("precisions", [[torch.float32], [torch.bfloat16, torch.float32], [torch.bfloat16]])


@PRECISIONS
@pytest.mark.parametrize("spread", [1.0, 0.1, 1e-3, 1e-6])
def test_every_precision_finds_the_same(
    precisions: list[torch.dtype], spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The closer the codes lie to each other, the more of them a coarse score leaves open.
    z, codebook = torch.randn(200, 24) * spread + 1, torch.randn(700, 24) * spread + 1
    monkeypatch.setattr(search, "_precisions", lambda device, size: list(precisions))
    assert torch.equal(nearest_code(z, codebook), squared_distances(z, codebook).argmin(1))


@PRECISIONS
def test_equal_codes_do_not_take_memory_and_the_first_of_them_wins(
    precisions: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_precisions", lambda device, size: list(precisions))
    codebook = torch.randn(3, 16).repeat(500, 1)
    assert int(nearest_code(torch.randn(400, 16), codebook).max()) < 3
    assert not nearest_code(torch.randn(50, 4), torch.zeros(2000, 4)).any()


@pytest.mark.parametrize("size", [1e-30, 1e-23, 1e-22, 1e-21, 1e-20, 1e-3, 1e15, 1e25])
def test_any_size_of_numbers_gives_codes_of_the_codebook(size: float) -> None:
    z, codebook = torch.randn(100, 5) * size, torch.randn(70, 5) * size
    chosen = nearest_code(z, codebook)
    assert int(chosen.min()) >= 0 and int(chosen.max()) < 70
    assert torch.equal(chosen, squared_distances(z, codebook).argmin(1))


@pytest.mark.parametrize("size", [1e6, 1e7, 1e8, 1e15])
def test_one_code_far_away_does_not_blur_the_others(size: float) -> None:
    z, codebook = torch.randn(400, 8), torch.randn(300, 8)
    codebook[17] *= size
    assert torch.equal(nearest_code(z, codebook), squared_distances(z, codebook).argmin(1))


@pytest.mark.parametrize("large", [1e15, 1e30, torch.inf])
def test_a_large_bias_forbids_a_code_and_no_other(large: float) -> None:
    z, codebook, bias = torch.randn(400, 8), torch.randn(300, 8), torch.zeros(300)
    bias[::3] = large
    assert torch.equal(nearest_code(z, codebook, bias), (squared_distances(z, codebook) + bias).argmin(1))


@pytest.mark.parametrize("size", [1.0, 1e-4, 1e-6])
def test_a_bias_that_cancels_the_norms_leaves_the_greatest_product(size: float) -> None:
    half = torch.randn(150, 8)
    z, codebook = torch.randn(2000, 8) * size, torch.cat([half, -half])
    bias = -codebook.double().square().sum(1)
    assert torch.equal(nearest_code(z, codebook, bias), (z.double() @ codebook.double().t()).argmax(1))


def test_a_row_that_is_out_of_range_leaves_the_others_alone() -> None:
    z, codebook = torch.randn(50, 8), torch.randn(300, 8)
    z[7] = torch.nan
    z[9] *= 1e30
    chosen, wanted = nearest_code(z, codebook), squared_distances(z, codebook).argmin(1)
    good = torch.arange(50) != 7
    assert torch.equal(chosen[good], wanted[good]) and 0 <= int(chosen[7]) < 300


def test_a_gpu_without_triton_is_searched_portably(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused() -> object:
        return search._fused.__wrapped__(torch.device("cuda", 99), 4)

    assert search._fused(torch.device("cpu"), 4) is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert fused() is None
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with pytest.warns(UserWarning, match="without Triton, which takes longer"):
        assert fused() is None
