"""Every number of one split, in one pass over it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vqkit.autoencoders import Autoencoder
from vqkit.evaluation.codebook import CodebookHealth
from vqkit.evaluation.distortion import Distortion
from vqkit.evaluation.rate import Rate
from vqkit.priors import Prior
from vqkit.signal import Batch


def evaluate(tokenizer: Autoencoder, prior: Prior | None, unigram: Prior, batches: Iterable[Batch]) -> dict[str, Any]:
    """Distortion, codebook health and rate of a split: the keys of `MEASURES`, `CodebookHealth.of_codebooks`, and
    `reasons`.

    Each batch is encoded once, in float32, and decoded from its indices, so what is measured is what a file of tokens
    gives back. `unigram` holds the training split's code frequencies. A number that cannot be measured is None, and
    `reasons` says why in a sentence under the same key. The dict is plain JSON. Raises ValueError where there are no
    samples, where samples are padded, and where the tokenizer has no indices.
    """
    layout = tokenizer.layout()
    device = next(tokenizer.parameters()).device
    distortion, health, rate = Distortion(tokenizer.signal), CodebookHealth(layout), Rate(layout, prior, unigram)
    samples = 0
    for batch in batches:
        if batch.mask is not None:
            raise ValueError("evaluation takes whole samples; cut the source into windows that need no padding")
        x = batch.x.to(device)
        side = {name: fact.to(device) for name, fact in batch.side.items()}
        indices = tokenizer.encode(x, side)
        distortion.add(x, tokenizer.decode(indices, side))
        health.add(indices)
        rate.add(indices, side)
        samples += x.shape[0]
    if not samples:
        raise ValueError("there is nothing to evaluate; name a source with at least one sample")
    found = [part.measured() for part in (distortion, health, rate)]
    numbers = {name: value for part in found for name, value in part.numbers.items()}
    reasons = {name: text for part in found for name, text in part.reasons.items()}
    return {**numbers, "samples": samples, **health.of_codebooks(), "reasons": reasons}
