"""One of several processes that train the same quantizers, each on its share of every batch.

Run by test_processes.py, as `python two_processes.py FOLDER RANK WORLD`; with a WORLD of 1 it takes whole batches.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.bottlenecks import EMAVectorQuantizer, Quantizer, VectorQuantizer

STEPS = 8
KINDS = {"ema": EMAVectorQuantizer, "vector": VectorQuantizer}


def batch(step: int) -> tuple[Tensor, Tensor]:
    """z_e [4, 2, 8] and a mask with another number of positions in each sample."""
    generator = torch.Generator().manual_seed(step)
    z_e = torch.randn(4, 2, 8, generator=generator)
    return z_e, torch.arange(8) < torch.tensor([[8], [7], [5], [3]])


def train(kind: str, rank: int, world: int) -> tuple[Quantizer, list[int]]:
    """The trained quantizer, and how many codes each step revived."""
    torch.manual_seed(0)
    quantizer = KINDS[kind](2, 6, decay=0.8, revival=0.2)
    book = quantizer.codebook
    book.vectors.data[4:] = 50.0  # dead from the start
    optimizer = torch.optim.SGD([*quantizer.parameters()] or [torch.zeros(1, requires_grad=True)], lr=0.5)
    revived = []
    for step in range(STEPS):
        z_e, mask = (part.chunk(world)[rank] for part in batch(step))
        latent = quantizer(z_e, mask)
        if latent.loss.requires_grad:
            optimizer.zero_grad()
            # The mean over all processes, as their shares of the batch differ in real positions.
            (latent.loss * mask.sum() / batch(step)[1].sum()).backward()
            if world > 1:
                dist.all_reduce(book.vectors.grad)
            optimizer.step()
        far = int((book.vectors.detach() > 10).any(1).sum())
        quantizer.update()
        revived.append(far - int((book.vectors.detach() > 10).any(1).sum()))
    return quantizer, revived


def initialised(rank: int) -> Tensor:
    """The codebook after an initialisation in which every process saw other vectors, in other numbers."""
    quantizer = EMAVectorQuantizer(2, 3)
    torch.manual_seed(rank)
    quantizer.initialise([torch.randn(40 + 10 * rank, 2)])
    return quantizer.codebook.vectors


def main(folder: Path, rank: int, world: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    if world > 1:
        store = (folder / "store").absolute().as_uri()
        dist.init_process_group("gloo", store, timedelta(seconds=60), world, rank)
    result = {}
    for kind in KINDS:
        quantizer, revived = train(kind, rank, world)
        result[kind] = quantizer.state_dict()
        result[f"{kind} revived"] = torch.tensor(revived)
    result["initialised"] = initialised(rank)
    torch.save(result, folder / f"{rank}-of-{world}.pt")
    if world > 1:
        group = weakref.ref(dist.group.WORLD)
        dist.destroy_process_group()
        assert group() is None, "a group that lives on has threads that can abort the interpreter's exit"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
