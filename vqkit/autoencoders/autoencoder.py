"""The one autoencoder: an encoder, levels coarse to fine each with its bottleneck, and a decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
    """One training pass: `loss` = `decoder_loss` + `latent_loss`, scalars per data dimension."""

    loss: Tensor
    decoder_loss: Tensor
    latent_loss: Tensor
    latents: tuple[Latent, ...]


class Autoencoder(nn.Module):
    """x -> features -> levels -> decoder. An AE, a VAE and a VQ-VAE differ in the levels' bottlenecks alone, VQ-VAE-2
    in the number of levels (Razavi et al. 2019, https://arxiv.org/abs/1906.00446).

    `encoder` maps normalised x [B, C, *grid] to one feature map a level, coarse to fine. Encoding for use runs in
    float32 and in eval mode; x may be native integers or floats in the signal's range.
    """

    def __init__(self, signal: Signal, encoder: nn.Module, levels: Sequence[Level], decoder: Decoder) -> None:
        super().__init__()
        self.signal, self.encoder, self.decoder = signal, encoder, decoder
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
    def quantizers(self) -> tuple[Quantizer, ...]:
        """Coarse to fine. Raises ValueError where a level is not discrete."""
        found = self.bottlenecks
        for bottleneck in found:
            if not isinstance(bottleneck, Quantizer):
                raise ValueError(
                    f"{type(bottleneck).__name__} has no indices; use a quantizer such as EMAVectorQuantizer for tokens"
                )
        return found  # type: ignore[return-value]

    def layout(self) -> Layout:
        """The grids and alphabets of the indices of one sample of `signal`."""
        with torch.no_grad():
            features = self.encoder(torch.zeros(1, self.signal.channels, *self.signal.grid, device=self.device))
        return Layout(
            tuple(tuple(f.shape[2:]) for f in features),
            tuple(q.codebook_sizes for q in self.quantizers),
            len(self.signal.labels),
        )

    def _walk_levels(
        self, x: Tensor, mask: Tensor | None, quantize: Callable[[Level, Tensor, Tensor | None], Latent]
    ) -> tuple[tuple[Latent, ...], Tensor]:
        """The recursion of encoding: every level's latent, and the context that the decoder gets."""
        latents, context = [], None
        x = self.signal.normalise(x.to(self.device))
        for level, features in zip(self.levels, self.encoder(x), strict=True):
            z_e = level.z_e(features, context)  # type: ignore[operator]
            latent = quantize(level, z_e, shrink(mask, z_e))  # type: ignore[arg-type]
            latents.append(latent)
            context = level.merge(context, latent.z)  # type: ignore[operator]
        assert context is not None
        return tuple(latents), context

    def forward(self, batch: Batch) -> Output:
        """The training objective of a batch."""
        latents, z = self._walk_levels(batch.x, batch.mask, lambda level, z_e, mask: level.bottleneck(z_e, mask))
        decoder_loss = self.decoder.loss(batch.x, z, batch.side, batch.mask)
        # Latent.loss is per latent dimension; this makes it per data dimension, the scale of the likelihood.
        latent_loss = torch.stack([latent.loss * latent.z[0].numel() for latent in latents]).sum() / self.signal.dims
        return Output(decoder_loss + latent_loss, decoder_loss, latent_loss, latents)

    def latents(self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> tuple[Latent, ...]:
        """Every level's `Latent`, coarse to fine."""
        with _inference(self):
            return self._walk_levels(x, mask, lambda level, z_e, m: level.bottleneck(z_e, m))[0]

    def encode(self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> Indices:
        """x [B, C, *grid] -> indices, one [B, Q, *grid] int64 a level. Raises ValueError where nothing is discrete."""
        _ = self.quantizers
        return tuple(latent.indices for latent in self.latents(x, side, mask))  # type: ignore[misc]

    def decode(self, indices: Indices, side: Side = _NO_SIDE) -> Tensor:
        """Indices -> x_hat [B, C, *grid], float32 in native values. Raises ValueError for another model's indices."""
        indices = tuple(level.to(self.device) for level in indices)
        if len(indices) != len(self.levels) or not all(map(_within, indices, self.quantizers)):
            raise ValueError("these indices are not of this tokenizer; decode with the one that encoded them")
        context = None
        with _inference(self):
            for level, quantizer, level_indices in zip(self.levels, self.quantizers, indices, strict=True):
                context = level.merge(context, quantizer.lookup(level_indices))  # type: ignore[operator]
            assert context is not None
            return self.decoder.reconstruct(context, side)

    def reconstruct(self, x: Tensor, side: Side = _NO_SIDE, mask: Tensor | None = None) -> Tensor:
        """x -> x_hat through every bottleneck, float32 in native values."""
        with _inference(self):
            _, z = self._walk_levels(x, mask, lambda level, z_e, m: level.bottleneck(z_e, m))
            return self.decoder.reconstruct(z, side)

    def update(self) -> None:
        """The bottlenecks' state changes, once an optimizer step; none where frozen."""
        if self._frozen:
            return
        for bottleneck in self.bottlenecks:
            bottleneck.update()

    @torch.no_grad()
    def initialise(self, batches: Callable[[], Iterable[Batch]]) -> None:
        """Every bottleneck from a stream of its own z_e, coarse to fine; `batches` starts the stream anew."""
        for number, bottleneck in enumerate(self.bottlenecks):
            bottleneck.initialise(self._z_e_stream(number, batches()))

    def _z_e_stream(self, number: int, batches: Iterable[Batch]) -> Iterator[Tensor]:
        for batch in batches:
            seen: list[Tensor] = []

            def keep(level: Level, z_e: Tensor, mask: Tensor | None, seen: list[Tensor] = seen) -> Latent:
                seen.append(z_e.movedim(1, -1)[slice(None) if mask is None else mask].reshape(-1, z_e.shape[1]))
                return level.bottleneck(z_e, mask)  # type: ignore[no-any-return]

            with _inference(self):
                self._walk_levels(batch.x, batch.mask, keep)
            yield seen[number]

    def freeze(self) -> Autoencoder:
        """No gradient, no statistics, eval mode, and no later `.train()` undoes it."""
        self.requires_grad_(False).eval()
        self._frozen = True
        return self

    def train(self, mode: bool = True) -> Autoencoder:
        return super().train(mode and not getattr(self, "_frozen", False))


@contextmanager
def _inference(model: Autoencoder) -> Iterator[None]:
    """Eval mode, no gradients, float32; the mode it found is put back."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, enabled=False), exact_float32():
            yield
    finally:
        model.train(was_training)


def _within(indices: Tensor, quantizer: Quantizer) -> bool:
    """Whether every index [B, Q, *grid] is in the alphabet of its codebook."""
    sizes = torch.tensor(quantizer.codebook_sizes, device=indices.device)
    if quantizer.additive:
        sizes = sizes[: indices.shape[1]]
    if len(sizes) != indices.shape[1]:
        return False
    return bool(((indices >= 0) & (indices < sizes.view(-1, *(1,) * (indices.ndim - 2)))).all())


def shrink(mask: Tensor | None, z: Tensor) -> Tensor | None:
    """A mask of data positions [B, *grid] on the coarser grid of z: a position counts if any under it is real."""
    if mask is None:
        return None
    sizes = [n // m for n, m in zip(mask.shape[1:], z.shape[2:], strict=True)]
    pool = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[len(sizes)]
    kept: Tensor = pool(mask.unsqueeze(1).float(), sizes).squeeze(1)
    return kept.bool()
