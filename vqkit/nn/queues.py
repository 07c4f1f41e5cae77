"""A dilated net (`nn.dilated`) taken position by position: a step costs O(layers), however long the sequence (Fast
WaveNet, Paine et al. 2016, https://arxiv.org/abs/1611.09482).

Each layer has a queue of its last inputs, as many as its dilation: the one that goes out is what its earlier tap sees
now. What the queues and the condition give is therefore known when a step begins, and is one batched product for all
layers; what is left for each layer in its turn is the later tap.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.nn.dilated import DilatedNet


class Queues:
    """Features [B, W] of one position after the other in raster order, without gradients: those of `net`
    over the whole grid. The queues are rings in one block of memory, sum(dilations) x B x W, allocated here.

    `condition` [B, W, *grid or ones] is the one that `net` takes. Call it with the input [B, W] of the position before
    the one that is wanted (zeros before the first).
    """

    @torch.no_grad()
    def __init__(self, net: DilatedNet, batch: int, condition: Tensor | None = None) -> None:
        def weights(name: str) -> Tensor:
            """[L, inputs, outputs, taps]"""
            return torch.stack([layer.get_parameter(f"{name}.weight").transpose(0, 1) for layer in net.layers])

        self.width, self.position = net.width, 0
        self.earlier, now = weights("kernel").movedim(-1, 0).contiguous()
        self.now = now.unbind()
        self.skip = weights("skip").flatten(0, 1)[..., 0]
        self.residuals = [layer.get_parameter("residual.weight")[..., 0].t() for layer in net.layers[:-1]]
        self.bias = torch.cat([layer.get_parameter("kernel.bias") for layer in net.layers])

        self.dilations = torch.tensor(net.dilations, device=self.bias.device)
        self.starts = self.dilations.cumsum(0) - self.dilations
        self.queues = self.bias.new_zeros(sum(net.dilations), batch, net.width)

        self.condition, self.given = None, self.bias.view(-1, 1, 2 * net.width)
        if condition is not None:
            self.conditions = weights("condition")[..., 0].transpose(0, 1).flatten(1)  # [W, L x 2W]
            self.condition = condition.flatten(2).movedim(-1, 0).contiguous()
            if len(self.condition) == 1:
                self.given, self.condition = self._given(self.condition[0]).contiguous(), None

    def _given(self, condition: Tensor) -> Tensor:
        """Bias and condition [B, W] of one position, for each layer: [L, B, 2W]."""
        given = torch.addmm(self.bias, condition, self.conditions)
        return given.view(len(given), -1, 2 * self.width).transpose(0, 1)

    @torch.no_grad()
    def __call__(self, before: Tensor) -> Tensor:
        with torch.autocast(before.device.type, enabled=False):
            return self._advance(before)

    def _advance(self, x: Tensor) -> Tensor:
        slots = self.starts + self.position % self.dilations  # what goes out of each queue, and what comes in
        given = self.given if self.condition is None else self._given(self.condition[self.position])
        given = torch.baddbmm(given, self.queues[slots], self.earlier)
        inputs, units = [x], []
        for number, (known, weight) in enumerate(zip(given.unbind(), self.now, strict=True)):
            y = torch.addmm(known, x, weight)
            y[:, : self.width].tanh_()
            units.append(F.glu(y))
            if number < len(self.residuals):
                x = torch.addmm(x, units[-1], self.residuals[number])
                inputs.append(x)
        self.queues[slots] = torch.stack(inputs)
        self.position += 1
        return torch.cat(units, 1) @ self.skip
