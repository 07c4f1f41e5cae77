from __future__ import annotations

import pytest
import torch

from vqkit.features import Classifier, Labelled, accuracy, train_classifier
from vqkit.signal import Batch, Signal

SIGNAL = Signal(1, (4, 4), 0, 255, 256, ("left", "right", "none"))


def bars(n: int, seed: int) -> Labelled:
    """Noise, brighter on the side that the class names."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 128, (n, 1, 4, 4), generator=generator)
    label = torch.randint(0, 3, (n,), generator=generator)
    x[label == 0, :, :, :1] += 100
    x[label == 1, :, :, -1:] += 100
    return Labelled(x.byte(), label)


def held_out(samples: Labelled) -> list[Batch]:
    return [
        Batch(samples.x[rows], None, {"label": samples.label[rows]}, [""] * len(samples.x[rows]))
        for rows in (slice(0, 200), slice(200, None))
    ]


def train(samples: Labelled, seed: int = 0) -> Classifier:
    return train_classifier(samples, SIGNAL, steps=25, seed=seed, bar=False)


def test_what_can_be_told_apart_is_learned_the_same_way_each_time() -> None:
    classifier, again, other = train(bars(300, 0)), train(bars(300, 0)), train(bars(300, 0), seed=1)
    assert accuracy(classifier, held_out(bars(300, 1))).top_1 > 0.9
    x = bars(5, 2).x
    assert torch.equal(classifier(x), again(x)) and not torch.equal(classifier(x), other(x))
    assert not classifier.training


def test_training_draws_from_no_global_generator() -> None:
    before = torch.get_rng_state()
    train(bars(20, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_accuracy_counts_the_likeliest_and_the_five_likeliest() -> None:
    class Fixed(Classifier):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.arange(7.0).flip(0).expand(len(x), -1)  # class 0 is the likeliest, 6 the least

    signal = SIGNAL._replace(labels=tuple("abcdefg"))
    batch = Batch(torch.zeros(4, 1, 4, 4), None, {"label": torch.tensor([0, 4, 5, 0])}, [""] * 4)
    assert accuracy(Fixed(signal), [batch]) == (0.5, 0.75, 4)


@pytest.mark.parametrize("grid", [(1,), (4096,), (5, 7), (64, 48), (3, 32, 32)])
def test_it_takes_every_grid(grid: tuple[int, ...]) -> None:
    signal = SIGNAL._replace(channels=2, grid=grid)
    assert Classifier(signal, width=8)(torch.zeros(2, 2, *grid)).shape == (2, 3)


def test_mistakes_are_named() -> None:
    samples = bars(4, 0)
    with pytest.raises(ValueError, match="data of two or more"):
        Classifier(SIGNAL._replace(labels=("one",)))
    with pytest.raises(ValueError, match="one label a sample"):
        train(samples._replace(label=samples.label[:3]))
    with pytest.raises(ValueError, match="one label a sample"):
        train(Labelled(samples.x[:0], samples.label[:0]))
    classifier = Classifier(SIGNAL)
    with pytest.raises(ValueError, match="at least one sample"):
        accuracy(classifier, [])
    with pytest.raises(ValueError, match="conditional on a label"):
        accuracy(classifier, [Batch(samples.x, None, {}, [""] * 4)])
