"""Sampling from a transformer: the walk with its cache in float32 and bfloat16, beside the same by whole passes and,
where it is installed, `generate` of the transformers library, for a GPT-2 and a Llama of the same size in both
precisions, with the cache that it takes by default.

    python benchmarks/transformer_speed.py

A batch of 16, 16 x 16 tokens of a codebook of 512, 8 layers, width 320, 8 heads, 2 threads. Rounds alternate between
the samplers. Whole passes take so long that only a few of their steps are timed: each costs the same. Drawing
is part of all. `arithmetic` counts the multiplications and additions of matrix products in a walk, in units of those of
as many tokens each alone. Writes benchmarks/results/transformer_speed.json.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from machine import machine
from torch.utils.flop_counter import FlopCounterMode

from vqkit.memory import keep_freed_memory
from vqkit.priors import TransformerPrior, sample
from vqkit.signal import Layout

GRID, CODEBOOK, SIZE = (16, 16), 512, {"width": 320, "depth": 8, "heads": 8}
TOKENS, BATCH, THREADS, ROUNDS, PASSES = 256, 16, 2, 5, 2
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def prior_over(grid: tuple[int, ...]) -> TransformerPrior:
    torch.manual_seed(0)
    return TransformerPrior(Layout((grid,), ((CODEBOOK,),)), **SIZE).eval()


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def whole_passes(prior: TransformerPrior) -> float:
    """Seconds of as many passes as there are tokens."""
    indices = (torch.zeros(BATCH, 1, *GRID, dtype=torch.int64),)
    with torch.inference_mode():
        return seconds(lambda: [prior.log_prob(indices, {}) for _ in range(PASSES)]) / PASSES * TOKENS


def peers(precision: torch.dtype) -> dict[str, Callable[[], Any]]:
    """What draws a batch with the library, by its model."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    common = {"vocab_size": CODEBOOK, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": None}
    llama = LlamaConfig(
        hidden_size=SIZE["width"],
        intermediate_size=prior_over((1, 1)).net.blocks[0].feed_forward.hidden,
        num_hidden_layers=SIZE["depth"],
        num_attention_heads=SIZE["heads"],
        max_position_embeddings=2 * TOKENS,
        **common,
    )
    gpt2 = GPT2Config(
        n_embd=SIZE["width"], n_layer=SIZE["depth"], n_head=SIZE["heads"], n_positions=2 * TOKENS, **common
    )
    start, length = torch.zeros(BATCH, 1, dtype=torch.int64), {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS}

    def drawing(model: Any) -> Callable[[], Any]:
        model = model.eval().to(precision)
        return lambda: model.generate(start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, **length)

    return {"GPT-2": drawing(GPT2LMHeadModel(gpt2)), "Llama": drawing(LlamaForCausalLM(llama))}


def arithmetic(grid: tuple[int, ...]) -> int:
    prior = prior_over(grid)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.mkldnn._linear_pointwise: _product}) as counter:
        sample(prior, prior.layout, 1, {})
    return counter.get_total_flops()


def _product(x: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Multiplications and additions of a product with a packed matrix, which torch's counter does not know."""
    return 2 * math.prod(x) * out_shape[-1]


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    prior, samplers = prior_over(GRID), {}
    for name, precision in PRECISIONS.items():
        own = copy.deepcopy(prior).to(precision)
        samplers[f"walk, {name}"] = partial(sample, own, own.layout, BATCH, {})
        if importlib.util.find_spec("transformers") is not None:
            samplers |= {f"transformers' {model}, {name}": draw for model, draw in peers(precision).items()}
    rounds = [{name: seconds(draw) for name, draw in samplers.items()} for _ in range(ROUNDS + 1)][1:]  # one warms up
    taken = {name: statistics.median(times[name] for times in rounds) for name in samplers}
    taken["whole_passes"] = whole_passes(prior)
    result = {
        "machine": machine(),
        "parameters": sum(p.numel() for p in prior.parameters()),
        "batch": BATCH,
        "threads": THREADS,
        "tokens_per_second": {name: round(BATCH * TOKENS / time) for name, time in taken.items()},
        "arithmetic": round(arithmetic(GRID) / (TOKENS * arithmetic((1, 1))), 2),
    }
    print(json.dumps(result, indent=1))
    (Path(__file__).parent / "results" / "transformer_speed.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
