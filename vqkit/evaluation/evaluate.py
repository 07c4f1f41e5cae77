"""Every number of one split, in one pass over it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from vqkit.autoencoders import Autoencoder
from vqkit.evaluation.codebook import CodebookHealth
from vqkit.evaluation.evidence import Evidence
from vqkit.evaluation.fidelity import Fidelity
from vqkit.evaluation.rate import Rate
from vqkit.priors import Prior
from vqkit.signal import Batch, Indices

_SEED = 0  # of the z that are drawn


def evaluate(
    tokenizer: Autoencoder, prior: Prior | None, unigram: Prior | None, batches: Iterable[Batch]
) -> dict[str, Any]:
    """Fidelity and the evidence lower bound of a split and, where the tokenizer has indices, their rate and codebook
    health: keys of `MEASURES`, `Rate.of_levels`, `CodebookHealth.of_codebooks`, the `grids` of the levels, and
    `reasons`.

    Each batch is encoded once, in float32. Fidelity is of what the indices decode to, so of what a file of tokens
    gives back; where there are none, of what the posterior's mean decodes to. The bound is of one z drawn from the
    posterior of each sample, with a fixed seed. `unigram` holds the training split's code frequencies; it and `prior`
    are None where there are no indices. A number that cannot be measured is None, and `reasons` says why in a sentence
    under the same key. The dict is plain JSON. Raises ValueError where there are no samples, where samples are padded
    or lack a label that the decoder must be told, and where the unigram is missing.
    """
    fidelity, evidence = Fidelity(tokenizer.signal), Evidence(tokenizer)
    health = rate = None
    if tokenizer.discrete:
        if unigram is None:
            raise ValueError("a rate is compared with the unigram's; fit a UnigramPrior to the train tokens")
        layout = tokenizer.layout()
        health, rate = CodebookHealth(layout), Rate(layout, prior, unigram)
    generator = torch.Generator().manual_seed(_SEED)
    samples = 0
    for batch in batches:
        if batch.mask is not None:
            raise ValueError("evaluation takes whole samples; cut the source into windows that need no padding")
        x = batch.x.to(tokenizer.device)
        side = {name: fact.to(tokenizer.device) for name, fact in batch.side.items()}
        latents, z = tokenizer.posterior(x, generator=generator)
        evidence.add(x, side, latents, z)
        if health is None or rate is None:
            fidelity.add(x, tokenizer.reconstruct(x, side))
        else:
            indices: Indices = tuple(latent.indices for latent in latents)  # type: ignore[misc]
            fidelity.add(x, tokenizer.decode(indices, side))
            health.add(indices)
            rate.add(indices, side)
        samples += x.shape[0]
    if not samples:
        raise ValueError("there is nothing to evaluate; name a source with at least one sample")
    rates = None if rate is None else rate.measured()
    parts = [fidelity.measured(), None if health is None else health.measured(), rates, evidence.measured(rates)]
    found = [part for part in parts if part is not None]
    numbers = {name: value for part in found for name, value in part.numbers.items()}
    reasons = {name: text for part in found for name, text in part.reasons.items()}
    of_levels: dict[str, Any] = {}
    if health is not None and rate is not None:
        grids = [list(grid) for grid in rate.layout.grids]
        of_levels = {"grids": grids, **rate.of_levels(), **health.of_codebooks()}
    return {**numbers, "samples": samples, **of_levels, "reasons": reasons}
