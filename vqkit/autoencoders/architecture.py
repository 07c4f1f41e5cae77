"""How an autoencoder comes from a signal: the factory that a recipe names."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vqkit.autoencoders.autoencoder import Autoencoder
from vqkit.signal import Signal


class Architecture(ABC):
    """Everything about an autoencoder but the data it is for: call it with the `Signal` of a source."""

    @abstractmethod
    def __call__(self, signal: Signal) -> Autoencoder:
        """A new, untrained autoencoder. Raises ValueError where the signal
        does not fit."""
