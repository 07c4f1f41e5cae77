"""Whether the decoder makes use of z."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vqkit.doctor.finding import Finding

_IGNORED = math.log(2)  # nats a sample: less than a bit, which does not tell two samples apart


def posterior_collapse(held_out: Mapping[str, Any]) -> Finding | None:
    """What z costs under its prior, and what it saves the decoder; None where too little was measured: without a
    likelihood, the cost of tokens, which is what it is, says nothing."""
    cost, saved = held_out.get("kl_nats_training_prior"), held_out.get("shuffled_z_nats")
    tokens = "nominal_bits" in held_out
    if saved is None and (cost is None or tokens):
        return None
    told = [] if cost is None else [f"costs {cost:.2f} nats under its training prior"]
    told += [] if saved is None else [f"saves the decoder {saved:.2f} nats over that of another sample"]
    sentence = f"A sample's z {' and '.join(told)}."
    if min(number for number in (cost, saved) if number is not None) >= _IGNORED:
        return Finding("posterior collapse", None, sentence, None)
    remedy = "The decoder does without z: take a weaker one, such as one without value_prior, or "
    if tokens:
        remedy += "train it for longer, with more training.max_steps."
    else:
        remedy += "let z be used for free, by a quantizer, or by a GaussianBottleneck with free_bits or a lower beta."
    return Finding("posterior collapse", None, sentence, remedy)
