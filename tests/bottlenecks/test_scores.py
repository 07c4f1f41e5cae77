"""The bound on the errors of scores against scores in float64."""

from __future__ import annotations

import pytest
import torch

from vqkit.bottlenecks.scores import Scores


@pytest.mark.parametrize(
    ("dtype", "digits", "tight"), [(torch.float32, 1, 1e-5), (torch.bfloat16, 1, 1e-2), (torch.bfloat16, 2, 1e-4)]
)
@pytest.mark.parametrize("shift", [0.0, 30.0])
@pytest.mark.parametrize("biased", [False, True])
def test_no_score_is_further_off_than_the_bound(
    dtype: torch.dtype, digits: int, tight: float, shift: float, biased: bool
) -> None:
    z, codebook = torch.randn(300, 24) + shift, torch.randn(90, 24) + shift
    bias = torch.rand(90) * 5 if biased else None
    scores = Scores(codebook, bias, dtype, 26, 64, digits)
    rows, error = scores.rows(z)
    assert rows.shape == (digits, 300, 26) and scores.codes.shape == (digits, 128, 26)
    assert (rows[:, :, 24:] == 1).all() and not scores.codes[:, :, 24:].any() and not scores.codes[:, 90:].any()

    e, mean = scores.codes[:, :90].float(), scores.mean.double()
    left = rows.float()
    found = scores.offset + left[0] @ e[0].t()
    if digits == 2:
        found += left[0] @ e[1].t() + left[1] @ e[0].t()
    centred, codes = z.double() - mean, codebook.double() - mean
    offset = (codes.square().sum(1) + (0 if bias is None else bias)) / 2
    off = (found - (offset - centred @ codes.t())).abs()
    assert (off <= error[:, None]).all()
    norms = centred.norm(dim=1) * codes.norm(dim=1).amax() + offset.abs().amax()
    assert (error < tight * norms).all()  # and it says something


def test_a_bound_of_numbers_out_of_range_is_not_finite() -> None:
    z = torch.randn(5, 4)
    z[0], z[1], z[2] = torch.nan, torch.inf, 1e38
    for dtype, digits in ((torch.float32, 1), (torch.bfloat16, 1), (torch.bfloat16, 2)):
        error = Scores(torch.randn(9, 4) * 100, None, dtype, 4, 1, digits).rows(z)[1]
        assert error.isfinite().tolist() == [False, False, False, True, True]
