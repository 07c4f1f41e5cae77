from __future__ import annotations

import math

import pytest
import torch

from vqkit.evaluation import CodebookHealth, perplexity, usage
from vqkit.signal import Layout


@pytest.mark.parametrize(
    ("counts", "expected"),
    [([5, 5, 5, 5], 4.0), ([9, 0, 0, 0], 1.0), ([2, 1, 1, 0], math.exp(1.5 * math.log(2)))],
)
def test_known_perplexities(counts: list[int], expected: float) -> None:
    assert float(perplexity(torch.tensor(counts))) == pytest.approx(expected)


def test_usage_is_of_each_alphabet() -> None:
    assert usage(torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0]]), (4, 2)).tolist() == [0.5, 0.5]


def test_counts_equal_a_loop_over_symbols() -> None:
    layout = Layout(((2,), (3, 2)), ((4,), (5, 3)))
    generator = torch.Generator().manual_seed(0)
    batches = [
        tuple(
            torch.stack([torch.randint(0, k, (size, *grid), generator=generator) for k in sizes], 1)
            for grid, sizes in zip(layout.grids, layout.codebook_sizes, strict=True)
        )
        for size in (3, 2)
    ]
    health = CodebookHealth(layout)
    expected = [torch.zeros(1, 4, dtype=torch.int64), torch.zeros(2, 5, dtype=torch.int64)]
    for indices in batches:
        health.add(indices)
        for level, counts in zip(indices, expected, strict=True):
            for sample in level:
                for book, symbols in enumerate(sample):
                    for symbol in symbols.flatten().tolist():
                        counts[book, symbol] += 1
    assert all(torch.equal(a, b) for a, b in zip(health.counts, expected, strict=True))
    assert health.tokens == 5 * sum(layout.tokens)


def test_several_codebooks_are_averaged() -> None:
    layout = Layout(((2,),), ((4, 2),))
    health = CodebookHealth(layout)
    health.add((torch.tensor([[[0, 1], [1, 1]]]),))
    numbers = health.measured().numbers
    assert numbers == {"usage": 0.5, "perplexity": pytest.approx(1.5), "held_out_tokens": 4}


def test_every_codebook_of_every_level_has_its_numbers() -> None:
    health = CodebookHealth(Layout(((1,), (2,)), ((5,), (4, 2))))
    health.add((torch.tensor([[[3]]]), torch.tensor([[[0, 1], [1, 1]]])))
    numbers = health.of_codebooks()
    assert numbers["usage_of_codebooks"] == [[0.2], [0.5, 0.5]]
    assert numbers["perplexity_of_codebooks"] == [[1.0], [pytest.approx(2.0), 1.0]]
