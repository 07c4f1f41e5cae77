"""Sampling from a masked transformer: the walk in float32 and in bfloat16.

    python benchmarks/masked_speed.py

8 x 8 tokens of a codebook of 512, 8 steps, no guidance, 7 blocks over the known symbols and one over all, width 320:
10 million parameters, 2 threads. Rounds alternate between the samplers, each of a batch of 64; drawing is part of both.
Writes benchmarks/results/masked_speed.json.
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine

from vqkit.priors import MaskedTransformerPrior, sample
from vqkit.signal import Layout

LAYOUT = Layout(((8, 8),), ((512,),))
BATCH, THREADS, ROUNDS = 64, 2, 5


def seconds(prior: MaskedTransformerPrior) -> float:
    """Of a batch."""
    start = time.perf_counter()
    sample(prior, LAYOUT, BATCH, {})
    return time.perf_counter() - start


def main() -> None:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    prior = MaskedTransformerPrior(LAYOUT, width=320, depth=7, joint_depth=1, heads=8, steps=8).eval()
    priors = {"float32": prior, "bfloat16": copy.deepcopy(prior).bfloat16()}
    rounds = [{name: seconds(prior) for name, prior in priors.items()} for _ in range(ROUNDS + 1)][1:]  # one warms up
    result = {
        "machine": machine(),
        "parameters": sum(p.numel() for p in prior.parameters()),
        "batch": BATCH,
        "steps": prior.steps,
        "tokens_per_second": {
            name: round(BATCH * sum(LAYOUT.tokens) / statistics.median(times[name] for times in rounds))
            for name in priors
        },
    }
    print(json.dumps(result, indent=1))
    (Path(__file__).parent / "results" / "masked_speed.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
