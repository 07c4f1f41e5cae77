"""The evidence lower bound, -log p(x) <= -log p(x | z) + KL, and its two parts, under two priors over z; and what the
decoder gains by z."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from vqkit.autoencoders import Autoencoder
from vqkit.bottlenecks import Latent
from vqkit.evaluation.measures import Measured
from vqkit.signal import Side

Part = float | str
"""A number, or the sentence that says why there is none."""

_ALONE = "A sample that is alone in its batch has no other to take z from; evaluate more of them."


class Evidence:
    """Gathers -log p(x | z) and KL(q(z | x) || p(z)) of one z drawn from q for each x, batch by batch.

    The training prior is the one that the bottleneck was trained against: N(0, I), whose KL is analytic, or all codes
    alike, whose KL is log K a symbol as a quantizer's posterior is a point. Under a learned prior it is
    -log p(indices).

    A decoder that uses z pays for a wrong one: -log p(x | z of another sample) + log p(x | z), where the other is the
    neighbour in the batch. It is about 0 where z is ignored, however much z holds; where neighbours are alike, as in
    data sorted by class, it is too small.

    A learned prior is asked for p(indices | label) where it knows classes, so that this bound is of p(x | label): as
    -log p it is below that of p(x), at most by the log of their number.
    """

    def __init__(self, tokenizer: Autoencoder) -> None:
        self.tokenizer = tokenizer
        self._samples = 0
        self._nll: Part = 0.0
        self._kl: Part = 0.0
        self._shuffled, self._shuffle_cost = 0, 0.0
        for bottleneck in tokenizer.bottlenecks:
            if not bottleneck.has_prior:
                name = type(bottleneck).__name__
                self._kl = f"The posterior of {name} is a point in a continuous space, so its KL is undefined."

    def add(self, x: Tensor, side: Side, latents: Sequence[Latent], z: Tensor) -> None:
        """x [B, C, *grid] in native values, what is known beside it, and what `Autoencoder.posterior` made of it."""
        self._samples += len(x)
        if not isinstance(self._kl, str):
            self._kl += sum(float(latent.kl.double().sum()) for latent in latents)
        if isinstance(self._nll, str):
            return
        try:
            nll = self.tokenizer.nll(x, z, side).double()
        except ValueError as refusal:  # the likelihood says what it cannot score
            self._nll = f"{str(refusal)[0].upper()}{str(refusal)[1:]}."
            return
        self._nll += float(nll.sum())
        if len(x) > 1:
            self._shuffled += len(x)
            self._shuffle_cost += float((self.tokenizer.nll(x, z.roll(1, 0), side).double() - nll).sum())

    def measured(self, rate: Measured | None) -> Measured:
        """Means over samples, in nats a sample and in bits a dimension of the data. `rate` is what `Rate` measured of
        these samples' indices; None where there are none, and so no prior to learn. Raises ValueError before the first
        `add`."""
        if not self._samples:
            raise ValueError("there is nothing to measure yet; add samples first")
        nll, kl = _scaled(self._nll, 1 / self._samples), _scaled(self._kl, 1 / self._samples)
        a_bit = 1 / math.log(2) / self.tokenizer.signal.dims
        nll_bits = _scaled(nll, a_bit)
        if self.tokenizer.signal.levels is None and not isinstance(nll, str):
            nll_bits = "These data are floats, which have a density in place of a probability, and no bits."
        costs: dict[str, Part] = {"training": kl}
        if rate is not None:
            estimated = rate.numbers["estimated_bits"]
            costs["learned"] = rate.reasons["estimated_bits"] if estimated is None else estimated * math.log(2)
        shuffled: Part = nll if isinstance(nll, str) else _ALONE
        if self._shuffled:
            shuffled = self._shuffle_cost / self._shuffled
        parts: dict[str, Part] = {"nll_nats": nll, "nll_bits_per_dim": nll_bits, "shuffled_z_nats": shuffled}
        for prior, cost in costs.items():
            rate_bits = _scaled(cost, a_bit)
            parts[f"kl_nats_{prior}_prior"] = cost
            parts[f"elbo_nats_{prior}_prior"] = _scaled(_sum(nll, cost), -1)
            parts[f"rate_bits_per_dim_{prior}_prior"] = rate_bits
            parts[f"bits_per_dim_{prior}_prior"] = _sum(nll_bits, rate_bits)
        parts = {name: _finite(part) for name, part in parts.items()}
        return Measured(
            {name: None if isinstance(part, str) else part for name, part in parts.items()},
            {name: part for name, part in parts.items() if isinstance(part, str)},
        )


def _scaled(part: Part, factor: float) -> Part:
    return part if isinstance(part, str) else part * factor


def _sum(one: Part, other: Part) -> Part:
    if isinstance(one, str) or isinstance(other, str):
        return " ".join(part for part in (one, other) if isinstance(part, str))
    return one + other


def _finite(part: Part) -> Part:
    if isinstance(part, str) or math.isfinite(part):
        return part
    return "It is not finite: the model gives these samples a probability of 0, or numbers that overflow."
