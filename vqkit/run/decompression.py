"""Compressed files in, what they hold out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from vqkit import codec
from vqkit.codec import MOST_PAYLOAD, Damage, Header
from vqkit.data import named_files, told_apart
from vqkit.progress import Progress
from vqkit.run.coder import Coder, everything, qualities
from vqkit.run.compression import BARE, PRIORS, SUFFIX, Known, make_coder, prior_fingerprint
from vqkit.run.files import label_of, named, refuse_taken
from vqkit.run.run import Run

_SAID = 3  # of the damages of a file, how many are told one by one


class Decompressed(NamedTuple):
    """The files that were written, and a sentence about each file of which not all could be."""

    paths: list[Path]
    damages: list[str]


def decompress_files(
    run: Run, files: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], bar: bool | None = None
) -> Decompressed:
    """The .vqz files of `compress_files`, and all of a folder, into the folder `out`: NAME.png or, of several samples,
    NAME-0.png and so on, in the order in which they were compressed. Names that clash are told apart by their folders.

    What is lost of a file costs the windows of its chunk: the likeliest symbols stand there, and a sample that has lost
    all its windows is not written. Nothing is written of a file whose header cannot be read, or of another model.

    Raises ValueError, before anything is written, where none of the files can be decoded, and where a file would be
    replaced.
    """
    sources, make = named_files(files, {SUFFIX, BARE}), cache(partial(_coder, run))
    for source in sources:
        if source.suffix == BARE:
            raise ValueError(f"{source} is a bare payload, which says nothing of itself; add --bare to decompress it")
    opened: dict[Path, tuple[Header, Coder]] = {}
    damages: list[str] = []
    for source in sources:
        try:
            with named(source), source.open("rb") as file:
                header = codec.read(file)[0]
                opened[source] = header, _checked(run, header, make)
        except ValueError as error:
            damages.append(str(error))
    if not opened:
        raise ValueError(damages[0])
    pictures = dict(zip(sources, _pictures(sources, Path(out)), strict=True))
    paths = {source: _numbered(pictures[source], header.samples) for source, (header, _) in opened.items()}
    _refuse_clashes(paths)
    written: list[Path] = []
    with Progress("decompression", sum(map(len, paths.values())), "sample", bar) as progress:
        for source, (header, coder) in opened.items():
            found = _Found()
            before = len(written)
            for path, x in zip(paths[source], _samples(source, coder, found), strict=False):
                if x is not None:
                    written.append(path)
                    _save(run, x, path)
                progress.advance()
            if found.damages:
                damages.append(_sentence(source, found, len(written) - before, header.samples))
    return Decompressed(written, damages)


def decompress_bare(
    run: Run,
    files: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    quality: int | None = None,
    prior: Known = "learned",
    label: int | str | None = None,
    lossless: bool = False,
    bar: bool | None = None,
) -> Decompressed:
    """Bare payloads of `compress_files`, which were made with the same arguments, into the folder `out` as NAME.png.

    Raises ValueError where a payload is longer than any of this model, or cannot be decoded, and where a file would be
    replaced; most damage goes unnoticed.
    """
    sources = named_files(files, {BARE})
    coder, number = make_coder(run, prior, quality, lossless), label_of(run, label)
    pictures = _pictures(sources, Path(out))
    for picture in pictures:
        refuse_taken(picture)
    with Progress("decompression", len(sources), "sample", bar) as progress:
        for source, picture in zip(sources, pictures, strict=True):
            with named(source), source.open("rb") as file:
                x = coder.decode_bare(file.read(MOST_PAYLOAD), number)
            _save(run, x, picture)
            progress.advance()
    return Decompressed(pictures, [])


def _checked(run: Run, header: Header, make: Callable[[tuple[int, ...], str], Coder]) -> Coder:
    """What decodes a file with this header. Raises ValueError where the run cannot."""
    signal = run.tokenizer.signal
    if header.tokenizer != run.fingerprint:
        raise ValueError(
            f"it was made by tokenizer {header.tokenizer}, and that of {run.folder} is {run.fingerprint}; name the run "
            "that it was made with"
        )
    found, own = (header.modality, header.channels), (run.modality_name, signal.channels)
    if found != own or not all(label < len(signal.labels) for label in header.labels or ()):
        raise ValueError(
            f"it is of {found}, its model of {own}, or it has labels that are unknown; restore it from a copy"
        )
    if run.tokenizer.decoder.classes and header.labels is None:
        raise ValueError("it has no labels, which its model's decoder must be told; restore it from a copy")
    coder = make(header.kept, header.prior)
    codec.check_header(header, coder.windows(header.grid))
    return coder


def _coder(run: Run, kept: tuple[int, ...], fingerprint: str) -> Coder:
    """Finds out which prior and which quality it was. Raises ValueError where the run does not have them."""
    possible, lossless = qualities(run.tokenizer), kept == everything(run.tokenizer)
    if not (lossless or kept in possible):
        raise ValueError(f"it keeps {kept} codebooks, which its model cannot decode; restore it from a copy")
    for known in PRIORS:
        try:
            found = prior_fingerprint(run, known)
        except ValueError:  # the run has no such prior
            continue
        if found == fingerprint:
            return make_coder(run, known, None if lossless else possible.index(kept) + 1, lossless)
    raise ValueError(
        f"it was coded with prior {fingerprint}, which {run.folder} does not have; name the run that it was made with"
    )


class _Found:
    """What became of a file: what is said of each damage, and whether a sample that is left has lost a part."""

    def __init__(self) -> None:
        self.damages: list[str] = []
        self.filled = False


def _samples(source: Path, coder: Coder, found: _Found) -> Iterator[Tensor | None]:
    """x_hat [C, *grid] native of each sample, None where nothing is left of it."""

    def note(damage: Damage) -> None:
        found.damages.append(damage.reason if len(found.damages) < _SAID else "")

    with source.open("rb") as file:
        header, chunks = codec.read(file)
        windows = coder.windows(header.grid)
        for indices, side, read in codec.decode_samples(coder.codec, windows, header, chunks, note):
            left = read.any(1)
            found.filled |= bool((left & ~read.all(1)).any())
            x_hat: Iterator[Tensor] = iter(())
            if bool(left.any()):
                told = {name: fact[left] for name, fact in side.items()}
                x_hat = iter(coder.decode(tuple(level[left] for level in indices), told, header.grid))
            yield from (next(x_hat) if is_left else None for is_left in left.tolist())


def _sentence(source: Path, found: _Found, written: int, samples: int) -> str:
    lost = found.damages
    more = [f"{len(lost) - _SAID} more"] if len(lost) > _SAID else []
    filled = ", with what is likeliest in the place of what they lost" if found.filled else ""
    return (
        f"{source} is damaged: {'; '.join([*lost[:_SAID], *more])}; {written} of its {samples} samples are "
        f"written{filled}; restore it from a copy"
    )


def _pictures(sources: Sequence[Path], out: Path) -> list[Path]:
    """The pictures that these files are named for. Raises ValueError where two are one, and where `out` is named like
    one of them."""
    if out.suffix.lower() == ".png":
        raise ValueError(f"{out} would be a folder of pictures; name it without .png")
    return [out / name for name in told_apart([source.with_suffix(".png") for source in sources])]


def _numbered(picture: Path, samples: int) -> list[Path]:
    """Those of a file's samples."""
    width = len(str(samples - 1))
    return [picture] if samples == 1 else [picture.with_stem(f"{picture.stem}-{n:0{width}}") for n in range(samples)]


def _refuse_clashes(paths: dict[Path, list[Path]]) -> None:
    """Raises ValueError where a picture would be replaced, or two be one."""
    owners: dict[Path, Path] = {}
    for source, pictures in paths.items():
        for picture in pictures:
            refuse_taken(picture)
            if (other := owners.setdefault(picture, source)) != source:
                raise ValueError(f"{other} and {source} would both make {picture}; decompress them to two folders")


def _save(run: Run, x: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    run.recipe.modality.save(x.cpu(), path)
