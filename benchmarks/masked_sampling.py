"""Two samplers of one masked transformer on Fashion-MNIST tokens: its walk, and MaskGIT's draw-then-discard.

    python benchmarks/masked_sampling.py --data FOLDER_WITH_FASHION_MNIST_IDX [--quick] [--runs FOLDER]

Both draw as many samples as there are held-out pictures to compare with, of their classes, at 4, 8 and 16 steps.
An autoregressive transformer, trained on the same tokens apart, is the judge: its nats a token of the samples, beside
those of other held-out tokens. Neither more nor fewer nats than these is better: fewer are what a sampler gets that
draws the likely too often. So their spread over the samples is told too, and the total variation between how often each
code stands in the samples and in the held-out tokens. Writes benchmarks/results/masked_sampling.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import machine
from runs import part, training
from torch import Tensor

from vqkit import pipeline
from vqkit.priors import Choice, MaskedTransformerPrior, Prior, draw_then_discard, sample
from vqkit.run import Run
from vqkit.signal import Indices, Side

RESULT = Path(__file__).parent / "results" / "masked_sampling.json"
SAMPLERS = {
    "walk": sample,
    "walk, temperature 0.8": partial(sample, choice=Choice(temperature=0.8)),
    "walk, temperature 0.6": partial(sample, choice=Choice(temperature=0.6)),
    "draw-then-discard": draw_then_discard,
    "draw-then-discard, choice temperature 1": partial(draw_then_discard, choice_temperature=1.0),
}
STEPS = (4, 8, 16)
BATCH = 250


class Settings(NamedTuple):
    """Steps of training of the tokenizer and of each prior, and how many samples are drawn."""

    tokenizer: int
    prior: int
    samples: int


FULL = Settings(2000, 3000, 1000)
QUICK = Settings(20, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--quick", action="store_true", help="everything in a minute, with numbers that say nothing")
    parser.add_argument(
        "--runs", type=Path, help="folder of the two runs, where they are kept; by default they are not"
    )
    parser.add_argument("--out", type=Path, help="the result; with --quick it is left out by default")
    chosen = parser.parse_args()
    settings, out = (QUICK, chosen.out) if chosen.quick else (FULL, chosen.out or RESULT)
    with tempfile.TemporaryDirectory() as temporary:
        judge, run = runs(chosen.data, settings, chosen.runs or Path(temporary))
        indices, side = held_out(run, range(settings.samples))
        others, of_others = held_out(run, range(settings.samples, 2 * settings.samples))
        result: dict[str, Any] = {"machine": machine(), "settings": settings._asdict()}
        result["held-out"] = judged(judge.prior, others, of_others, indices)
        prior = run.prior
        assert isinstance(prior, MaskedTransformerPrior)
        result["parameters"] = {
            name: sum(p.numel() for p in r.prior.parameters()) for name, r in (("judge", judge), ("masked", run))
        }
        for steps in STEPS:
            prior.steps = steps
            for name, sampler in SAMPLERS.items():
                generator = torch.Generator().manual_seed(0)
                batches = [
                    sampler(prior, prior.layout, len(label), {"label": label}, generator=generator)
                    for label in side["label"].split(BATCH)
                ]
                drawn = tuple(torch.cat(level) for level in zip(*batches, strict=True))
                result[f"{name}, {steps} steps"] = judged(judge.prior, drawn, side, indices)
            result[f"walk, {steps} steps"]["held_out_nats_per_token"] = own_nats(prior, indices, side)
    for name, row in result.items():
        print(name, row, flush=True)
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n")


def runs(data: str, settings: Settings, folder: Path) -> tuple[Run, Run]:
    """One tokenizer, and a run of each prior over its tokens."""
    priors = {
        "judge": part("TransformerPrior", width=128, depth=4, heads=4),
        "masked": part("MaskedTransformerPrior", width=128, depth=3, joint_depth=1, heads=4),
    }
    made = []
    for name, prior in priors.items():
        out = folder / name
        if not (out / "prior").exists():
            if made:
                shutil.rmtree(out, ignore_errors=True)
                shutil.copytree(made[0].folder, out, ignore=shutil.ignore_patterns("prior"))
            pipeline.train(
                "fashion-mnist",
                data=data,
                out=out,
                stages=["prior"] if made else ["tokenizer", "tokens", "prior"],
                overwrite=bool(made),  # of the tokenizer's run this one is a copy, but for its prior
                bar=False,
                training=training(settings.tokenizer),
                prior_training=training(settings.prior, weight_decay=0.05),
                prior=prior,
            )
        made.append(Run(out, "cpu"))
    return made[0], made[1]


def held_out(run: Run, rows: range) -> tuple[Indices, Side]:
    """Tokens of the test split."""
    tokens = run.tokens("validation").read(rows)
    return tokens.indices, tokens.side


@torch.no_grad()
def own_nats(prior: Prior, indices: Indices, side: Side) -> float:
    """Nats a token."""
    return round(-float(torch.cat([level.flatten() for level in prior.log_prob(indices, side)]).mean()), 4)


@torch.no_grad()
def judged(judge: Prior, drawn: Indices, side: Side, held_out: Indices) -> dict[str, float]:
    """What the judge says of samples: nats a token and their standard deviation over the samples; and how far their
    codes are from those of the held-out ones."""
    nats = -torch.cat([level.flatten(1) for level in judge.log_prob(drawn, side)], 1).mean(1)
    found = {"judge_nats_per_token": nats.mean(), "deviation": nats.std(), "total_variation": apart(drawn, held_out)}
    return {name: round(float(number), 4) for name, number in found.items()}


def apart(a: Indices, b: Indices) -> Tensor:
    """Half the sum of the differences of how often each code of the finest level's first codebook stands in each."""
    size = 1 + int(max(a[-1].max(), b[-1].max()))
    counts = [torch.bincount(x[-1][:, 0].flatten(), minlength=size) / x[-1][:, 0].numel() for x in (a, b)]
    return (counts[0] - counts[1]).abs().sum() / 2


if __name__ == "__main__":
    main()
