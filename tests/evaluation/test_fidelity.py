from __future__ import annotations

import math

import pytest
import torch

from vqkit.evaluation import Fidelity, psnr
from vqkit.signal import Signal

GREY = Signal(1, (16, 16), 0, 255, 256)


def pictures(signal: Signal, count: int = 6) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, signal.channels, *signal.grid), generator=torch.Generator().manual_seed(0)
    ).byte()


def test_identical_pictures_are_perfect() -> None:
    fidelity, x = Fidelity(GREY), pictures(GREY)
    fidelity.add(x, x.float())
    numbers, reasons = fidelity.measured()
    assert (numbers["mse"], numbers["nmse"], numbers["psnr"]) == (0, 0, None)
    assert numbers["ssim"] == pytest.approx(1.0)
    assert "infinite" in reasons["psnr"]
    assert "176 x 176" in reasons["ms_ssim"] and "16 x 16" in reasons["ms_ssim"]


def test_numbers_of_two_batches_are_those_of_the_whole() -> None:
    x = pictures(GREY)
    x_hat = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) * 20
    fidelity = Fidelity(GREY)
    fidelity.add(x[:4], x_hat[:4])
    fidelity.add(x[4:], x_hat[4:])
    numbers, _ = fidelity.measured()

    values = [value / 255 for value in x.flatten().tolist()]
    rounded = [round(min(max(value, 0.0), 255.0)) / 255 for value in x_hat.flatten().tolist()]
    mse = sum((a - b) ** 2 for a, b in zip(values, rounded, strict=True)) / len(values)
    mean = sum(values) / len(values)
    variance = sum((a - mean) ** 2 for a in values) / len(values)
    assert numbers["mse"] == pytest.approx(mse, rel=1e-12)
    assert numbers["nmse"] == pytest.approx(mse / variance, rel=1e-9)
    assert numbers["psnr"] == pytest.approx(10 * math.log10(1 / mse), rel=1e-12)


def test_ssim_is_the_mean_over_pictures() -> None:
    x = pictures(GREY)
    x_hat = x.clone()
    x_hat[:3] = 255 - x_hat[:3]
    halves = []
    for part in (slice(0, 3), slice(3, 6), slice(None)):
        fidelity = Fidelity(GREY)
        fidelity.add(x[part], x_hat[part].float())
        halves.append(fidelity.measured().numbers["ssim"])
    negative, same, both = halves
    assert same == pytest.approx(1.0) and negative is not None and negative < 0
    assert both == pytest.approx((negative + 1.0) / 2, abs=1e-6)


def test_an_error_below_half_a_level_is_rounded_away() -> None:
    fidelity, x = Fidelity(GREY), pictures(GREY)
    fidelity.add(x, x + 0.4)
    assert fidelity.measured().numbers["mse"] == 0


def test_large_pictures_have_ms_ssim() -> None:
    signal = Signal(3, (176, 180), 0, 255, 256)
    fidelity, x = Fidelity(signal), pictures(signal, 1)
    fidelity.add(x, x.float())
    numbers, reasons = fidelity.measured()
    assert numbers["ms_ssim"] == pytest.approx(1.0)
    assert set(reasons) == {"psnr"}


@pytest.mark.parametrize(("grid", "sentence"), [((64,), "1 grid dimensions"), ((5, 9), "at least 6 x 6")])
def test_where_there_is_no_ssim_there_is_a_reason(grid: tuple[int, ...], sentence: str) -> None:
    signal = Signal(1, grid, 0, 255, 256)
    fidelity, x = Fidelity(signal), pictures(signal)
    fidelity.add(x, x.float())
    numbers, reasons = fidelity.measured()
    assert numbers["ssim"] is None and sentence in reasons["ssim"]


def test_constant_data_have_no_normalised_error() -> None:
    fidelity, x = Fidelity(GREY), torch.full((2, 1, 16, 16), 7, dtype=torch.uint8)
    fidelity.add(x, x + 1.0)
    numbers, reasons = fidelity.measured()
    assert numbers["nmse"] is None and "variance" in reasons["nmse"]


def test_mistakes_are_named() -> None:
    fidelity, x = Fidelity(GREY), pictures(GREY)
    with pytest.raises(ValueError, match="x's shape"):
        fidelity.add(x, x[:, :, :8].float())
    with pytest.raises(ValueError, match="add originals"):
        fidelity.measured()


def test_twenty_decibels_are_a_hundredth() -> None:
    assert psnr(torch.tensor([1.0, 0.01])).tolist() == pytest.approx([0.0, 20.0])
