"""Drawing: temperature, top_k, top_p and the exactness of a draw."""

from __future__ import annotations

import pytest
import torch

from vqkit.priors import Choice, UniformPrior, sample
from vqkit.priors.draw import draw, truncate
from vqkit.signal import Layout

LOGITS = torch.tensor([0.4, 0.1, 0.3, 0.2]).log()


def kept(logits: torch.Tensor) -> list[int]:
    return (logits > -torch.inf).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("shared", ["samples", "positions", "both", "neither"])
def test_frequencies_agree_with_probabilities(shared: str) -> None:
    n, p = 20_000, torch.tensor([[0.05, 0.6, 0.0, 0.35], [0.25, 0.25, 0.25, 0.25]])
    if shared in ("positions", "both"):
        p = p[:1].expand(2, -1)
    logits = p.log()[None] if shared == "samples" else p.log().expand(n, 2, 4)
    logits = {"positions": logits[:, :1], "both": logits[:1, :1]}.get(shared, logits)
    drawn = draw(logits, (n, 2), torch.Generator().manual_seed(0))
    assert drawn.shape == (n, 2)
    for row, symbols in zip(p.double(), drawn.unbind(1), strict=True):
        counts = torch.bincount(symbols, minlength=4)
        assert not counts[row == 0].any()
        expected = n * row[row > 0]
        chi_square = ((counts[row > 0] - expected) ** 2 / expected).sum()
        assert chi_square < 16.3  # 0.1 % of three degrees of freedom


def test_a_symbol_of_no_probability_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for the uniform numbers at the very ends."""
    for end in (0.0, 1 - 2**-53):
        monkeypatch.setattr(torch, "rand", lambda *shape, end=end, **_: torch.full(shape, end, dtype=torch.float64))
        for k in (3, 1000):
            logits = torch.randn(1, 50, k, generator=torch.Generator().manual_seed(k))
            logits[..., 0] = logits[..., -1] = -torch.inf
            symbols = draw(logits, (2, 50))
            assert symbols.min() > 0 and symbols.max() < k - 1


@pytest.mark.parametrize("temperature", [1e-38, 1e-300])
def test_the_least_temperatures_draw_what_0_does(temperature: float) -> None:
    logits = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    symbols = Choice(temperature).symbols(logits, (5, 7))
    assert torch.equal(symbols, Choice(0).symbols(logits, (5, 7)))


def test_top_k_keeps_the_most_probable() -> None:
    assert kept(truncate(LOGITS, top_k=1)) == [0]
    assert kept(truncate(LOGITS, top_k=2)) == [0, 2]
    assert kept(truncate(LOGITS, top_k=99)) == [0, 1, 2, 3]
    assert len(kept(truncate(torch.zeros(5), top_k=2))) == 2  # of equals no more than k


def test_top_p_keeps_the_fewest_that_hold_it() -> None:
    assert kept(truncate(LOGITS, top_p=0.01)) == [0]
    assert kept(truncate(LOGITS, top_p=0.39)) == [0]
    assert kept(truncate(LOGITS, top_p=0.5)) == [0, 2]
    assert kept(truncate(LOGITS, top_p=0.85)) == [0, 2, 3]
    assert kept(truncate(LOGITS, top_p=1.0)) == [0, 1, 2, 3]
    assert kept(truncate(LOGITS, top_k=3, top_p=0.95)) == [0, 2, 3]
    assert kept(truncate(LOGITS, top_k=2, top_p=0.5)) == [0]  # 0.4 of the 0.7 that top_k leaves
    torch.testing.assert_close(truncate(LOGITS, top_k=2)[[0, 2]], LOGITS[[0, 2]])


@pytest.mark.parametrize("top_k", [None, 3, 200, 5000])
@pytest.mark.parametrize("top_p", [None, 0.3, 0.97, 1.0])
@pytest.mark.parametrize("spread", [0.0, 1.0, 8.0])
def test_a_large_alphabet_is_searched_as_a_small_one(top_k: int | None, top_p: float | None, spread: float) -> None:
    """Beside the plain way, which sorts it; how many are looked at depends on how flat it is."""
    logits = spread * torch.randn(4, 2, 1000, generator=torch.Generator().manual_seed(0))
    logits[..., 500:] = -torch.inf
    ranked = logits.sort(-1, descending=True)[0]
    if top_k is not None:
        ranked[..., top_k:] = -torch.inf
    p = ranked.double().softmax(-1)
    before = p.cumsum(-1) - p
    found = truncate(logits, top_k, top_p)
    stays = found > -torch.inf
    all_of_them = top_p in (None, 1.0)
    counts = (ranked > -torch.inf) if all_of_them else (before < top_p)
    assert (stays.sum(-1) - counts.sum(-1)).abs().max() <= (0 if all_of_them else 1)  # rounding at the edge
    assert torch.equal(found[stays], logits[stays])
    if spread:
        least = torch.where(stays, logits, torch.inf).amin(-1)
        assert (torch.where(stays, -torch.inf, logits).amax(-1) < least).all()


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_it_refuses_what_is_out_of_range(wrong: dict[str, float]) -> None:
    layout = Layout(((2,),), ((3,),))
    with pytest.raises(ValueError, match=next(iter(wrong))):
        sample(UniformPrior(layout), layout, 1, {}, choice=Choice(**wrong))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one sample"):
        sample(UniformPrior(layout), layout, 0, {})
