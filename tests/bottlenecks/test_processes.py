"""Two processes on the halves of a batch are one process on the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import vqkit

SCRIPT = Path(__file__).with_name("two_processes.py")
KINDS = pytest.mark.parametrize(
    "kind",
    [
        "ema",
        "vector",
        "cosine",
        "residual",
        "shared residual",
        "sim vector",
        "product",
        "index backpropagation",
        "projected lookup-free",
        "projected binary spherical",
    ],
)


def run(folder: Path, world: int) -> list[dict[str, Any]]:
    root = str(Path(vqkit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder), str(rank), str(world)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    try:
        for process in processes:
            _, said = process.communicate(timeout=120)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [torch.load(folder / f"{rank}-of-{world}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Of the process that was alone, then of the two."""
    folder = tmp_path_factory.mktemp("processes")
    return run(folder, 1) + run(folder, 2)


@KINDS
def test_the_processes_agree_to_the_bit(results: list[dict[str, Any]], kind: str) -> None:
    _, first, second = results
    assert first[kind].keys() == second[kind].keys()
    for name, value in first[kind].items():
        assert torch.equal(value, second[kind][name]), name


@KINDS
def test_two_processes_are_one_on_the_joined_batch(results: list[dict[str, Any]], kind: str) -> None:
    alone, first, _ = results
    torch.testing.assert_close(first[kind], alone[kind], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["ema", "vector"])
def test_codes_were_revived_meanwhile_in_the_same_steps(results: list[dict[str, Any]], kind: str) -> None:
    alone, first, _ = results
    assert int(alone[f"{kind} revived"].sum()) == 2
    assert torch.equal(first[f"{kind} revived"], alone[f"{kind} revived"])


def test_initialisation_is_the_first_processes(results: list[dict[str, Any]]) -> None:
    alone, first, second = results
    assert torch.equal(first["initialised"], second["initialised"])
    assert torch.equal(first["initialised"], alone["initialised"])
