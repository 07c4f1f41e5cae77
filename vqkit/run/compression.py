"""Files in, compressed files out."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from vqkit import checkpoint, codec
from vqkit.autoencoders import LosslessPrior
from vqkit.codec import Codec, Header
from vqkit.data import named_files, told_apart
from vqkit.priors import Prior, UniformPrior
from vqkit.progress import Progress
from vqkit.run.coder import UNKNOWN, Coder, everything, qualities
from vqkit.run.files import label_of, named, read_file, refuse_loss, refuse_taken
from vqkit.run.run import Run

Known = Literal["uniform", "learned", "unigram"]
"""What is known of the indices: nothing, what the run's prior learned, or how often each is used."""

PRIORS: tuple[Known, ...] = get_args(Known)
SUFFIX, BARE = ".vqz", ".bare"


class Compressed(NamedTuple):
    """The files that were written, their bytes in all, and the positions of the data in all: of pictures, pixels."""

    paths: list[Path]
    bytes: int
    pixels: int

    @property
    def bits_per_pixel(self) -> float:
        """Of whole files."""
        return 8 * self.bytes / self.pixels


def compress_files(
    run: Run,
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    quality: int | None = None,
    bare: bool = False,
    prior: Known = "learned",
    label: int | str | None = None,
    lossless: bool = False,
    bar: bool | None = None,
) -> Compressed:
    """Files, and all of a folder, to the file `out`, which ends in .vqz, as samples of one size; or, where `out` does
    not, each to a file of its own in that folder. Every file is read before the first is written, and a file is written
    whole or not at all.

    Args:
        quality: from 1, the coarsest of the run's `qualities`, to the last, which leaves nothing out: the default.
        bare: payloads alone, NAME.bare, of samples of the size that the run was trained on.
        prior: what is known of the indices.
        label: the class of all files, where prior or decoder know classes.
        lossless: the samples themselves behind their tokens, by an autoregressive decoder.

    Raises ValueError where `read_file` refuses a file, where the run lacks the prior, where a label is missing or
    unknown, and where a file would be replaced.
    """
    sources, out = named_files(files, run.recipe.modality.suffixes), Path(out)
    coder, number = make_coder(run, prior, quality, lossless), label_of(run, label)
    one = out.suffix.lower() == SUFFIX
    if bare and one:
        raise ValueError(f"{out} would be a folder, as a bare payload is one file a picture; name it without {SUFFIX}")
    if one:
        jobs = {out: sources}
    else:
        names = told_apart([source.with_suffix(BARE if bare else SUFFIX) for source in sources])
        jobs = {out / name: [source] for name, source in zip(names, sources, strict=True)}
    for path in jobs:
        refuse_taken(path)
    sizes = {source: _size(run, source, lossless) for source in sources}
    headers = {path: _header(run, coder, group, sizes, number, bare) for path, group in jobs.items()}
    written = 0
    with Progress("compression", len(sources), "file", bar) as progress:
        for path, group in jobs.items():
            header = headers[path]
            parts: Iterable[bytes]
            if header is None:
                parts = [coder.encode_bare(read_file(run, group[0]), number)]
                progress.advance()
            else:
                batches = _batches(run, group, max(1, header.items_per_chunk // header.windows), progress)
                parts = codec.blocks(header, coder.encode(header, batches))
            path.parent.mkdir(parents=True, exist_ok=True)
            with codec.whole(path) as file:
                file.writelines(parts)
            written += path.stat().st_size
    return Compressed(list(jobs), written, sum(math.prod(sizes[source]) for source in sources))


def make_coder(run: Run, prior: Known = "learned", quality: int | None = None, lossless: bool = False) -> Coder:
    """The run as a codec. Raises ValueError where it has no such quality, or no such prior, or cannot be lossless."""
    possible = qualities(run.tokenizer)
    if lossless and quality is not None:
        raise ValueError(f"lossless leaves nothing out, and quality is {quality}; give one of the two")
    if not (quality is None or 1 <= quality <= len(possible)):
        most = len(possible)
        fix = f"give a number from 1, the coarsest, to {most}, its best" if most > 1 else "leave it out"
        raise ValueError(f"quality is {quality} and this run has {most}; {fix}")
    known = _prior(run, prior)
    if lossless:
        known, kept = LosslessPrior(run.tokenizer, known), everything(run.tokenizer)
    else:
        kept = possible[-1 if quality is None else quality - 1]
    return Coder(run.tokenizer, Codec(known), kept, (run.fingerprint, prior_fingerprint(run, prior)))


def prior_fingerprint(run: Run, known: Known) -> str:
    """16 hex digits that name a prior in a file. Raises ValueError where the run does not have it."""
    if known == "uniform":
        return UNKNOWN
    if known == "learned":
        _ = run.prior  # refuses what is not there
        return checkpoint.fingerprint(run.folder / "prior")
    counts = (run.unigram.get_buffer(f"counts_{level}") for level in range(len(run.layout.grids)))
    return hashlib.sha256(b"".join(count.cpu().numpy().astype("<i8").tobytes() for count in counts)).hexdigest()[:16]


def _prior(run: Run, known: Known) -> Prior:
    if known not in PRIORS:
        raise ValueError(f"prior is {known}; name one of {', '.join(PRIORS)}")
    if known == "uniform":
        return UniformPrior(run.layout).to(run.device)
    return run.prior if known == "learned" else run.unigram


def _size(run: Run, source: Path, lossless: bool) -> tuple[int, ...]:
    """Of a file's sample. Raises ValueError where it cannot be read, or would lose what is not to be lost."""
    if lossless:
        refuse_loss(run, source)
    return tuple(read_file(run, source).shape[1:])


def _header(
    run: Run, coder: Coder, group: Sequence[Path], sizes: dict[Path, tuple[int, ...]], label: int | None, bare: bool
) -> Header | None:
    """That of a file of these samples, none where it is `bare`. Raises ValueError where they cannot share a file, or
    are of a size that it cannot hold."""
    size = sizes[group[0]]
    if other := next((source for source in group if sizes[source] != size), None):
        raise ValueError(
            f"{other} is {list(sizes[other])} and {group[0]} is {list(size)}; a file holds samples of one size, so "
            "name a folder as out, which gets one file each"
        )
    with named(group[0]):
        if bare:
            coder.check_bare(size)
            return None
        return coder.header(run.modality_name, size, len(group), None if label is None else [label] * len(group))


def _batches(run: Run, files: Sequence[Path], together: int, progress: Progress) -> Iterator[Tensor]:
    """The files' samples x [B, C, *size], so many at a time."""
    for start in range(0, len(files), together):
        xs = [read_file(run, file) for file in files[start : start + together]]
        yield torch.stack(xs)
        progress.advance(len(xs))
