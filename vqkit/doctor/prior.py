"""Whether the prior knows more than how often each code occurs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vqkit.doctor.codebooks import UNUSED
from vqkit.doctor.finding import Finding

_NO_BETTER = 0.99  # of the unigram's nats: within what another order of the batches changes


def useless_prior(held_out: Mapping[str, Any]) -> Finding | None:
    """The prior beside the code frequencies alone; None without a prior, and where a token costs next to nothing."""
    nats, unigram = held_out.get("nats_per_token"), held_out.get("unigram_nats_per_token")
    if nats is None or unigram is None or unigram < math.log(UNUSED):
        return None
    return Finding(
        "useless prior",
        None,
        f"A held-out token costs {nats:.3f} nats under the prior and {unigram:.3f} by the code frequencies alone.",
        "The prior knows nothing beyond these, and samples drawn from it are noise: train it longer, with another "
        "learning rate, or wider; or take a prior that is trained, such as TransformerPrior."
        if nats > _NO_BETTER * unigram
        else None,
    )
