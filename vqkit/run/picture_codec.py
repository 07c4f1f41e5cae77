"""A run as a codec of pictures, to be compared with others."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqkit import codec
from vqkit.codec import Damage
from vqkit.evaluation import Coded
from vqkit.run.coder import Coder, qualities
from vqkit.run.compression import make_coder
from vqkit.run.files import label_of
from vqkit.run.run import Run


class RunCodec:
    """What `vqkit compress` writes with the run's learned prior, at each quality; no labels are told.

    Args:
        name: of its curve.
        run: has a tokenizer with indices, and a prior.
        bare: files are payloads alone, of one picture each of the run's size.

    Raises ValueError where the run has no indices or no prior, and where its decoder must be told labels.
    """

    def __init__(self, name: str, run: Run, bare: bool = False) -> None:
        self.name, self.run, self.bare = name, run, bare
        label_of(run, None)
        possible, own = qualities(run.tokenizer), run.folder.resolve().name
        which = "" if name in (own, str(run.folder)) else f"{own}, "
        best = make_coder(run)
        self._coders = {
            f"{which}quality {quality} of {len(possible)}": Coder(run.tokenizer, best.codec, kept, best.fingerprints)
            for quality, kept in enumerate(possible, 1)
        }

    @property
    def settings(self) -> Sequence[str]:
        """The qualities from the coarsest, after the run's folder where that is not the name."""
        return list(self._coders)

    def code(self, x: Tensor, setting: str, pictures_per_file: int) -> Coded:
        """x uint8 [N, C, H, W]. Raises ValueError where the run does not take their size."""
        coder = self._coders[setting]
        if not self.bare:
            files = [_file(coder, part, self.run.modality_name) for part in x.split(pictures_per_file)]
            return Coded(files, torch.cat([_decoded(coder, file) for file in files]))
        files = [coder.encode_bare(picture, None) for picture in x]
        return Coded(files, torch.stack([coder.decode_bare(file, None) for file in files]))


def named_runs(given: Sequence[str]) -> list[tuple[str, Run]]:
    """RUN, which is called like its folder, or its path where another is called so too; or NAME=RUN,RUN,..., runs that
    share a name. Raises ValueError where one is no run."""
    named: list[tuple[str, Run]] = []
    for text in given:
        name, equals, folders = text.partition("=")
        alone = not equals or Path(text).is_dir()
        named += [("" if alone else name, Run(folder)) for folder in ([text] if alone else folders.split(","))]
    own = [run.folder.resolve().name for _, run in named]
    return [
        (name or (folder if own.count(folder) == 1 else str(run.folder)), run)
        for (name, run), folder in zip(named, own, strict=True)
    ]


def _file(coder: Coder, x: Tensor, modality: str) -> bytes:
    """The .vqz file of x [N, C, H, W]."""
    header = coder.header(modality, tuple(x.shape[2:]), len(x))
    return b"".join(codec.blocks(header, coder.encode(header, [x])))


def _decoded(coder: Coder, file: bytes) -> Tensor:
    """x_hat uint8 [N, C, H, W] of a .vqz file."""
    header, chunks = codec.read(io.BytesIO(file))
    samples = codec.decode_samples(coder.codec, coder.windows(header.grid), header, chunks, _refuse)
    return torch.cat([coder.decode(indices, side, header.grid).cpu() for indices, side, _ in samples])


def _refuse(damage: Damage) -> None:
    raise ValueError(damage.reason)
