"""A tokenizer and a prior as one codec: samples of any size, at one of several qualities, to the parts of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from vqkit import codec
from vqkit.autoencoders import Autoencoder, LosslessPrior, decode_any, encode_any, grids_of
from vqkit.codec import Chunk, Codec, Header, Windows
from vqkit.signal import Indices, Side

UNKNOWN = "0" * 16
"""The fingerprint of a prior that knows nothing, the uniform one; and what stands for one where no file is written."""


def qualities(tokenizer: Autoencoder) -> list[tuple[int, ...]]:
    """How many codebooks of each level are kept at each quality, from the coarsest on: those levels, and codebooks of
    the last of them, that the tokenizer can do with. Levels come coarse to fine, the last quality has all."""
    quantizers = tokenizer.quantizers
    books = tuple(len(quantizer.codebook_sizes) for quantizer in quantizers)
    return [(*books[: n - 1], kept) for n in tokenizer.prefixes for kept in quantizers[n - 1].prefixes]


def everything(tokenizer: Autoencoder) -> tuple[int, ...]:
    """What is kept where nothing may be lost: all tokens, and as a level of their own the channels of the data."""
    return *qualities(tokenizer)[-1], tokenizer.signal.channels


class Coder:
    """What both ends of a file share.

    Args:
        tokenizer: makes the indices.
        codec: of the prior that says how likely they are, or of a `LosslessPrior`.
        kept: one of the tokenizer's `qualities`; with a `LosslessPrior`, `everything`.
        fingerprints: of the tokenizer and of the prior of its tokens, 16 hex digits each.
    """

    def __init__(
        self,
        tokenizer: Autoencoder,
        codec: Codec,
        kept: tuple[int, ...],
        fingerprints: tuple[str, str] = (UNKNOWN, UNKNOWN),
    ) -> None:
        self.tokenizer, self.codec, self.kept, self.fingerprints = tokenizer, codec, kept, fingerprints
        self.lossless = codec.prior if isinstance(codec.prior, LosslessPrior) else None

    def windows(self, size: tuple[int, ...]) -> Windows:
        """How the tokens of samples of this size are cut. Raises ValueError where the tokenizer takes none such."""
        grids = grids_of(self.tokenizer, size)
        return Windows(self.codec.layout, (*grids, size) if self.lossless else grids, self.kept)

    def header(self, modality: str, size: tuple[int, ...], samples: int, labels: Sequence[int] | None = None) -> Header:
        """That of a file of so many samples. Raises ValueError where they are too large, or not of the tokenizer."""
        windows = self.windows(size)
        header = Header(
            modality,
            self.tokenizer.signal.channels,
            size,
            samples,
            *self.fingerprints,
            self.kept,
            None if labels is None else tuple(labels),
            windows.number,
            codec.items_per_chunk(windows.layout),
        )
        codec.check_header(header, windows)
        return header

    def encode(self, header: Header, batches: Iterable[Tensor]) -> Iterator[Chunk]:
        """The chunks of the header's samples, which come as x [any, C, *grid] in native values. Raises ValueError like
        `Codec.encode`."""
        return codec.encode_samples(self.codec, self.windows(header.grid), header, map(self._indices, batches))

    def _indices(self, x: Tensor) -> Indices:
        tokens = encode_any(self.tokenizer, x)
        return self.lossless.indices(x, tokens) if self.lossless else tokens

    def decode(self, indices: Indices, side: Side, size: tuple[int, ...]) -> Tensor:
        """Native x_hat [B, C, *size] of the indices that were kept; x itself, of everything."""
        if self.lossless:
            return self.lossless.x(indices)
        return decode_any(self.tokenizer, indices, side, size, rounded=True)

    def check_bare(self, size: tuple[int, ...]) -> None:
        """Raises ValueError where a bare payload cannot hold a sample of this size."""
        if size != (grid := self.tokenizer.signal.grid):
            raise ValueError(
                f"a bare payload is of {list(grid)}, and this is {list(size)}; leave bare out, or resize it"
            )

    def encode_bare(self, x: Tensor, label: int | None) -> bytes:
        """The payload of x [C, *grid] alone. Raises ValueError where it is of another size than the signal, which both
        ends know."""
        self.check_bare(tuple(x.shape[1:]))
        coded = self.windows(self.tokenizer.signal.grid).coded
        return codec.to_bare(self.codec, self._indices(x[None]), coded, _side(label))

    def decode_bare(self, payload: bytes, label: int | None) -> Tensor:
        """Native x_hat [C, *grid]. Raises ValueError like `codec.from_bare`."""
        grid = self.tokenizer.signal.grid
        windows = self.windows(grid)
        items = codec.from_bare(self.codec, payload, windows.coded, _side(label))
        return self.decode(windows.join(items), _side(label), grid)[0]


def _side(label: int | None) -> Side:
    return {} if label is None else {"label": torch.tensor([label])}
