"""Sampling from a PixelCNN: the walk, which computes each position once, beside a pass over the grid for each position.

    python benchmarks/sampling_speed.py

A batch of 16, one thread, float32, codebooks of 512, networks of about a million parameters as they are constructed.
The loop over whole passes takes so long that only a few of its steps are timed: each costs the same. Drawing is part
of both. Writes benchmarks/results/sampling_speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import torch
from machine import machine

from vqkit.priors import PixelCNN, sample
from vqkit.priors.draw import draw
from vqkit.signal import Layout

GRIDS = [(8, 8), (16, 16), (32, 32)]
BATCH, ROUNDS, NAIVE_STEPS = 16, 3, 4
PRIORS = {"PixelCNN": {}, "PixelSNAIL": {"attention_every": 5}}


def walked(prior: PixelCNN) -> float:
    """Seconds a sample of the batch."""
    start = time.perf_counter()
    sample(prior, prior.layout, BATCH, {})
    return time.perf_counter() - start


@torch.no_grad()
def naive(prior: PixelCNN) -> float:
    """Seconds that the loop would take over all positions."""
    (grid,) = prior.layout.grids
    symbols = torch.zeros(BATCH, *grid, dtype=torch.int64)
    start = time.perf_counter()
    for cell in range(NAIVE_STEPS):
        features = prior.net(prior.embedding(symbols).movedim(-1, 1)).flatten(2)[:, :, cell]
        logits = prior.outputs[0](features, features)[:, None]
        symbols.view(BATCH, -1)[:, cell : cell + 1] = draw(logits, BATCH)
    return (time.perf_counter() - start) / NAIVE_STEPS * symbols[0].numel()


def main() -> None:
    torch.set_num_threads(1)
    rows = {}
    for name, changes in PRIORS.items():
        for grid in GRIDS:
            torch.manual_seed(0)
            prior = PixelCNN(Layout((grid,), ((512,),)), width=72, **changes).eval()
            prior.to(memory_format=torch.channels_last)
            seconds = [(walked(prior), naive(prior)) for _ in range(ROUNDS + 1)][1:]  # the first round warms up
            walk, loop = (statistics.median(column) for column in zip(*seconds, strict=True))
            tokens = BATCH * prior.layout.tokens[0]
            rows[f"{name} {grid[0]}x{grid[1]}"] = row = {
                "parameters": sum(p.numel() for p in prior.parameters()),
                "tokens_per_second": round(tokens / walk),
                "naive_tokens_per_second": round(tokens / loop),
                "ratio": round(loop / walk, 1),
            }
            print(name, grid, row, flush=True)
    result = {"machine": machine(), "batch": BATCH, "priors": rows}
    (Path(__file__).parent / "results" / "sampling_speed.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
