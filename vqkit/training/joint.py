"""Rate and distortion at once: a tokenizer, and a prior that learns along and says what its tokens cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vqkit.autoencoders import Autoencoder
from vqkit.bottlenecks.codebook import Codebook
from vqkit.priors import Prior
from vqkit.signal import Batch, Indices
from vqkit.tokens import Tokens
from vqkit.training.objectives import Objective, PriorObjective, TokenizerObjective, logs_of


class JointObjective(Objective):
    """A tokenizer's loss + `rate_weight` x -log p(indices) under a prior, nats per data dimension, + the same in nats a
    token, by which the prior learns: the weighing of entropy-constrained vector quantization (Chou, Lookabaugh and Gray
    1989, https://doi.org/10.1109/29.17498), by gradients through soft assignments (Agustsson et al. 2017,
    https://arxiv.org/abs/1704.00648). At a `rate_weight` of 1 and with a likelihood, the first two are the negative
    evidence lower bound under this prior, where all `Quantizer.rate_weights` are 1.

    Where codebooks refine each other, as stages that halve a step do, the nats of the coarse ones weigh more than those
    of the finest (`Quantizer.rate_weights`).

    The prior learns from the tokens as they are, told all that is known of a sample: nothing of its loss reaches the
    tokenizer, nor of the rate the prior. Codes that become rare are not revived meanwhile; moving averages of codes go
    on, by the tokens as they are.

    Raises ValueError where the weight is below 0 or the temperature not above it, and in training where the tokenizer
    has no indices, or the prior no `log_conditionals`.
    """

    def __init__(self, tokenizer: Autoencoder, prior: Prior, rate_weight: float, temperature: float) -> None:
        super().__init__()
        if not 0 <= rate_weight < math.inf:
            raise ValueError(f"rate_weight is {rate_weight}; give 0, which leaves the rate out, or a number above")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature is {temperature}; give a number above 0")
        self.tokenizer, self.prior = TokenizerObjective(tokenizer), PriorObjective(prior)
        self.rate_weight, self.temperature = rate_weight, temperature
        self.model = nn.ModuleList([tokenizer, prior])

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        tokenizer, prior = self.tokenizer.model, self.prior.model
        quantizers, output = tokenizer.quantizers, tokenizer(batch)
        indices: Indices = tuple(latent.indices for latent in output.latents)
        log_p = prior.log_conditionals(indices, batch.side)
        with torch.autocast(output.loss.device.type, enabled=False):
            log_q = [quantizer.assignment(z_e.float()) for quantizer, z_e in zip(quantizers, output.z_e, strict=True)]
            levels = [*zip(indices, log_q, [level.detach() for level in log_p], strict=True)]
            costs = [cost(*level, self.temperature).transpose(1, -1) for level in levels]  # codebooks last
            weights = [level.new_tensor(q.rate_weights) for level, q in zip(costs, quantizers, strict=True)]
            weighted = torch.stack([(level * weight).sum() for level, weight in zip(costs, weights, strict=True)]).sum()
        rate = weighted / (len(batch.x) * tokenizer.signal.dims)
        true = [p.gather(2, level.unsqueeze(2)).sum() for level, p in zip(indices, log_p, strict=True)]
        nats = -torch.stack(true).sum() / sum(level.numel() for level in indices)
        return output.loss + self.rate_weight * rate + nats, logs_of(output) | {"nats_per_token": nats.detach()}

    def validate(self, batches: Iterable[Batch]) -> dict[str, float]:
        """`mse`, on the [0, 1] scale, and `nats_per_token` under the prior."""
        read, encode = list(batches), self.tokenizer.model.encode
        tokens = (Tokens(encode(batch.x, batch.side, batch.mask), batch.side, batch.key) for batch in read)
        return self.tokenizer.validate(read) | self.prior.validate(tokens)

    def update(self) -> None:
        with _no_revival(self.tokenizer.model):
            self.tokenizer.update()
        self.prior.update()


@contextmanager
def _no_revival(model: nn.Module) -> Iterator[None]:
    """No code is re-drawn inside the block: that rare ones die is how the rate falls most."""
    codebooks = [module for module in model.modules() if isinstance(module, Codebook)]
    revivals = [codebook.revival for codebook in codebooks]
    for codebook in codebooks:
        codebook.revival = 0.0
    try:
        yield
    finally:
        for codebook, revival in zip(codebooks, revivals, strict=True):
            codebook.revival = revival


def cost(indices: Tensor, log_q: Tensor, log_p: Tensor, temperature: float) -> Tensor:
    """What the symbols [B, Q, *grid] of a level cost, -log p in nats, shaped like them.

    They are chosen by `log_q` [B, Q, K, *grid], a quantizer's `assignment`, without a gradient. Theirs is that of
    sum_k q_k (-log p_k), the cost of a code drawn from q = softmax(log_q / temperature). `log_p`, a prior's
    `log_conditionals`, is of the same shape; both are -inf beyond an alphabet.
    """
    nats = -log_p.masked_fill(log_p == -math.inf, 0)
    drawn = ((log_q / temperature).softmax(2) * nats).sum(2)
    chosen = nats.gather(2, indices.unsqueeze(2)).squeeze(2)
    return chosen + (drawn - drawn.detach())
