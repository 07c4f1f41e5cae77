"""One of several processes that train the same quantizers, each on its share of every batch.

Run by test_processes.py, as `python two_processes.py FOLDER RANK WORLD`; with a WORLD of 1 it takes whole batches.
"""

from __future__ import annotations

import sys
import warnings
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualQuantizer,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    VectorQuantizer,
)
from vqkit.bottlenecks.codebook import Codebook

STEPS = 8
KINDS: dict[str, Callable[[], Quantizer]] = {
    "ema": lambda: EMAVectorQuantizer(2, 6, decay=0.8, revival=0.2),
    "vector": lambda: VectorQuantizer(2, 6, decay=0.8, revival=0.2),
    "cosine": lambda: CosineSimilarityQuantizer(EMAVectorQuantizer(2, 6, decay=0.8)),
    "residual": lambda: ResidualQuantizer(EMAVectorQuantizer(2, 6, decay=0.8), 3),
    "shared residual": lambda: SharedResidualQuantizer(EMAVectorQuantizer(2, 6, decay=0.8, revival=0), 3),
    "sim vector": lambda: SimVectorQuantizer(2, 6),
    "product": lambda: ProductQuantizer([VectorQuantizer(1, 4, decay=0.8), EMAVectorQuantizer(1, 3, decay=0.8)]),
    "index backpropagation": lambda: IndexBackpropagationQuantizer(2, 6),
    "projected lookup-free": lambda: ProjectedQuantizer(LookupFreeQuantizer(3), 2),
    "projected binary spherical": lambda: ProjectedQuantizer(BinarySphericalQuantizer(3), 2),
}


def batch(step: int) -> tuple[Tensor, Tensor]:
    """z_e [4, 2, 8] and a mask with another number of positions in each sample."""
    generator = torch.Generator().manual_seed(step)
    z_e = torch.randn(4, 2, 8, generator=generator)
    return z_e, torch.arange(8) < torch.tensor([[8], [7], [5], [3]])


def far(quantizer: Quantizer) -> int:
    """How many codes are where no data is."""
    return sum(int((m.vectors.detach() > 10).any(1).sum()) for m in quantizer.modules() if isinstance(m, Codebook))


def train(kind: str, rank: int, world: int) -> tuple[Quantizer, list[int]]:
    """The trained quantizer, and how many codes each step revived."""
    torch.manual_seed(0)
    quantizer = KINDS[kind]()
    if isinstance(quantizer, EMAVectorQuantizer | VectorQuantizer):
        quantizer.codebook.vectors.data[4:] = 50.0  # dead from the start
    parameters = [*quantizer.parameters()]
    optimizer = torch.optim.SGD(parameters or [torch.zeros(1, requires_grad=True)], lr=0.1)
    revived = []
    for step in range(STEPS):
        z_e, mask = (part.chunk(world)[rank] for part in batch(step))
        latent = quantizer(z_e, mask)
        if latent.loss.requires_grad:
            optimizer.zero_grad()
            # The mean over all processes, as their shares of the batch differ in real positions.
            (latent.loss * mask.sum() / batch(step)[1].sum()).backward()
            if world > 1:
                for parameter in (p for p in parameters if p.grad is not None):  # no loss reaches a last projection
                    dist.all_reduce(parameter.grad)
            optimizer.step()
        before = far(quantizer)
        quantizer.update()
        revived.append(before - far(quantizer))
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
