"""The fused search of a GPU, on one where there is one, else in Triton's interpreter on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.bottlenecks import nearest_code, search

pytest.importorskip("triton")
from vqkit.bottlenecks import fused_search

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search uses the kernel on this device too. Triton's interpreter takes bfloat16 for integers in a product; in
    float32 the same numbers have the same products."""
    if DEVICE.type == "cuda":
        return
    kernel = fused_search._kernel

    class Widened:
        def __getitem__(self, grid: tuple[int, int]) -> object:
            return lambda *arguments, **options: kernel[grid](
                *(part.float() if part.dtype == torch.bfloat16 else part for part in arguments[:4]), *arguments[4:]
            )

    monkeypatch.setattr(fused_search, "_kernel", Widened())
    monkeypatch.setattr(search, "_fused", lambda device, dim: fused_search.proven_nearest)


def squared_distances(z: Tensor, codebook: Tensor) -> Tensor:
    return (z.double()[:, None] - codebook.double()).square().sum(2)


def check(z: Tensor, codebook: Tensor, bias: Tensor | None = None) -> Tensor:
    """Holds what is proven, and all that the search returns, to the float64 distances. -> which rows are proven."""
    distances = squared_distances(z, codebook)
    wanted = (distances if bias is None else distances + bias).argmin(1)
    z, codebook, bias = z.to(DEVICE), codebook.to(DEVICE), None if bias is None else bias.to(DEVICE)
    codes, proven = fused_search.proven_nearest(z.float(), codebook.float(), bias)
    codes, proven = codes.cpu(), proven.cpu()
    assert codes.dtype == torch.int64 and codes.shape == proven.shape == wanted.shape
    assert torch.equal(codes[proven], wanted[proven])
    assert torch.equal(nearest_code(z, codebook, bias).cpu(), wanted)
    return proven


@pytest.mark.parametrize(("n", "k", "dim"), [(1, 1, 1), (7, 5, 3), (300, 64, 16), (129, 130, 100)])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_it_is_the_nearest_by_the_float64_distance(n: int, k: int, dim: int, offset: float) -> None:
    proven = check(torch.randn(n, dim) + offset, torch.randn(k, dim) + offset)
    assert float(proven.float().mean()) > 0.97


@pytest.mark.parametrize(("programs", "block"), [(1, 128), (2, 130), (64, 1 << 16)])
def test_neither_blocks_nor_programs_show(programs: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_search, "_PROGRAMS", programs)
    monkeypatch.setattr(fused_search, "_BLOCK", block)
    assert check(torch.randn(140, 6), torch.randn(200, 6)).all()


@pytest.mark.parametrize("programs", [1, 64])  # one walks over all tiles, or each has its own
def test_of_equal_codes_none_is_proven_and_the_first_wins(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_search, "_PROGRAMS", programs)
    codes = torch.randn(5, 3)
    z = torch.cat([codes, torch.randn(20, 3)])
    for copies in (4, 40):  # within a tile of codes, and across
        assert not check(z, codes.repeat(copies, 1)).any()
        check(z, codes.repeat_interleave(copies, 0))
    check(torch.zeros(9, 3), torch.zeros(70, 3))


@pytest.mark.parametrize("programs", [1, 64])  # one walks over all tiles, or each has its own
def test_close_codes_are_left_to_the_portable_search(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_search, "_PROGRAMS", programs)
    codes = torch.randn(60, 24)
    for apart in (1e-1, 1e-6):
        proven = check(torch.randn(50, 24), torch.cat([codes, codes + torch.randn(60, 24) * apart]))
        assert float(proven.float().mean()) > 0.9 if apart == 1e-1 else not proven.any()


def test_a_bias_is_added_to_the_squared_distance() -> None:
    z, codebook = torch.randint(-8, 9, (200, 4)).float(), torch.randint(-8, 9, (100, 4)).float()
    assert check(z, codebook, torch.randint(0, 200, (100,)).float()).any()
    check(z, codebook, -codebook.double().square().sum(1))  # leaves the inner products, which tie


@pytest.mark.parametrize("large", [1e15, torch.inf])
def test_a_large_bias_forbids_a_code_and_no_other(large: float) -> None:
    bias = torch.zeros(100)
    bias[::3] = large
    assert not check(torch.randn(30, 8), torch.randn(100, 8), bias).any()  # the bound is of the largest offset


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1e15])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, in the interpreter
def test_any_size_of_numbers(size: float) -> None:
    proven = check(torch.randn(30, 5) * size, torch.randn(70, 5) * size)
    assert proven.all() if size > 1 else not proven.any()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_row_that_is_out_of_range_is_not_proven_and_leaves_the_others_alone() -> None:
    z, codebook = torch.randn(50, 8), torch.randn(100, 8)
    wanted = squared_distances(z, codebook).argmin(1)
    z[7], z[8], z[9] = torch.nan, torch.inf, 1e30
    proven = fused_search.proven_nearest(z.to(DEVICE), codebook.to(DEVICE), None)[1]
    assert not proven[[7, 8, 9]].any() and int(proven.sum()) == 47
    chosen = nearest_code(z.to(DEVICE), codebook.to(DEVICE)).cpu()
    assert torch.equal(chosen[10:], wanted[10:]) and int(chosen.min()) >= 0 and int(chosen.max()) < 100


def test_no_rows_have_no_codes() -> None:
    assert nearest_code(torch.zeros(0, 2, device=DEVICE), torch.randn(3, 2, device=DEVICE)).shape == (0,)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="needs a GPU")
@pytest.mark.parametrize(("n", "k", "dim"), [(70000, 513, 64), (5000, 3000, 256), (300, 20000, 32), (1000, 700, 1024)])
def test_a_gpu_finds_what_the_cpu_finds(n: int, k: int, dim: int) -> None:
    z, codebook = torch.randn(n, dim), torch.randn(k, dim)
    assert search._fused(torch.zeros(1, device=DEVICE).device, dim) is not None
    assert torch.equal(nearest_code(z.to(DEVICE), codebook.to(DEVICE)).cpu(), nearest_code(z, codebook))
