"""A quantizer's training step beside those of vector-quantize-pytorch and diffusers, and the search beside its product.

    pip install vector-quantize-pytorch diffusers   # the peers; without them only our own columns are measured
    python benchmarks/quantizer_speed.py [--device cuda]

A step is forward, backward and the codebook's update, in float32 with 2 threads: vqkit's EMAVectorQuantizer,
vector-quantize-pytorch's VectorQuantize (a moving average too) and diffusers' VectorQuantizer with a step of SGD, on
the same N vectors of D dimensions and K codes, in turn; medians. The search goes beside the bare float32 product of
all scores in tiles, on a GPU also beside the portable search, which it falls back on. Memory is the growth of the
process, or of the GPU's allocations, while (4096, 65536, 32) is searched, in a process of its own.
Writes benchmarks/results/quantizer_speed.json, or quantizer_speed_cuda.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import machine
from torch import Tensor

from vqkit.bottlenecks import EMAVectorQuantizer, nearest_code
from vqkit.bottlenecks.search import portable

SHAPES = [(8192, 512, 64), (8192, 1024, 256), (8192, 8192, 64), (4096, 65536, 32)]  # N, K, D
ROUNDS = 7
TILE, GPU_TILE = 1 << 21, 1 << 26  # scores

Step = Callable[[], None]


def ours(z: Tensor, k: int) -> Step:
    quantizer = EMAVectorQuantizer(z.shape[1], k).to(z.device)
    grid = z.t()[None].clone().requires_grad_()

    def step() -> None:
        latent = quantizer(grid)
        (latent.z.sum() + latent.loss).backward()
        quantizer.update()

    return step


def vector_quantize_pytorch(z: Tensor, k: int) -> Step:
    from vector_quantize_pytorch import VectorQuantize

    quantizer = VectorQuantize(dim=z.shape[1], codebook_size=k).to(z.device)
    rows = z[None].clone().requires_grad_()

    def step() -> None:
        z_q, _, loss = quantizer(rows)
        (z_q.sum() + loss.sum()).backward()

    return step


def diffusers(z: Tensor, k: int) -> Step:
    from diffusers.models.autoencoders.vq_model import VectorQuantizer

    quantizer = VectorQuantizer(n_e=k, vq_embed_dim=z.shape[1], beta=0.25, legacy=False).to(z.device)
    optimizer = torch.optim.SGD(quantizer.parameters(), 0.1)
    grid = z.t()[None, :, :, None].clone().requires_grad_()

    def step() -> None:
        z_q, loss, _ = quantizer(grid)
        optimizer.zero_grad()
        (z_q.sum() + loss).backward()
        optimizer.step()

    return step


def product(z: Tensor, codebook: Tensor) -> Step:
    """Every score of the search in float32, and nothing done with them."""
    rows = max(1, (GPU_TILE if z.is_cuda else TILE) // len(codebook))
    scores = z.new_empty(min(rows, len(z)), len(codebook))
    offset = codebook.square().sum(1) / 2

    def run() -> None:
        for part in z.split(rows):
            torch.addmm(offset, part, codebook.t(), alpha=-1, out=scores[: len(part)])

    return run


def milliseconds(contestants: dict[str, Step], device: torch.device) -> dict[str, float]:
    """Medians of rounds in which all take their turn."""
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(ROUNDS + 1):
        for name, step in contestants.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first round warms up
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: round(statistics.median(times), 2) for name, times in taken.items()}


def peak_memory_mib(device: torch.device) -> float:
    """What searching (4096, 65536, 32) adds to the process, or on a GPU to what is allocated there."""
    script = """
import sys
import torch
from pathlib import Path
from vqkit.bottlenecks import nearest_code
torch.set_num_threads(2)
device = torch.device(sys.argv[1])
def status(name):
    line = next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith(name))
    return int(line.split()[1]) / 1024
def before():
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 2**20
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")
def peak():
    return torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else status("VmHWM")
z, codebook = torch.randn(4096, 32, device=device), torch.randn(65536, 32, device=device)
nearest_code(z[:64], codebook[:4096])
start = before()
nearest_code(z, codebook)
print(peak() - start)
"""
    command = [sys.executable, "-c", script, str(device)]
    return round(float(subprocess.run(command, capture_output=True, check=True).stdout), 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--device", default="cpu")
    device = torch.device(arguments.parse_args().device)
    torch.set_num_threads(2)
    peers: dict[str, Callable[[Tensor, int], Step]] = {"vqkit": ours}
    for name, make in (("vector-quantize-pytorch", vector_quantize_pytorch), ("diffusers", diffusers)):
        try:
            make(torch.zeros(2, 4), 3)
            peers[name] = make
        except ImportError:
            print(f"{name} is not installed: its column is left out")
    steps, searches = {}, {}
    for n, k, dim in SHAPES:
        torch.manual_seed(0)
        z, codebook = torch.randn(n, dim, device=device), torch.randn(k, dim, device=device)
        steps[f"{n} {k} {dim}"] = milliseconds({name: make(z, k) for name, make in peers.items()}, device)
        search = {"search": lambda z=z, e=codebook: nearest_code(z, e), "product": product(z, codebook)}
        if device.type == "cuda":
            search["portable"] = lambda z=z, e=codebook: portable(z, e, None)
        found = milliseconds(search, device)
        searches[f"{n} {k} {dim}"] = found | {"ratio": round(found["search"] / found["product"], 2)}
        print(n, k, dim, steps[f"{n} {k} {dim}"], searches[f"{n} {k} {dim}"], flush=True)
    result = {"machine": machine(), "training_step_ms": steps, "search_ms": searches}
    if device.type == "cuda" or sys.platform == "linux":
        result["search_peak_memory_mib"] = peak_memory_mib(device)
    print(json.dumps(result, indent=1))
    suffix = "" if device.type == "cpu" else f"_{device.type}"
    path = Path(__file__).parent / "results" / f"quantizer_speed{suffix}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
