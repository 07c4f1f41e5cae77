"""What the tokens cost: three rates, of one split, under a learned prior and under two that know less; and the share of
each level."""

from __future__ import annotations

import math
from itertools import chain

import torch
from torch import Tensor

from vqkit.evaluation.measures import Measured
from vqkit.priors import Prior
from vqkit.signal import Indices, Layout, Side

_NO_PRIOR = "The run has no prior; train one to know what these tokens cost."


class Rate:
    """Gathers -log p(indices | side) batch by batch. `unigram` holds the code frequencies of the training split."""

    def __init__(self, layout: Layout, prior: Prior | None, unigram: Prior) -> None:
        self.layout, self.prior, self.unigram = layout, prior, unigram
        self._samples = 0
        self._prior_nats, self._unigram_nats = (torch.zeros(len(layout.grids), dtype=torch.float64) for _ in range(2))

    def add(self, indices: Indices, side: Side) -> None:
        """Indices: one int64 [B, Q, *grid] a level, and what is known beside them, such as `label` [B]."""
        self._samples += indices[0].shape[0]
        self._unigram_nats += _nats(self.unigram, indices, side)
        if self.prior is not None:
            self._prior_nats += _nats(self.prior, indices, side)

    def measured(self) -> Measured:
        """`nominal_bits` and `estimated_bits` of a mean sample, and nats a token under the prior, the unigram and the
        uniform distribution. A probability of 0 makes a rate infinite; it is then None, with the reason."""
        tokens_per_sample = sum(self.layout.tokens)
        tokens = self._samples * tokens_per_sample
        prior_nats = None if self.prior is None else float(self._prior_nats.sum())
        numbers: dict[str, float | None] = {
            "nominal_bits": self.layout.nominal_bits,
            "estimated_bits": None if prior_nats is None else prior_nats / math.log(2) / self._samples,
            "nats_per_token": None if prior_nats is None else prior_nats / tokens,
            "unigram_nats_per_token": float(self._unigram_nats.sum()) / tokens,
            "uniform_nats_per_token": self.layout.nominal_bits * math.log(2) / tokens_per_sample,
        }
        reasons = {}
        for name, value in numbers.items():
            if value is None:
                reasons[name] = _NO_PRIOR
            elif not math.isfinite(value):
                numbers[name] = None
                reasons[name] = "Some of these tokens have probability 0, so the rate is infinite."
        return Measured(numbers, reasons)

    def of_levels(self) -> dict[str, list[float | None]]:
        """`unigram_nats_per_token_of_levels` and, where there is a prior, `nats_per_token_of_levels`: a number a level,
        coarse to fine, as in table 1 of Razavi et al. 2019 (https://arxiv.org/abs/1906.00446); None where it is
        infinite. What a prior gives a fine level is of p(level | coarser levels), so that the levels make up the whole.
        """
        tokens = self._samples * torch.tensor(self.layout.tokens)
        nats = {} if self.prior is None else {"nats_per_token_of_levels": self._prior_nats}
        nats["unigram_nats_per_token_of_levels"] = self._unigram_nats
        return {
            name: [value if math.isfinite(value) else None for value in (sums / tokens).tolist()]
            for name, sums in nats.items()
        }


@torch.no_grad()
def _nats(prior: Prior, indices: Indices, side: Side) -> Tensor:
    """-log p of the levels of a batch [levels] float64, computed in float32 and eval mode, where the prior is; the mode
    it found is put back."""
    device = next(chain(prior.parameters(), prior.buffers()), indices[0]).device
    indices = tuple(level.to(device) for level in indices)
    side = {name: fact.to(device) for name, fact in side.items()}
    was_training = prior.training
    prior.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            return -torch.stack([level.double().sum() for level in prior.log_prob(indices, side)]).cpu()
    finally:
        prior.train(was_training)
