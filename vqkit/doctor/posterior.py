"""Whether the decoder makes use of z, and whether z was charged for in full."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from vqkit.doctor.finding import Finding
from vqkit.doctor.log import Rows

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


def unfinished_warm_up(rows: Rows) -> Finding | None:
    """The weight of the KL where it still rose when training ended; None where it did not, or there is none."""
    for key in ("kl_weight", "kl_weight_0"):  # of the only level, or the coarsest: all rise by their updates
        weights = [row[key] for row in rows if key in row]
        if len(weights) > 1 and weights[-1] > weights[-2]:
            sentence = f"The weight of the KL was {weights[-1]:.3g} when training ended, and still rising."
            remedy = (
                "z was charged less than it costs: raise training.max_steps, or lower the bottleneck's warmup_updates."
            )
            return Finding("KL warm-up", None, sentence, remedy)
    return None
