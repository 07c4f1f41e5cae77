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


def draw_from_all_processes(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws `count` of the rows [n, D] of all processes, in the order of ranks; n may differ between them. The same on
    each where `generator` is: [count, D], or fewer where there are fewer."""
    if not _several():
        return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]
    lengths = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=rows.device)
    lengths[dist.get_rank()] = len(rows)
    dist.all_reduce(lengths)
    first = int(lengths[: dist.get_rank()].sum())
    drawn = torch.randperm(int(lengths.sum()), generator=generator)[:count].to(rows.device) - first
    mine = (drawn >= 0) & (drawn < len(rows))
    result = rows.new_zeros(len(drawn), rows.shape[1])
    result[mine] = rows[drawn[mine]]
    dist.all_reduce(result)  # only one of them has each row, and all others zeros
    return result


def copy_from_first_process(tensor: Tensor) -> None:
    """Every process takes the first one's values."""
    if _several():
        dist.broadcast(tensor, 0)
