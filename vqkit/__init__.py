"""vqkit turns images into discrete tokens and back: tokenizers of the VQ-VAE family for your own data, priors over
their tokens, samples, and numbers on one scale."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqkit.pipeline import train as train
    from vqkit.priors import Choice as Choice
    from vqkit.run import Kept as Kept
    from vqkit.run import Run as Run
    from vqkit.run import load as load

__version__ = "0.1.0"

_PUBLIC = {
    "Choice": "vqkit.priors",
    "Kept": "vqkit.run",
    "Run": "vqkit.run",
    "load": "vqkit.run",
    "train": "vqkit.pipeline",
}
__all__ = ["Choice", "Kept", "Run", "__version__", "load", "train"]


def __getattr__(name: str) -> Any:
    """PEP 562: `import vqkit` costs nothing, a name costs what it needs."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'vqkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
