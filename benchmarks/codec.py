"""Coded against estimated bits, where the time goes, exactness across machines, and files that are damaged.

    python benchmarks/codec.py [--runs RUN ...] [--pictures 1000] [--mutations 100000]

For each prior of each run, on held-out pictures in one file: bits a picture that the prior promises and that the file
has, and seconds of compressing and decompressing in the tokenizer, in the prior and in entropy coding. Then processes
with other numbers of threads and other instruction sets write and read the same indices, each what each wrote. Then a
tiny model, trained here, is given mutated and truncated files: each is refused, or what it gives is right, or it says
what is lost. Writes benchmarks/results/codec.json, in which what is not measured this time stays.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import machine
from PIL import Image

import vqkit
from vqkit import codec
from vqkit.codec import Header, entropy, tables
from vqkit.data import spread
from vqkit.run import Run, compress_files, decompress_files, make_coder
from vqkit.run.coder import Coder
from vqkit.run.compression import PRIORS
from vqkit.signal import Indices, Side

ENVIRONMENTS: dict[str, dict[str, str]] = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "no AVX-512": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "no vector instructions": {
        "OMP_NUM_THREADS": "2",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
TINY = {
    "training.max_steps": 30,
    "prior_training.max_steps": 30,
    "tokenizer.width": 4,
    "tokenizer.bottleneck.codebook_size": 16,
    "tokenizer.value_prior": {"class_path": "PixelCNN", "init_args": {"width": 4, "depth": 1, "context_channels": 4}},
    "prior.width": 8,
    "prior.depth": 1,
    "prior.heads": 2,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="*", default=[])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--process", nargs=3, help=argparse.SUPPRESS)  # write or read, which of ENVIRONMENTS, a folder
    given = parser.parse_args()
    if given.process:
        process(Run(given.runs[0], "cpu"), *given.process)
        return
    path = Path(__file__).parent / "results" / "codec.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"runs": {}}
    for folder in given.runs:
        run = Run(folder, "cpu")
        held_out = run.dataset("validation")
        batch = held_out.read(spread(len(held_out), given.pictures))
        print(run.folder.name)
        rates = {known: rate(run, known, batch.x, batch.side) for known in PRIORS}
        exact = exactness(folder, run.tokenizer.encode(batch.x), batch.side)
        facts = {"machine": machine(), "learned": type(run.prior).__name__, "pictures": len(batch.x)}
        result["runs"][run.folder.name] = facts | {"rates": rates, "exactness": exact}
    if given.mutations:
        result["mutations"] = {"machine": machine()} | mutations(given.mutations)
    path.write_text(json.dumps(result, indent=1) + "\n")


def rate(run: Run, known: Any, x: torch.Tensor, side: Side) -> dict[str, float]:
    """Bits a picture, and seconds a thousand pictures, of one file of all."""
    coder = make_coder(run, known)
    side = needed(coder, side)
    indices, tokenizing = timed(lambda: run.tokenizer.encode(x))
    header, windows = header_of(run, coder, side, len(x)), coder.windows(run.tokenizer.signal.grid)
    with clocked() as coding:
        chunks, encoding = timed(lambda: list(codec.encode_samples(coder.codec, windows, header, [indices])))
    encode_coding = coding[0]
    bytes_ = sum(map(len, codec.blocks(header, chunks)))
    with clocked() as coding:
        _, decoding = timed(lambda: list(codec.decode_samples(coder.codec, windows, header, chunks, print)))
    _, rendering = timed(lambda: run.tokenizer.decode(indices, side))
    nats = coder.codec.prior.log_prob(indices, side)
    estimated = -sum(float(level.sum()) for level in nats) / math.log(2)
    bound = 1.002 * estimated + 8 * (48 + 12 * header.chunks + (len(x) if header.labels else 0))
    found = {
        "estimated_bits": estimated / len(x),
        "coded_bits": 8 * bytes_ / len(x),
        "bound_bits": bound / len(x),
        "chunks": header.chunks,
        "tokenizer_encode_seconds": tokenizing,
        "prior_encode_seconds": encoding - encode_coding,
        "coder_encode_seconds": encode_coding,
        "tokenizer_decode_seconds": rendering,
        "prior_decode_seconds": decoding - coding[0],
        "coder_decode_seconds": coding[0],
    }
    share = coding[0] / (decoding + rendering), encode_coding / (encoding + tokenizing)
    print(
        f"{known:8} estimated {found['estimated_bits']:9.2f}  coded {found['coded_bits']:9.2f}  "
        f"bound {found['bound_bits']:9.2f}  coder {100 * share[1]:4.1f} % of {encoding + tokenizing:.1f} s, "
        f"{100 * share[0]:4.1f} % of {decoding + rendering:.1f} s back"
    )
    return found


def needed(coder: Coder, side: Side) -> Side:
    """The labels where tokenizer or prior cannot do without."""
    if coder.tokenizer.decoder.classes:
        return side
    try:
        next(coder.codec.prior.walk(coder.codec.layout, 1, {}))
    except ValueError:
        return side
    return {}


def header_of(run: Run, coder: Coder, side: Side, samples: int) -> Header:
    return coder.header(run.modality_name, run.tokenizer.signal.grid, samples, side["label"].tolist() if side else None)


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


@contextmanager
def clocked() -> Iterator[list[float]]:
    """Seconds in what entropy coding adds to a walk: the weights, the safe dithers and the coder."""
    spent, places = [0.0], [(tables, "weights"), (tables, "unsafe_dithers")]
    places += [(entropy.Encoder, "encode"), (entropy.Encoder, "sealed"), (entropy.Decoder, "decode")]
    before = [getattr(place, name) for place, name in places]

    def clock(work: Callable[..., Any]) -> Callable[..., Any]:
        def clocked_work(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[0] += time.perf_counter() - start

        return clocked_work

    for (place, name), work in zip(places, before, strict=True):
        setattr(place, name, clock(work))
    try:
        yield spent
    finally:
        for (place, name), work in zip(places, before, strict=True):
            setattr(place, name, work)


def exactness(folder: str, indices: Indices, side: Side) -> dict[str, int]:
    """Of each prior, and each pair of a process that encoded and one that decoded, how many pictures came out wrong."""
    wrong: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as place:
        torch.save({"indices": indices, "side": dict(side)}, Path(place) / "given.pt")
        for verb, name in itertools.product(("write", "read"), ENVIRONMENTS):
            command = [sys.executable, __file__, "--runs", folder, "--process", verb, name, place]
            subprocess.run(command, check=True, env=os.environ | ENVIRONMENTS[name])
        for path in sorted(Path(place).glob("*.json")):
            wrong |= json.loads(path.read_text())
    print(f"wrong pictures over {len(wrong)} priors and pairs of processes: {sum(wrong.values())}")
    return wrong


def process(run: Run, verb: str, name: str, place: str) -> None:
    """One process of `exactness`: writes the indices by each prior, or reads what each process has written."""
    given, wrong = torch.load(Path(place) / "given.pt", weights_only=True), {}
    for known in PRIORS:
        indices, coder = given["indices"], make_coder(run, known)
        side, windows = needed(coder, given["side"]), coder.windows(run.tokenizer.signal.grid)
        header = header_of(run, coder, side, len(indices[0]))
        if verb == "write":
            chunks = codec.encode_samples(coder.codec, windows, header, [indices])
            codec.write(Path(place) / f"{known}-{name}.vqz", header, chunks)
            continue
        for writer in ENVIRONMENTS:
            with (Path(place) / f"{known}-{writer}.vqz").open("rb") as file:
                found, stored = codec.read(file)
                samples = list(codec.decode_samples(coder.codec, windows, found, stored, print))
            levels = [torch.cat(parts) for parts in zip(*(some.indices for some in samples), strict=True)]
            same = torch.stack([(a == b).flatten(1).all(1) for a, b in zip(levels, indices, strict=True)]).all(0)
            wrong[f"{known}: {name} reads {writer}"] = int((~same).sum())
    if verb == "read":
        (Path(place) / f"{name}.json").write_text(json.dumps(wrong))


def mutations(count: int) -> dict[str, float]:
    """What became of damaged files, the longest one, and MiB that the process grew by."""
    with tempfile.TemporaryDirectory() as place:
        folder, generator = Path(place), np.random.default_rng(0)
        run = vqkit.train("digits", out=folder / "run", stages=["tokenizer", "tokens", "prior"], bar=False, **TINY)
        truth = originals(run, folder)
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        before, longest = peak(), 0.0
        outcomes: Counter[str] = Counter()
        for number in range(count):
            name = list(truth)[number % len(truth)]
            data, forged = mutated((folder / f"{name}.vqz").read_bytes(), generator, run)
            outcome, seconds = timed(lambda data=data, name=name: outcome_of(run, data, truth[name], folder))  # type: ignore[misc]
            outcome = f"forged, {outcome}".replace("wrong", "decoded") if forged else outcome
            outcomes[outcome] += 1
            longest = max(longest, seconds)
            if number % 1000 == 999:
                print(f"{number + 1:7} files: {dict(outcomes)}, longest {longest:.2f} s, +{peak() - before:.0f} MiB")
        return dict(outcomes) | {"longest_seconds": longest, "grown_mib": peak() - before}


def originals(run: Run, folder: Path) -> dict[str, list[str]]:
    """Sound files, and digests of the pictures that they hold: one, many, a large one of windows, and one lossless."""
    (folder / "in").mkdir()
    for number, x in enumerate(run.dataset("validation").read(range(70)).x):
        run.recipe.modality.save(x, folder / "in" / f"{number:02}.png")
    large = np.add.outer(np.arange(90), np.arange(70)).astype(np.uint8)
    Image.fromarray(large).save(folder / "large.png")
    truth = {}
    for name, file, prior in (
        ("one", "in/03.png", "unigram"),
        ("many", "in", "learned"),
        ("large", "large.png", "unigram"),
        ("lossless", "in/03.png", "unigram"),
    ):
        out, lossless = folder / f"{name}.vqz", name == "lossless"
        compress_files(run, [folder / file], out, prior=prior, lossless=lossless, bar=False)  # type: ignore[arg-type]
        paths = decompress_files(run, [folder / f"{name}.vqz"], folder / name, bar=False).paths
        truth[name] = [digest(path) for path in paths]
    return truth


def mutated(data: bytes, generator: np.random.Generator, run: Run) -> tuple[bytes, bool]:
    """A copy with a byte or some changed, left out, put in, moved; or cut short; or with a header that is another, but
    has its checksum. Whether it is forged: a header of another size, with all that follows from it."""
    changed, kind = bytearray(data), int(generator.integers(8))
    start, length = int(generator.integers(len(data))), int(generator.integers(1, 9))
    noise = generator.integers(0, 256, length, np.uint8).tobytes()
    if kind == 0:
        changed[start] ^= 1 << int(generator.integers(8))
    elif kind == 1:
        changed[start : start + length] = noise
    elif kind == 2:
        changed[start:start] = noise
    elif kind == 3:
        del changed[start : start + length]
    elif kind == 4:
        del changed[start:]
    elif kind == 5:
        other = int(generator.integers(len(data)))
        changed[start : start + length] = data[other : other + length]
    else:
        header, chunks = codec.read(io.BytesIO(data))
        whole = list(chunks)
        part = ("grid", "samples", "windows", "items_per_chunk")[int(generator.integers(4))]
        value = int(2 ** generator.uniform(0, 20))
        other = {part: (value, value) if part == "grid" else value}
        if kind == 7:
            size = (value, int(2 ** generator.uniform(0, 10)))
            other = {"grid": size, "windows": make_coder(run, "unigram").windows(size).number}
        try:
            first = next(codec.blocks(header._replace(**other), []))
        except ValueError:
            return bytes(changed), False
        rest = b"".join(codec.blocks(header, whole))[len(next(codec.blocks(header, whole))) :]
        changed = bytearray(first + rest)
    return bytes(changed), kind == 7


def outcome_of(run: Run, data: bytes, truth: list[str], folder: Path) -> str:
    """refused, whole, partly (some is lost, and said to be), or wrong: something else without a word."""
    path, out = folder / "mutated.vqz", folder / "out"
    path.write_bytes(data)
    try:
        done = decompress_files(run, [path], out, bar=False)
    except ValueError:
        return "refused"
    found = [digest(file) for file in done.paths]
    for file in done.paths:
        file.unlink()
    if not done.damages:
        return "whole" if found == truth else "wrong"
    if len(truth) > 1 and not set(found) <= set(truth):
        return "wrong"
    return "partly"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def peak() -> float:
    """The most memory that this process has had, or since the peak was last forgotten, in MiB (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
