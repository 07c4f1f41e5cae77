"""The one autoencoder: an encoder, levels coarse to fine each with its bottleneck, and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, zip_longest
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.autoencoders.decoder import Decoder
from vqkit.autoencoders.level import Level
from vqkit.bottlenecks import Bottleneck, Latent, Quantizer
from vqkit.nn import exact_float32
from vqkit.signal import Batch, Indices, Layout, Side, Signal

_NO_SIDE: Side = {}


class Output(NamedTuple):
    """One training pass: `loss` = `decoder_loss` + `latent_loss`, scalars per data dimension, + `mean_loss` where the
    decoder has a mean that is trained beside. Of each level, coarse to fine, `z_e` [B, inputs, *grid] is what its
    bottleneck was given, and `latents` has what that returned."""

    loss: Tensor
    decoder_loss: Tensor
    mean_loss: Tensor | None
    latent_loss: Tensor
    z_e: tuple[Tensor, ...]
    latents: tuple[Latent, ...]


class _Coded(NamedTuple):
    """What encoding does at one level; `context` is what it and the coarser levels merged to."""

    z_e: Tensor
    mask: Tensor | None
    latent: Latent
    context: Tensor


class Autoencoder(nn.Module):
    """x -> features -> levels -> decoder. An AE, a VAE and a VQ-VAE differ in the levels' bottlenecks alone, VQ-VAE-2
    in the number of levels (Razavi et al. 2019, https://arxiv.org/abs/1906.00446).

    `encoder` maps normalised x [B, C, *grid] to one feature map a level, coarse to fine. Encoding for use runs in
    float32 and in eval mode; x may be native integers or floats in the signal's range.

    In training, the decoder does without the finer levels of `level_dropout` of the samples, from a random level on, so
    that it can do without them in use. Each level itself is trained on all samples. Zeros stand in for a z that is left
    out; a learned vector would say no more, as the codes can move away from zero and layers have biases. It is drawn by
    torch's global generator, sample by sample, so that each step trains every number of levels.
    """

    def __init__(
        self,
        signal: Signal,
        encoder: nn.Module,
        levels: Sequence[Level],
        decoder: Decoder,
        level_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= level_dropout < 1 or (level_dropout and len(levels) < 2):
            raise ValueError(
                f"level_dropout is {level_dropout} with {len(levels)} levels; give a number from 0 to below 1, and 0 "
                "where there is one level alone"
            )
        self.signal, self.encoder, self.decoder, self.level_dropout = signal, encoder, decoder, level_dropout
        self.levels = nn.ModuleList(levels)
        self._frozen = False

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are taken there."""
        return next(self.parameters()).device

    @property
    def bottlenecks(self) -> tuple[Bottleneck, ...]:
        """Coarse to fine."""
        return tuple(level.bottleneck for level in self.levels)  # type: ignore[misc]

    @property
    def discrete(self) -> bool:
        """Whether every level is a quantizer, so that x has indices."""
        return all(isinstance(bottleneck, Quantizer) for bottleneck in self.bottlenecks)

    @property
    def quantizers(self) -> tuple[Quantizer, ...]:
        """Coarse to fine. Raises ValueError where a level is not discrete."""
        found = self.bottlenecks
        for bottleneck in found:
            if not isinstance(bottleneck, Quantizer):
                raise ValueError(
                    f"{type(bottleneck).__name__} has no indices; use a quantizer such as EMAVectorQuantizer for tokens"
                )
        return found  # type: ignore[return-value]

    @property
    def prefixes(self) -> tuple[int, ...]:
        """With how many levels, from the coarsest on, the decoder can do: all and, in a model of additive levels or
        trained with `level_dropout`, fewer."""
        numbers = range(1, len(self.levels) + 1)
        return tuple(n for n in numbers if self.level_dropout or all(level.additive for level in self.levels[n:]))

    def grids(self) -> tuple[tuple[int, ...], ...]:
        """The grid of each level for one sample of `signal`, coarse to fine."""
        with torch.no_grad():
            features = self.encoder(torch.zeros(1, self.signal.channels, *self.signal.grid, device=self.device))
        return tuple(tuple(f.shape[2:]) for f in features)

    def layout(self) -> Layout:
        """The grids and alphabets of the indices of one sample of `signal`."""
        return Layout(self.grids(), tuple(q.codebook_sizes for q in self.quantizers), len(self.signal.labels))

    def _code(
        self,
        x: Tensor,
        mask: Tensor | None,
        code: Callable[[Bottleneck, Tensor, Tensor | None], Latent] = Bottleneck.__call__,
    ) -> Iterator[_Coded]:
        """The recursion of encoding, coarse to fine."""
        context = None
        x = self.signal.normalise(x.to(self.device))
        for level, features in zip(self.levels, self.encoder(x), strict=True):
            z_e = level.z_e(features, context)  # type: ignore[operator]
            small = shrink(mask, z_e)
            latent = code(level.bottleneck, z_e, small)  # type: ignore[arg-type]
            context = level.merge(context, latent.z)  # type: ignore[operator]
            yield _Coded(z_e, small, latent, context)

    def merge(self, zs: Sequence[Tensor]) -> Tensor:
        """What the decoder gets of the z of the coarsest levels; the other levels are left out."""
        context: Tensor | None = None
        for level, z in zip_longest(self.levels, zs):
            if z is None:
                z = context.new_zeros(len(context), level.bottleneck.dim, *context.shape[2:])  # type: ignore[union-attr, arg-type]
            context = level.merge(context, z)  # type: ignore[operator]
        assert context is not None
        return context

    def _drop_levels(self, zs: Sequence[Tensor]) -> list[Tensor]:
        """Zeros from a random level on, never the coarsest, in a share of `level_dropout` of the samples."""
        cut = torch.rand(len(zs[0])) < self.level_dropout
        kept = torch.where(cut, torch.randint(1, len(zs), cut.shape), len(zs)).to(zs[0].device)
        return [torch.where((kept > n).view(-1, *(1,) * (z.ndim - 1)), z, 0) for n, z in enumerate(zs)]

    def forward(self, batch: Batch) -> Output:
        """The training objective of a batch."""
        coded = tuple(self._code(batch.x, batch.mask))
        latents, z = tuple(level.latent for level in coded), coded[-1].context
        if self.training and self.level_dropout:
            z = self.merge(self._drop_levels([latent.z for latent in latents]))
        decoder_loss = self.decoder.loss(batch.x, z, batch.side, batch.mask)
        mean_loss = self.decoder.mean_loss(batch.x, z, batch.side, batch.mask)
        # Latent.loss is per latent dimension; this makes it per data dimension, the scale of the likelihood.
        latent_loss = torch.stack([latent.loss * latent.z[0].numel() for latent in latents]).sum() / self.signal.dims
        loss = decoder_loss + latent_loss if mean_loss is None else decoder_loss + latent_loss + mean_loss
        return Output(loss, decoder_loss, mean_loss, latent_loss, tuple(level.z_e for level in coded), latents)

    def latents(self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> tuple[Latent, ...]:
        """Every level's `Latent`, coarse to fine."""
        with inference(self):
            return tuple(level.latent for level in self._code(x, mask))

    def posterior(
        self, x: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[tuple[Latent, ...], Tensor]:
        """Every level's `Latent` with z drawn from q(z | x), and what the decoder gets of them: -log p(x | z) there and
        the latents' KL are the two parts of the evidence lower bound."""
        with inference(self):
            coded = tuple(self._code(x, mask, lambda bottleneck, z_e, m: bottleneck.draw(z_e, m, generator)))
            return tuple(level.latent for level in coded), coded[-1].context

    def nll(self, x: Tensor, z: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> Tensor:
        """-log p(x | z) of what the decoder gets, [B] nats. Raises ValueError where there is no likelihood of x."""
        with inference(self):
            return self.decoder.nll(x.to(self.device), z, side, mask)

    def calibrate(self, batch: Batch) -> None:
        """Fits what the likelihood learns beside the nets, such as a scale, to these samples: once, after training."""
        _, z = self.posterior(batch.x, batch.mask, torch.Generator().manual_seed(0))
        with inference(self):
            self.decoder.calibrate(batch.x.to(self.device), z, batch.side)

    def sample(self, batch: int, side: Side = _NO_SIDE, generator: torch.Generator | None = None) -> Tensor:
        """New samples [batch, C, *grid] in native values, of z from the training prior of every level. Raises
        ValueError where a level has none; indices under a learned prior are drawn by `vqkit.priors.sample`."""
        with inference(self):
            grids = zip(self.bottlenecks, self.grids(), strict=True)
            zs = [bottleneck.sample(batch, grid, generator) for bottleneck, grid in grids]
            return self.decoder.render(self.merge(zs), side, generator)

    def encode(self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> Indices:
        """x [B, C, *grid] -> indices, one [B, Q, *grid] int64 a level. Raises ValueError where nothing is discrete."""
        _ = self.quantizers
        return tuple(latent.indices for latent in self.latents(x, side, mask))  # type: ignore[misc]

    def decode(self, indices: Indices, side: Side = _NO_SIDE) -> Tensor:
        """Indices -> x_hat [B, C, *grid], float32 in native values. Those of the coarsest levels alone are enough where
        `prefixes` has their number. Raises ValueError for another number, and for indices of another model."""
        z = self._looked_up(indices)
        with inference(self):
            return self.decoder.reconstruct(z, side)

    def render(self, indices: Indices, side: Side = _NO_SIDE, generator: torch.Generator | None = None) -> Tensor:
        """Indices that a prior drew -> a new sample [B, C, *grid] in native values. The same as `decode`, but for an
        autoregressive decoder, which draws from p(x | z). Raises ValueError like `decode`."""
        z = self._looked_up(indices)
        with inference(self):
            return self.decoder.render(z, side, generator)

    def _looked_up(self, indices: Indices) -> Tensor:
        """What the decoder gets of these indices."""
        self.require_prefix(len(indices))
        with inference(self):
            levels = zip(self.quantizers, indices, strict=False)
            return self.merge([quantizer.lookup(level.to(self.device)) for quantizer, level in levels])

    def reconstruct(
        self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None, levels: int | None = None
    ) -> Tensor:
        """x -> x_hat through every bottleneck, float32 in native values; through the first `levels` alone, where
        `prefixes` has that number. Raises ValueError for another one."""
        levels = len(self.levels) if levels is None else levels
        self.require_prefix(levels)
        with inference(self):
            zs = [level.latent.z for level in islice(self._code(x, mask), levels)]
            return self.decoder.reconstruct(self.merge(zs), side)

    def require_prefix(self, levels: int) -> None:
        """Raises ValueError where the decoder cannot do with so many levels."""
        if not 1 <= levels <= len(self.levels):
            raise ValueError(f"levels is {levels}; give a number from 1 to {len(self.levels)}, all that there are")
        if levels not in self.prefixes:
            raise ValueError(
                f"this model never learned to decode {levels} of its {len(self.levels)} levels; train it with "
                "tokenizer.level_dropout above 0, such as 0.2"
            )

    def update(self) -> None:
        """The state changes of bottlenecks and decoder, once an optimizer step; none where frozen."""
        if self._frozen:
            return
        for bottleneck in self.bottlenecks:
            bottleneck.update()
        self.decoder.update()

    @torch.no_grad()
    def initialise(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Every bottleneck from a stream of its own z_e, coarse to fine; `batches` starts the stream anew."""
        for number, bottleneck in enumerate(self.bottlenecks):
            bottleneck.initialise(self._z_e_stream(number, batches()))

    def _z_e_stream(self, number: int, batches: Iterable[Batch]) -> Iterator[Tensor]:
        for batch in batches:
            with inference(self):
                *_, level = islice(self._code(batch.x, batch.mask), number + 1)
            real = slice(None) if level.mask is None else level.mask
            yield level.z_e.movedim(1, -1)[real].reshape(-1, level.z_e.shape[1])

    def freeze(self) -> Autoencoder:
        """No gradient, no statistics, eval mode, and no later `.train()` undoes it."""
        self.requires_grad_(False).eval()
        self._frozen = True
        return self

    def train(self, mode: bool = True) -> Autoencoder:
        return super().train(mode and not getattr(self, "_frozen", False))


@contextmanager
def inference(model: Autoencoder) -> Iterator[None]:
    """Eval mode, no gradients, float32; the mode it found is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False), exact_float32():
            yield
    finally:
        model.train(was_training)


def shrink(mask: Tensor | None, z: Tensor) -> Tensor | None:
    """A mask of data positions [B, *grid] on the coarser grid of z: a position counts if any under it is real."""
    if mask is None:
        return None
    pool = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}[mask.ndim - 1]
    kept: Tensor = pool(mask.unsqueeze(1).float(), z.shape[2:]).squeeze(1)
    return kept.bool()
