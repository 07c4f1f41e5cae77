"""PixelCNN: what it cannot be built of."""

from __future__ import annotations

from typing import Any

import pytest

from vqkit.priors import PixelCNN
from vqkit.signal import Layout


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"depth": 0}, "depth is 0"),
        ({"kernel_size": 2}, "odd number"),
        ({"attention_every": 1, "heads": 5}, "multiple of heads"),
        ({"attention_every": 2}, "give at most 1, or 0"),
    ],
)
def test_it_refuses_what_cannot_be_built(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PixelCNN(**{"layout": Layout(((3, 3),), ((5,),)), "width": 12, "depth": 1, **changes})
