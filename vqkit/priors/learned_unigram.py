"""How often each symbol is used, learned by gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.priors.independent import IndependentPrior
from vqkit.signal import Layout

_GAIN = 20.0  # Adam moves a parameter by about the learning rate a step, and a log-probability has whole nats to go


class LearnedUnigramPrior(IndependentPrior):
    """p(k) of each codebook of each level, the softmax of a table, on grids of any size. For tokens that stay as they
    are `UnigramPrior` has the best table in closed form; this one follows tokens that change, as those of a tokenizer
    do that it is trained together with. At first all symbols are alike."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(layout)
        self.weights = nn.ParameterList(torch.zeros(len(sizes), max(sizes)) for sizes in layout.codebook_sizes)

    def tables(self) -> list[Tensor]:
        pairs = zip(self.weights, self.alphabets(), strict=True)
        return [(_GAIN * weights.to(a.dtype) + a).log_softmax(1) for weights, a in pairs]
