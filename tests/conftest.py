"""What holds for every test: no network, no screen, one thread, one seed."""

from __future__ import annotations

import os

# Before any import that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import random

import hypothesis
import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # where kernels cannot be compiled; before Triton's import too
torch.set_num_threads(1)  # the nets here are too small to share

# A failure must be the same on every machine, however slow.
hypothesis.settings.register_profile("vqkit", deadline=None, derandomize=True)
hypothesis.settings.load_profile("vqkit")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """What a module builds when it is imported is the same, whatever else is collected."""
    _seed()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """The order in which tests run changes nothing."""
    _seed()


def _seed() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  libraries still draw from the global generator
    torch.manual_seed(0)
