"""What benchmarks of whole runs share: changes to the recipe `image` make a run, and a run a line of a table."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from vqkit import pipeline
from vqkit.bottlenecks.codebook import Codebook
from vqkit.run import Run

COLUMNS = {  # of the table: what the evaluation of the test split calls it, and its decimals
    "MSE": ("mse", 5),
    "PSNR": ("psnr", 2),
    "SSIM": ("ssim", 3),
    "nominal": ("nominal_bits", 0),
    "estimated": ("estimated_bits", 0),
    "NLL": ("nll_bits_per_dim", 3),
    "b/dim": ("bits_per_dim_training_prior", 3),
    "learned": ("bits_per_dim_learned_prior", 3),
    "parameters": ("parameters", 0),
    "seconds": ("seconds", 0),
}
THREADS, _MOST_PROCESSES = 1, 4  # of each model, and models at a time, of two gigabytes each
PICTURES = {"fashion-mnist": {"size": 28, "channels": 1}, "cifar10": {"size": 32, "channels": 3}}
"""The data sets, and their modality."""


def part(class_path: str, **init_args: Any) -> dict[str, Any]:
    """A part of a recipe."""
    return {"class_path": class_path, "init_args": init_args}


def training(steps: int, batch_size: int = 64, **more: Any) -> dict[str, Any]:
    """The settings of a stage."""
    return {"max_steps": steps, "batch_size": batch_size, "learning_rate": 2e-3, **more}


def processes() -> ProcessPoolExecutor:
    """A process a core, of one thread each: small nets do not gain much by a second one."""
    count = min(_MOST_PROCESSES, os.cpu_count() or 1)
    return ProcessPoolExecutor(count, get_context("spawn"), torch.set_num_threads, (THREADS,))


def measured(source: str, changes: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A run from end to end: what evaluation says of the test split, the parameters of the tokenizer and its codebooks,
    and seconds of training, of the prior too. They stay in OUT.json, so that a stopped benchmark goes on with the run
    that it was at."""
    stored = out.with_suffix(".json")  # a run does not say how long it took
    if not stored.exists():
        shutil.rmtree(out, ignore_errors=True)
        start = time.perf_counter()
        trained = ["tokenizer"] if changes["prior"] is None else ["tokenizer", "tokens", "prior"]
        pipeline.train("image", data=source, out=out, stages=trained, bar=False, **changes)
        seconds = time.perf_counter() - start
        run = pipeline.train("image", data=source, out=out, bar=False, **changes)
        found = run.evaluation["validation"]
        found = {name: found.get(name) for name, _ in COLUMNS.values()}
        codebooks = [module.vectors for module in run.tokenizer.modules() if isinstance(module, Codebook)]
        learned = {*run.tokenizer.parameters(), *codebooks}  # by gradients or by moving averages
        found |= {"parameters": sum(tensor.numel() for tensor in learned), "seconds": round(seconds, 1)}
        stored.write_text(json.dumps(found))
    cell: dict[str, Any] = json.loads(stored.read_text())
    return cell


def table(
    data: str, source: str, models: Mapping[str, Mapping[str, Any]], out: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, Run]]:
    """The numbers of every model on a data set, printed as they come, and the runs, which are in OUT/DATA."""
    print(f"{data:24}" + "".join(f"{column:>11}" for column in COLUMNS), flush=True)
    (out / data).mkdir(parents=True, exist_ok=True)
    folders = {name: out / data / name.lower().replace(", ", "-").replace(" ", "-") for name in models}
    cells = {}
    with processes() as pool:
        jobs = {
            name: pool.submit(measured, source, {"modality.init_args": PICTURES[data], **changes}, folders[name])
            for name, changes in models.items()
        }
        for name, job in jobs.items():
            cells[name] = job.result()
            shown = ((cells[name][key], decimals) for key, decimals in COLUMNS.values())
            texts = ("-" if value is None else f"{value:,.{decimals}f}" for value, decimals in shown)
            print(f"{name:24}" + "".join(f"{text:>11}" for text in texts), flush=True)
    return cells, {name: Run(folder) for name, folder in folders.items()}
