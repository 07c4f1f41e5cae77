"""What the processes of one training run tell each other; with a single process every function is the identity.

No collective here depends on data that differs between processes, so none can hang as long as all take the same steps.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

if dist.is_available():
    # Its functions' defaults hold the process group that lives when it is first imported, as a first optimizer step
    # does: that group then outlives destroy_process_group, and its threads can abort the interpreter's exit.
    import torch.distributed.nn.functional


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(*tensors: Tensor) -> None:
    """Replaces each tensor by its sum over the processes, in one message."""
    if not _several():
        return
    packed = torch.cat([t.flatten().float() for t in tensors])
    dist.all_reduce(packed)
    for tensor, part in zip(tensors, packed.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


class _Sum(torch.autograd.Function):
    """A tensor's sum over the processes. The loss is of what each makes of the sum, so gradients are summed too."""

    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def mean_of_all_processes(rows: Tensor, training: bool) -> Tensor:
    """[n, D], n may differ between processes -> [D], the mean of the rows of all, 0 where there are none; it has a
    gradient for the own rows. Outside `training`, where a process may be the only one to get here, of these alone."""
    total, count = rows.sum(0), torch.tensor(float(len(rows)), device=rows.device)
    if training and _several():
        total = _Sum.apply(total)  # type: ignore[no-untyped-call]
        dist.all_reduce(count)
    return total / count.clamp_min(1)


def rows_of_all_processes(rows: Tensor) -> Tensor:
    """[n, D], n may differ between processes -> [sum of n, D], the same on each, in the order of ranks."""
    if not _several():
        return rows
    count = torch.tensor([rows.shape[0]], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, count)
    longest = int(torch.cat(counts).max())
    padded = rows.new_zeros(longest, rows.shape[1])
    padded[: rows.shape[0]] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(gathered, padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered, counts, strict=True)])


def copy_from_first_process(tensor: Tensor) -> None:
    """Every process takes the first one's values."""
    if _several():
        dist.broadcast(tensor, 0)
