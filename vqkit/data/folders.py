"""Pictures as files: one, a folder, a folder of classes, a folder of splits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from vqkit.data.records import SPLIT_NAMES, Records, Source, labelled


def folder(root: Path, suffixes: Collection[str]) -> Source:
    """The files under `root` that end in `suffixes`, keyed by their path below it.

    Subfolders named train, test, validation are splits. In a split, subfolders are classes, at any depth, unless
    there is only one or files lie beside them. Raises ValueError where there is no such file.
    """
    subfolders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    parts = {SPLIT_NAMES[path.name.lower()]: path for path in subfolders if path.name.lower() in SPLIT_NAMES}
    if "train" not in parts and len(parts) < len(subfolders):
        parts = {}
    found = {name: files for name, part in (parts or {"train": root}).items() if (files := files_under(part, suffixes))}
    if not found:
        raise ValueError(f"{root} holds no {', '.join(sorted(suffixes))} file; give a folder that does")
    return Source(str(root), labelled({name: _records(root, parts.get(name, root), found[name]) for name in found}))


def single(path: Path) -> Source:
    """One file."""
    return Source(str(path), {"train": Records([path], [path.name])})


def files_under(root: Path, suffixes: Collection[str]) -> list[str]:
    """Relative paths with forward slashes, sorted; hidden files and folders are not for us."""
    found = []
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        relative = Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in names
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith(".")
        ]
    return sorted(found)


def named_files(given: Sequence[str | os.PathLike[str]], suffixes: Collection[str]) -> list[Path]:
    """Files, and of each folder all in it that end in `suffixes`. Raises ValueError where there is none."""
    found: list[Path] = []
    for path in map(Path, given):
        if not path.exists():
            raise ValueError(f"there is no {path}; name files, or a folder of them")
        inside = [path / name for name in files_under(path, suffixes)] if path.is_dir() else [path]
        if not inside:
            raise ValueError(f"{path} holds no {', '.join(sorted(suffixes))} file; name a folder that does")
        found += inside
    return found


def told_apart(paths: Sequence[Path]) -> list[Path]:
    """The names of these files, each after as many of its folders as tell it from the others. Raises ValueError where
    two are the same file."""
    paths = [Path(os.path.abspath(path)) for path in paths]
    for path, times in Counter(paths).items():
        if times > 1:
            raise ValueError(f"{times} files of {path.parent} would be {path.name}; rename all of them but one")
    names, depth = [Path(path.name) for path in paths], 1
    while clashing := {name for name, times in Counter(names).items() if times > 1}:
        depth += 1
        ends = [Path(*path.parts[1:][-depth:]) for path in paths]
        names = [end if name in clashing else name for name, end in zip(names, ends, strict=True)]
    return names


def _records(root: Path, part: Path, files: list[str]) -> Records:
    classes = [file.split("/")[0] if "/" in file else None for file in files]
    is_labelled = None not in classes and len(set(classes)) > 1
    paths = [part / file for file in files]
    keys = [path.relative_to(root).as_posix() for path in paths]
    return Records(paths, keys, np.array(classes) if is_labelled else None)
