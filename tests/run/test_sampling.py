"""Drawing by another number of steps and in another precision: of a copy, and refused where there is neither."""

from __future__ import annotations

import pytest
import torch

from vqkit.priors import MaskedTransformerPrior, PixelCNN, Prior, Stack, UniformPrior, sample
from vqkit.run.sampling import variant
from vqkit.signal import Layout

ONE = Layout(((4, 4),), ((9,),))
TWO = Layout(((2, 2), (4, 4)), ((9,), (9,)))


def masked(layout: Layout = ONE) -> MaskedTransformerPrior:
    torch.manual_seed(0)
    return MaskedTransformerPrior(layout, width=16, depth=1, joint_depth=1, heads=2, steps=8).eval()


def passes(prior: Prior) -> int:
    """Steps of a walk."""
    counts: list[int] = []
    sample(prior, prior.layout, 2, {}, advance=counts.append)
    return len(counts)


def test_a_masked_prior_takes_as_many_steps_as_it_is_told() -> None:
    prior = masked()
    assert [passes(variant(prior, steps, "float32")) for steps in (1, 3, 5)] == [1, 3, 5]
    assert prior.steps == 8 and passes(prior) == 8


def test_so_does_one_of_several_levels() -> None:
    def fine(layout: Layout) -> Prior:
        return MaskedTransformerPrior(layout, width=16, depth=1, heads=2, context_channels=4, steps=8)

    stack = Stack(TWO, [lambda layout: PixelCNN(layout, width=8, depth=1), fine], width=8).eval()
    assert passes(stack) == 4 + 8 and passes(variant(stack, 2, "float32")) == 4 + 2


def test_what_is_asked_for_nothing_is_the_prior_itself() -> None:
    prior = masked()
    assert variant(prior, None, "float32") is prior


def test_bfloat16_is_of_a_copy_whose_distribution_is_about_the_same() -> None:
    prior = masked()
    for parameter in prior.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    indices = (torch.randint(9, (8, 1, 4, 4)),)
    half = variant(prior, None, "bfloat16")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in prior.parameters()} == {torch.float32}
    nats = [-float(p.log_prob(indices, {})[0].mean()) for p in (prior, half)]
    assert nats[0] != nats[1] and nats[1] == pytest.approx(nats[0], rel=0.05)


def test_what_cannot_be_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"one, a UniformPrior, takes one a symbol or a level; leave steps out"):
        variant(UniformPrior(ONE), 4, "float32")
    with pytest.raises(ValueError, match="steps is 0; a level is filled in at least one step"):
        variant(masked(), 0, "float32")
    with pytest.raises(ValueError, match="precision is float16; make it float32 or bfloat16"):
        variant(masked(), None, "float16")  # type: ignore[arg-type]
