"""Sampling in raster order: the walk, which computes each position once, beside a pass over the grid for each position.

    python benchmarks/sampling_speed.py

A batch of 16, one thread, float32, codebooks of 512, networks of about a million parameters as they are constructed;
the WaveNet sees 8,191 positions back, so all of its sequence. The loop over whole passes takes so long that only a few
of its steps are timed: each costs the same. Drawing is part of both. Writes benchmarks/results/sampling_speed.json.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from machine import machine

from vqkit.memory import keep_freed_memory
from vqkit.priors import PixelCNN, WaveNet, sample
from vqkit.priors.draw import draw
from vqkit.priors.raster import RasterPrior
from vqkit.signal import Layout

BATCH, ROUNDS, NAIVE_STEPS = 16, 3, 4
SQUARES: list[tuple[int, ...]] = [(8, 8), (16, 16), (32, 32)]
PRIORS: dict[str, tuple[Callable[[Layout], RasterPrior], list[tuple[int, ...]]]] = {
    "PixelCNN": (partial(PixelCNN, width=72), SQUARES),
    "PixelSNAIL": (partial(PixelCNN, width=72, attention_every=5), SQUARES),
    "WaveNet": (partial(WaveNet, width=80, depth=24, cycle=12), [(256,), (1024,), (4096,)]),
}


def walked(prior: RasterPrior) -> float:
    """Seconds a sample of the batch."""
    start = time.perf_counter()
    sample(prior, prior.layout, BATCH, {})
    return time.perf_counter() - start


@torch.no_grad()
def naive(prior: RasterPrior) -> float:
    """Seconds that the loop would take over all positions."""
    (grid,) = prior.layout.grids
    symbols = torch.zeros(BATCH, *grid, dtype=torch.int64)
    start = time.perf_counter()
    for cell in range(NAIVE_STEPS):
        features = prior.net(prior.embedding(symbols).movedim(-1, 1)).flatten(2)[:, :, cell]
        logits = prior.output.heads[0](features, features)[:, None]
        symbols.view(BATCH, -1)[:, cell : cell + 1] = draw(logits, (BATCH, 1))
    return (time.perf_counter() - start) / NAIVE_STEPS * symbols[0].numel()


def main() -> None:
    keep_freed_memory()  # as every run does; the naive loop gains most by it
    torch.set_num_threads(1)
    rows = {}
    for name, (make, grids) in PRIORS.items():
        for grid in grids:
            torch.manual_seed(0)
            prior = make(Layout((grid,), ((512,),))).eval()
            prior.to(memory_format=torch.channels_last)
            seconds = [(walked(prior), naive(prior)) for _ in range(ROUNDS + 1)][1:]  # the first round warms up
            walk, loop = (statistics.median(column) for column in zip(*seconds, strict=True))
            tokens = BATCH * prior.layout.tokens[0]
            rows[f"{name} {'x'.join(map(str, grid))}"] = row = {
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
