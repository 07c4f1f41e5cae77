"""p(x) by way of tokens: with it, what codes tokens codes the data themselves, and loses nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.autoencoders.autoencoder import Autoencoder, inference
from vqkit.autoencoders.autoregressive import value_layout
from vqkit.priors import Prior, Walk, part_of_walk
from vqkit.priors.inputs import check_indices, check_walk, device_of, known_tokens, precision_of, unflatten
from vqkit.signal import Indices, Layout, Side


class LosslessPrior(Prior):
    """p(indices) p(x | z of the indices): the tokens of a sample by `prior`, then, as one more level on the data's own
    grid, its native integers, counted from the lowest, by the prior that an autoregressive decoder is. Any z gives x
    some probability, so a coder of indices is one of x, at the rate of -log p(x, indices).

    The nets between compute in the precision of this prior; codes are looked up in float32. Nothing learns here.

    Raises ValueError where the decoder is no prior over values, or `prior` is one over other tokens.
    """

    def __init__(self, tokenizer: Autoencoder, prior: Prior) -> None:
        super().__init__()
        values, tokens = value_layout(tokenizer.signal), tokenizer.layout()
        if prior.layout != tokens:
            raise ValueError(f"the prior is over {prior.layout} and the tokens are {tokens}; take that of their run")
        _ = tokenizer.decoder.value_prior  # refuses a decoder that has none
        self.tokenizer, self.prior = tokenizer, prior
        self.layout = Layout(tokens.grids + values.grids, tokens.codebook_sizes + values.codebook_sizes, tokens.classes)

    @property
    def knows_classes(self) -> bool:
        return self.prior.knows_classes or self.tokenizer.decoder.classes > 0

    def indices(self, x: Tensor, tokens: Indices) -> Indices:
        """`tokens` of x [B, C, *grid] in native integers, and x as the level behind them."""
        return *tokens, x.to(tokens[0].device).long() - int(self.tokenizer.signal.low)

    def x(self, indices: Indices) -> Tensor:
        """The inverse: x of these indices."""
        signal = self.tokenizer.signal
        return signal.to_native(indices[-1] + int(signal.low))

    def loss(self, indices: Indices, side: Side, context: Tensor | None = None) -> Tensor:
        return -torch.cat([nats.flatten() for nats in self.log_prob(indices, side)]).mean()

    @torch.no_grad()
    def log_prob(self, indices: Indices, side: Side, context: Tensor | None = None) -> Indices:
        check_indices(indices, self.layout)
        *tokens, values = indices
        told = self._context(tuple(tokens), side)
        return *self.prior.log_prob(tuple(tokens), side), *self._value_prior.log_prob((values,), {}, told)

    @torch.no_grad()
    def walk(
        self,
        layout: Layout,
        batch: int,
        side: Side,
        context: Tensor | None = None,
        known: Indices | None = None,
        guidance: float = 1.0,
    ) -> Walk:
        """The walk of the tokens, then that of the values; guidance is of the first."""
        check_walk(layout, self.layout)
        flat = known_tokens(known, layout, batch, device_of(self)).clone()
        *of_tokens, of_values = torch.split(flat, list(layout.tokens), 1)  # views: what the walks are sent is kept here
        *tokens, values = unflatten(flat, layout)
        walk = self.prior.walk(self.prior.layout, batch, side, None, tuple(tokens), guidance)
        yield from part_of_walk(walk, 0, of_tokens)
        told = self._context(unflatten(flat, layout)[:-1], side)
        walk = self._value_prior.walk(self._value_prior.layout, batch, {}, told, (values,))
        yield from part_of_walk(walk, len(of_tokens), [of_values])

    @property
    def _value_prior(self) -> Prior:
        return self.tokenizer.decoder.value_prior

    def _context(self, tokens: Indices, side: Side) -> Tensor:
        """What the values are told of these tokens."""
        precision = precision_of(self)
        with inference(self.tokenizer):
            quantizers = zip(self.tokenizer.quantizers, tokens, strict=True)
            z = self.tokenizer.merge([quantizer.lookup(level).to(precision) for quantizer, level in quantizers])
            return self.tokenizer.decoder.value_context(z, side)
