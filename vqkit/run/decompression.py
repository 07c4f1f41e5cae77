"""Compressed files in, what they hold out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from vqkit.run.files import label_of
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
    NAME-0.png and so on. Names that clash are told apart by their folders.

    What is lost of a file costs the windows of its chunk: the likeliest symbols stand there, and a sample that has lost
    all its windows is not written.

    Raises ValueError, before anything is written, where a file is no .vqz file, or of another model, and where a file
    would be replaced.
    """
    sources, make = named_files(files, {SUFFIX, BARE}), cache(partial(_coder, run))
    for source in sources:
        if source.suffix == BARE:
            raise ValueError(f"{source} is a bare payload, which says nothing of itself; add --bare to decompress it")
    opened: list[tuple[Header, Coder]] = []
    for source in sources:
        with _named(source), source.open("rb") as file:
            header = codec.read(file)[0]
            opened.append((header, _checked(run, header, make)))
    pictures = _pictures(sources, Path(out))
    for picture, (header, _) in zip(pictures, opened, strict=True):
        _refuse_taken(_numbered(picture, 0, header.samples))
    written: list[Path] = []
    damages: list[str] = []
    with Progress("decompression", sum(header.samples for header, _ in opened), "sample", bar) as progress:
        for source, picture, (header, coder) in zip(sources, pictures, opened, strict=True):
            lost: list[str] = []
            before = len(written)
            for number, x in enumerate(_samples(source, coder, lost)):
                if x is not None:
                    written.append(_numbered(picture, number, header.samples))
                    _save(run, x, written[-1])
                progress.advance()
            if lost:
                damages.append(_sentence(source, lost, len(written) - before, header.samples))
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
        _refuse_taken(picture)
    with Progress("decompression", len(sources), "sample", bar) as progress:
        for source, picture in zip(sources, pictures, strict=True):
            with _named(source), source.open("rb") as file:
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


def _samples(source: Path, coder: Coder, lost: list[str]) -> Iterator[Tensor | None]:
    """x_hat [C, *grid] native of each sample, None where nothing is left of it; `lost` takes what is said of damage."""

    def note(damage: Damage) -> None:
        lost.append(damage.reason if len(lost) < _SAID else "")

    with source.open("rb") as file:
        header, chunks = codec.read(file)
        windows = coder.windows(header.grid)
        for indices, side, read in codec.decode_samples(coder.codec, windows, header, chunks, note):
            left = read.any(1)
            x_hat: Iterator[Tensor] = iter(())
            if bool(left.any()):
                told = {name: fact[left] for name, fact in side.items()}
                x_hat = iter(coder.decode(tuple(level[left] for level in indices), told, header.grid))
            yield from (next(x_hat) if is_left else None for is_left in left.tolist())


def _sentence(source: Path, lost: list[str], written: int, samples: int) -> str:
    more = [f"{len(lost) - _SAID} more"] if len(lost) > _SAID else []
    return (
        f"{source} is damaged: {'; '.join([*lost[:_SAID], *more])}; {written} of its {samples} samples are written, "
        "what is likeliest in the place of what they lost, so restore it from a copy"
    )


def _pictures(sources: Sequence[Path], out: Path) -> list[Path]:
    """The pictures that these files are named for. Raises ValueError where two are one."""
    return [out / name for name in told_apart([source.with_suffix(".png") for source in sources])]


def _numbered(picture: Path, number: int, samples: int) -> Path:
    """That of one of a file's samples."""
    return picture if samples == 1 else picture.with_stem(f"{picture.stem}-{number:0{len(str(samples - 1))}}")


def _refuse_taken(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path} would be replaced; name another folder")


def _save(run: Run, x: Tensor, path: Path) -> None:
    _refuse_taken(path)  # here too, for a number of one file may be the name of another
    path.parent.mkdir(parents=True, exist_ok=True)
    run.recipe.modality.save(x.cpu(), path)


@contextmanager
def _named(source: Path) -> Iterator[None]:
    """Says which file a mistake is in."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
