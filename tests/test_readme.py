"""The README's code does what it says."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
import torch

import vqkit
from vqkit import cli, recipe

README = (Path(__file__).parent.parent / "README.md").read_text()
TINY = {
    "training.max_steps": 6,
    "prior_training.max_steps": 4,
    "tokenizer.width": 8,
    "prior.width": 16,
    "prior.heads": 2,
}


def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(vqkit, "train", partial(vqkit.train, **TINY), raising=False)
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        names: dict[str, object] = {"z_e": torch.randn(2, 64, 4, 4)}
        exec(block, names)
        if "threes" in names:
            assert names["x_hat"].shape == names["x"].shape  # type: ignore[attr-defined]
            assert names["threes"].shape == (16, 1, 8, 8)  # type: ignore[attr-defined]
    assert (tmp_path / "runs" / "first" / "threes.png").exists()


def test_the_verbs_and_recipes_are_those_that_there_are() -> None:
    assert set(re.findall(r"^\| `vqkit (\w+)", README, re.MULTILINE)) == set(cli.VERBS)
    assert all(f"`{name}`" in README for name in recipe.names())


def test_every_link_and_picture_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`((?:docs|benchmarks)/[\w./-]+)`", README):
        assert (Path(__file__).parent.parent / target).exists(), target
