from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from vqkit.evaluation.neighbours import memorisation, memorisation_rows, nearest
from vqkit.signal import Batch, Signal

SIGNAL = Signal(3, (4, 2), 0, 255, 256)


def pictures(n: int, seed: int) -> Tensor:
    return torch.randint(0, 256, (n, 3, 4, 2), generator=torch.Generator().manual_seed(seed)).byte()


def stream(x: Tensor, size: int) -> list[Batch]:
    return [Batch(part, None, {}, [""] * len(part)) for part in x.split(size)]


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_neighbours_are_those_of_brute_force(size: int) -> None:
    queries, train = pictures(9, 0), pictures(50, 1)
    train[40] = train[3]
    train[17] = queries[2]
    difference = (queries[:, None].double() - train[None].double()) / 255
    distance, row = difference.square().flatten(2).mean(2).sqrt().sort(dim=1, stable=True)
    found = nearest(queries, stream(train, size), SIGNAL, k=4)
    assert torch.equal(found.x, train[row[:, :4]])
    assert torch.allclose(found.distance, distance[:, :4], rtol=1e-12, atol=0)
    assert found.distance[2, 0] == 0 and found.searched == 50


def test_floats_have_neighbours_too() -> None:
    signal = SIGNAL._replace(low=-1.0, high=1.0, levels=None)
    train = torch.rand(20, 3, 4, 2) * 2 - 1
    found = nearest(train[5:7] + 1e-3, stream(train, 6), signal)
    assert torch.equal(found.x[:, 0], train[5:7])
    assert found.distance.flatten().tolist() == pytest.approx([5e-4, 5e-4], rel=1e-3)


def test_copies_are_told_from_new_pictures() -> None:
    train, held_out = pictures(200, 0), pictures(30, 1)

    def found(samples: Tensor) -> dict[str, float]:
        result = memorisation(SIGNAL, samples, held_out, train[:5] // 2, stream(train, 64))
        assert json.loads(json.dumps(result)) == result
        return result

    assert found(train[10:40])["ratio"] == 0 and found(train[10:40])["sample_distance"] == 0
    new = found(pictures(30, 2))
    assert new["ratio"] == pytest.approx(1, abs=0.1) and new["searched"] == 200 and new["samples"] == 30
    assert new["ratio"] == new["sample_distance"] / new["held_out_distance"]
    assert new["ratio_of_copies"] == new["copy_distance"] / new["held_out_distance"] > 0


def test_held_out_pictures_that_were_trained_on_leave_no_ratio() -> None:
    train = pictures(9, 0)
    found = memorisation(SIGNAL, train[:2], train[4:6], train[:1], stream(train, 4))
    assert found["ratio"] is None and found["ratio_of_copies"] is None
    assert next(value for _, value in memorisation_rows(found)) == "—"


def test_a_stream_is_as_long_as_is_asked_for() -> None:
    with pytest.raises(ValueError, match="3 samples to search; give at least 4"):
        nearest(pictures(2, 0), stream(pictures(3, 1), 2), SIGNAL, k=4)
