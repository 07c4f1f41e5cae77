"""float32 is float32 inside the block, and what the user allowed is allowed again after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vqkit.bottlenecks import nearest_code
from vqkit.nn import exact_float32

KINDS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.mkldnn.matmul,
    torch.backends.mkldnn.conv,
)


@pytest.fixture(params=["legacy", "new"])
def allowed(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Rounding allowed through either of torch's two ways of saying so."""
    before = [kind.fp32_precision for kind in KINDS]
    if request.param == "legacy":
        torch.set_float32_matmul_precision("medium")
    else:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    yield [kind.fp32_precision for kind in KINDS]
    if request.param == "legacy":
        torch.set_float32_matmul_precision("highest")
    for kind, precision in zip(KINDS, before, strict=True):
        kind.fp32_precision = precision


def test_it_holds_inside_the_block_alone(allowed: list[str]) -> None:
    with exact_float32():
        assert all(kind.fp32_precision == "ieee" for kind in KINDS)
    assert [kind.fp32_precision for kind in KINDS] == allowed


def test_the_search_is_exact_whatever_is_allowed(allowed: list[str]) -> None:
    z, codebook = torch.randn(2000, 32) + 3, torch.randn(600, 32) + 3
    distances = (z.double()[:, None] - codebook.double()).square().sum(2)
    assert torch.equal(nearest_code(z, codebook), distances.argmin(1))
