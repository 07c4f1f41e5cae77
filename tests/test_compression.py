"""Files in, compressed files out, and back: by a run that is made of stored parts, so that nothing is trained."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image as pillow

from vqkit import checkpoint, codec, recipe
from vqkit.autoencoders import (
    Architecture,
    Convolutional,
    MultiscaleResidual,
    TransformCoding,
    decode_any,
    encode_any,
    reconstruct_any,
)
from vqkit.bottlenecks import (
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
    UniformScalarQuantizer,
)
from vqkit.cli import main
from vqkit.likelihoods import Gaussian
from vqkit.priors import PixelCNN, Prior, Stack, SuccessiveRefinementPrior, UniformPrior
from vqkit.run import Run, compress_files, decompress_files
from vqkit.run.coder import Coder, qualities
from vqkit.run.compression import Known
from vqkit.signal import Batch, Signal
from vqkit.tokens import shard_path, write_shard

GOLDEN = Path(__file__).parent / "golden"
OPTIONS = ["--tokenizer.width=4", "--tokenizer.residual_width=2", "--tokenizer.bottleneck.codebook_size=16"]
OPTIONS += ["--tokenizer.bottleneck.dim=4", "--prior.width=8", "--prior.depth=1", "--prior.heads=2"]
SIZES = {"own.png": (8, 8), "wide.png": (9, 43), "small.png": (3, 5)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    parser = recipe.parser()
    config = recipe.dump(parser, recipe.parse(parser, [*recipe.arguments("digits"), *OPTIONS]))
    (folder / "config.yaml").write_text(config)
    for stored, part in (("tokenizer",) * 2, ("prior",) * 2, ("validation", "tokens/train")):
        shutil.copytree(GOLDEN / stored, folder / part)
    return Run(folder)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size in SIZES.items():
        rough = pillow.fromarray(generator.integers(0, 256, (3, 4), np.uint8))
        rough.resize(size[::-1], pillow.Resampling.BICUBIC).save(folder / name)
    return folder


def pixels(path: Path) -> torch.Tensor:
    with pillow.open(path) as picture:
        return torch.from_numpy(np.array(picture))


def reconstructed(run: Run, path: Path) -> torch.Tensor:
    """What the tokens hold of a picture."""
    x_hat = reconstruct_any(run.tokenizer, pixels(path)[None, None], {})
    return run.tokenizer.signal.to_native(x_hat)[0, 0]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr()
    assert not told.out
    return told.err.splitlines()[-1]


@pytest.mark.parametrize("prior", get_args(Known))
@pytest.mark.parametrize("label", [None, "3"])
def test_pictures_of_any_size_come_back(
    run: Run, pictures: Path, tmp_path: Path, prior: Known, label: str | None
) -> None:
    done = compress_files(run, [pictures], tmp_path / "z", prior=prior, label=label, bar=False)
    assert sorted(path.name for path in done.paths) == sorted(Path(name).stem + ".vqz" for name in SIZES)
    assert done.bytes == sum(path.stat().st_size for path in done.paths)
    assert done.bits_per_pixel == 8 * done.bytes / sum(h * w for h, w in SIZES.values())
    back = decompress_files(run, [tmp_path / "z"], tmp_path / "back", bar=False)
    assert not back.damages and sorted(path.name for path in back.paths) == sorted(SIZES)
    for path in back.paths:
        assert torch.equal(pixels(path), reconstructed(run, pictures / path.name))


def test_a_fresh_process_of_two_threads_reads_what_one_of_one_thread_wrote(
    run: Run, pictures: Path, tmp_path: Path
) -> None:
    compress_files(run, [pictures], tmp_path / "z", bar=False)
    command = ["decompress", str(run.folder), str(tmp_path / "z"), "--out", str(tmp_path / "back")]
    code = f"import torch; torch.set_num_threads(2); from vqkit.cli import main; raise SystemExit(main({command!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    for name in SIZES:
        assert torch.equal(pixels(tmp_path / "back" / name), reconstructed(run, pictures / name))


def test_many_samples_share_a_file_at_the_rate_that_the_prior_promises(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    x = run.dataset("validation").read(range(100)).x
    for number, digit in enumerate(x):
        run.recipe.modality.save(digit, folder / f"{number:03}.png")
    done = compress_files(run, [folder], tmp_path / "digits.vqz", bar=False)
    nats = run.prior.log_prob(run.tokenizer.encode(x), {})
    estimated = -sum(float(level.double().sum()) for level in nats) / math.log(2)
    chunks = math.ceil(100 / 64)
    assert estimated - 8 * chunks <= 8 * done.bytes <= 1.002 * estimated + 8 * (48 + 12 * chunks)
    back = decompress_files(run, [tmp_path / "digits.vqz"], tmp_path / "back", bar=False)
    assert [path.name for path in back.paths[:2]] == ["digits-00.png", "digits-01.png"]
    assert torch.equal(torch.stack([pixels(path) for path in back.paths]), run.reconstruct(x)[:, 0])


def test_the_evaluation_measures_the_file(run: Run) -> None:
    found = run.evaluate(samples=70, bar=False)
    assert "coded_bits" not in found["train"] and found["validation"]["coded_samples"] == 70
    estimated, coded = (found["validation"][key] for key in ("estimated_bits", "coded_bits"))
    around = 8 * (48 + 2 * 12) / 70 + 8  # and a label for each
    assert estimated < coded <= 1.002 * estimated + around


def test_what_a_damaged_chunk_held_is_lost_and_the_rest_is_written(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqkit.codec.samples.MOST_ITEMS", 3)  # of the 12 windows of the wide picture
    wide = pictures / "wide.png"
    compress_files(run, [wide], tmp_path / "wide.vqz", bar=False)
    data = bytearray((tmp_path / "wide.vqz").read_bytes())
    data[-20] ^= 1  # in the last chunk
    (tmp_path / "wide.vqz").write_bytes(data)
    capsys.readouterr()
    command = ["decompress", str(run.folder), str(tmp_path / "wide.vqz"), "--out", str(tmp_path / "back"), "--json"]
    assert main(command) == 1
    told = capsys.readouterr()
    (sentence,) = json.loads(told.out)["damages"]
    assert "chunk 3 of 4 is lost" in sentence and "1 of its 1 samples" in sentence
    assert told.err.splitlines()[-1] == f"vqkit: {sentence}"
    found, whole = pixels(tmp_path / "back" / "wide.png"), reconstructed(run, wide)
    assert torch.equal(found[:, :8], whole[:, :8]) and not torch.equal(found, whole)  # from column 24 on it is lost
    (tmp_path / "wide.vqz").write_bytes(data[:42])
    shutil.rmtree(tmp_path / "back")
    assert main(command) == 1
    assert "0 of its 1 samples" in capsys.readouterr().err and not (tmp_path / "back").exists()


def test_mistakes_are_told_in_a_sentence_and_write_nothing(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, wide, z = pictures / "own.png", pictures / "wide.png", tmp_path / "own.vqz"
    compress, decompress = ("compress", run.folder), ("decompress", run.folder)
    out = ("--out", tmp_path / "none")
    assert main(["compress", str(run.folder), str(own), "--out", str(z), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["files"] == [str(z)] and facts["bytes"] == z.stat().st_size
    assert facts["bits_per_pixel"] == facts["bytes"] / 8
    assert "name a folder as out" in refusal(capsys, *compress, own, wide, "--out", tmp_path / "none.vqz")
    assert "leave bare out" in refusal(capsys, *compress, wide, "--bare", *out)
    assert "quality is 2" in refusal(capsys, *compress, own, "--quality", 2, *out)
    (tmp_path / "zero.png").write_bytes(own.read_bytes()[:40])  # the last of those that are named
    assert "zero.png cannot be read" in refusal(capsys, *compress, own, wide, tmp_path / "zero.png", *out)
    assert "wide.png: a bare payload is of" in refusal(capsys, *compress, own, wide, "--bare", *out)
    assert "own.vqz would be replaced" in refusal(capsys, *compress, own, "--out", z)
    assert "own.vqz would be replaced" in refusal(capsys, *compress, own, "--out", tmp_path)
    assert "name it without .vqz" in refusal(capsys, *compress, own, "--bare", "--out", tmp_path / "none.vqz")
    assert "name it without .png" in refusal(capsys, *decompress, z, "--out", tmp_path / "none.png")
    assert "make it learned or unigram" in refusal(capsys, *compress, own, "--prior", "none", *out)
    assert "there is no label 12" in refusal(capsys, *compress, own, "--label", 12, *out)
    assert "no .vqz file" in refusal(capsys, *decompress, own, *out)
    assert "leave them out" in refusal(capsys, *decompress, z, "--prior", "learned", *out)
    (tmp_path / "own.bare").write_bytes(bytes(9))
    assert "it has 9 bytes" in refusal(capsys, *decompress, tmp_path / "own.bare", "--bare", *out)
    z.with_name("newer.vqz").write_bytes(z.read_bytes()[:4] + b"\2")
    assert "of version 2" in refusal(capsys, *decompress, z.with_name("newer.vqz"), *out)
    assert "own.png would be replaced" in refusal(capsys, *decompress, z, "--out", pictures)
    with z.open("rb") as file:
        header, _ = codec.read(file)
    misfit = z.with_name("misfit.vqz")
    parts = [{"grid": (80, 80)}, {"windows": 1 << 20}, {"items_per_chunk": 1 << 40}, {"kept": (2,)}, {"channels": 3}]
    for part in parts:
        changed = header._replace(**part)  # type: ignore[arg-type]
        codec.write(misfit, changed, [codec.Chunk(127, 0, b"")] * changed.chunks)
        assert f"{misfit}: it" in refusal(capsys, *decompress, misfit, *out)
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    shutil.rmtree(other / "prior")
    assert "was coded with prior" in refusal(capsys, "decompress", other, z, *out)
    assert "has no prior yet" in refusal(capsys, "compress", other, own, *out)
    (other / "tokenizer" / "config.json").write_text((other / "tokenizer" / "config.json").read_text() + " ")
    assert "name the run that it was made with" in refusal(capsys, "decompress", other, z, *out)
    assert not (tmp_path / "none").exists() and not (tmp_path / "none.vqz").exists()


def test_a_file_that_cannot_be_read_costs_the_others_nothing(run: Run, pictures: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "in" / "good.vqz", tmp_path / "in" / "bad.vqz"
    compress_files(run, [pictures / "own.png"], good)  # makes its folder
    bad.write_bytes(good.read_bytes()[:20])
    done = decompress_files(run, [tmp_path / "in"], tmp_path / "back")
    assert done.paths == [tmp_path / "back" / "good.png"]
    (sentence,) = done.damages
    assert sentence.startswith(f"{bad}: the header of this .vqz file is damaged")


def test_pictures_of_two_files_are_not_made_one(run: Run, pictures: Path, tmp_path: Path) -> None:
    compress_files(run, [pictures / "own.png"], tmp_path / "in" / "a-0.vqz")
    shutil.copy(pictures / "own.png", pictures / "again.png")
    compress_files(run, [pictures / "own.png", pictures / "again.png"], tmp_path / "in" / "a.vqz")
    with pytest.raises(ValueError, match="decompress them to two folders"):
        decompress_files(run, [tmp_path / "in"], tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_bare_payloads_come_back(run: Run, pictures: Path, tmp_path: Path) -> None:
    digits = run.dataset("validation").read(range(5)).x
    for number, digit in enumerate(digits):
        run.recipe.modality.save(digit, pictures / f"{number}.png")
    names = [str(pictures / f"{number}.png") for number in range(5)]
    for options in ([], ["--prior", "unigram"], ["--label", "4"]):
        out, back = tmp_path / f"bare{options}", tmp_path / f"back{options}"
        assert main(["compress", str(run.folder), *names, "--out", str(out), "--bare", *options]) == 0
        assert all(path.stat().st_size <= 8 for path in out.iterdir())  # 16 tokens of 16 codes
        assert main(["decompress", str(run.folder), str(out), "--out", str(back), "--bare", *options]) == 0
        found = torch.stack([pixels(back / f"{number}.png") for number in range(5)])
        assert torch.equal(found, run.reconstruct(digits)[:, 0])


PICTURES = Signal(1, (16, 16), 0.0, 255.0, 256)
NETS = {"likelihood": Gaussian(), "width": 8, "residual_layers": 1, "residual_width": 4}
MODELS: dict[str, tuple[Architecture, list[tuple[int, ...]]]] = {
    "one codebook": (Convolutional(EMAVectorQuantizer(4, 8), halvings=2, **NETS), [(1,)]),  # type: ignore[arg-type]
    "residual": (
        Convolutional(ResidualQuantizer(EMAVectorQuantizer(4, 8), 3), halvings=2, **NETS),  # type: ignore[arg-type]
        [(1,), (2,), (3,)],
    ),
    "product": (
        Convolutional(ProductQuantizer([EMAVectorQuantizer(4, 8), FiniteScalarQuantizer((3, 3))]), halvings=2, **NETS),  # type: ignore[arg-type]
        [(2,)],
    ),
    "levels": (
        Convolutional(EMAVectorQuantizer(4, 8), halvings=[2, 1], level_dropout=0.2, **NETS),  # type: ignore[arg-type]
        [(1,), (1, 1)],
    ),
    "levels that need each other": (
        Convolutional(EMAVectorQuantizer(4, 8), halvings=[2, 1], **NETS),  # type: ignore[arg-type]
        [(1, 1)],
    ),
    "levels of residual codebooks": (
        Convolutional(ResidualQuantizer(EMAVectorQuantizer(4, 8), 2), halvings=[2, 1], level_dropout=0.2, **NETS),  # type: ignore[arg-type]
        [(1,), (2,), (2, 1), (2, 2)],
    ),
    "scales": (
        MultiscaleResidual(EMAVectorQuantizer(4, 8), Gaussian(), halvings=1, scales=[1, 4, 8], width=8),
        [(1,), (1, 1), (1, 1, 1)],
    ),
    "stages": (
        TransformCoding(UniformScalarQuantizer(6, 0.8, 9, 2.0, stages=3, dropout=0.5), Gaussian(), 8, 2, 1, 4),
        [(6,), (12,), (18,)],
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_each_quality_decodes_what_it_keeps(name: str) -> None:
    make, expected = MODELS[name]
    torch.manual_seed(0)
    many = torch.randint(0, 256, (64, 1, 16, 16)).byte()
    tokenizer, x = make(PICTURES), many[:3]
    tokenizer.initialise(lambda: [Batch(many, None, {}, [])])  # so that more than one code is in use
    tokenizer.freeze()
    assert qualities(tokenizer) == expected
    indices, sizes = tokenizer.encode(x), list[int]()
    for kept in expected:
        coder = Coder(tokenizer, codec.Codec(UniformPrior(tokenizer.layout())), kept)
        header = coder.header("image", (16, 16), 3)
        chunks = list(coder.encode(header, [x]))
        damages: list[codec.Damage] = []
        (found,) = codec.decode_samples(coder.codec, coder.windows((16, 16)), header, chunks, damages.append)
        assert not damages
        wanted = tuple(level[:, :q] for level, q in zip(indices, kept, strict=False))
        assert all(map(torch.equal, found.indices, wanted)) and len(found.indices) == len(kept)
        x_hat = tokenizer.signal.to_native(tokenizer.decode(wanted))
        assert torch.equal(coder.decode(found.indices, {}, (16, 16)), x_hat)
        sizes.append(sum(len(chunk.payload) for chunk in chunks))
    assert sizes == sorted(sizes) and len(set(sizes)) == len(sizes)


PARTS = [partial(PixelCNN, width=8, depth=1, in_turn=False, context_channels=channels) for channels in (0, 4, 4)]


@pytest.mark.parametrize(
    "make_prior",
    [partial(Stack, priors=PARTS, width=8), partial(SuccessiveRefinementPrior, stages=3, width=8, depth=1)],
    ids=["stack", "refinement"],
)
def test_stages_of_pictures_of_any_size_are_coded_by_priors_of_stages(make_prior: partial[Prior]) -> None:
    """Several codebooks a step, and windows that reach beyond the picture."""
    torch.manual_seed(0)
    make, qualities_of = MODELS["stages"]
    tokenizer, size, x = make(PICTURES).freeze(), (21, 30), torch.randint(0, 256, (2, 1, 21, 30)).byte()
    prior = make_prior(tokenizer.layout())
    for parameter in prior.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    coded, indices, sizes = codec.Codec(prior), encode_any(tokenizer, x), list[int]()
    for kept in qualities_of:
        coder = Coder(tokenizer, coded, kept)
        header = coder.header("image", size, 2)
        chunks = list(coder.encode(header, [x]))
        (found,) = codec.decode_samples(coder.codec, coder.windows(size), header, chunks, pytest.fail)
        assert torch.equal(found.indices[0], indices[0][:, : kept[0]])
        x_hat = decode_any(tokenizer, found.indices, {}, size, rounded=True)
        assert torch.equal(coder.decode(found.indices, {}, size), x_hat)
        sizes.append(sum(len(chunk.payload) for chunk in chunks))
    assert sizes == sorted(set(sizes))


@pytest.fixture(scope="module")
def pixel_by_pixel(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run, but with a decoder that predicts pixels one by one."""
    folder, one_by_one = tmp_path_factory.mktemp("pixels"), partial(PixelCNN, width=4, depth=1, context_channels=4)
    made = Convolutional(EMAVectorQuantizer(4, 16), Gaussian(), 4, 1, 1, 2, value_prior=one_by_one)
    shutil.copy(run.folder / "config.yaml", folder)
    checkpoint.save(made(run.tokenizer.signal), folder / "tokenizer")
    made_of = Run(folder)
    checkpoint.save(run.prior, folder / "prior", {"tokenizer": made_of.fingerprint})
    tokens = run.tokens("train")
    written = [tokens.read(range(len(tokens)))]
    write_shard(shard_path(folder / "tokens" / "train", 0), written, run.layout, made_of.fingerprint)
    return made_of


@pytest.mark.parametrize("prior", get_args(Known))
def test_nothing_is_lost_of_pictures_of_any_size(
    pixel_by_pixel: Run, pictures: Path, tmp_path: Path, prior: Known
) -> None:
    compress_files(pixel_by_pixel, [pictures], tmp_path / "z", prior=prior, lossless=True, bar=False)
    back = decompress_files(pixel_by_pixel, [tmp_path / "z"], tmp_path / "back", bar=False)
    assert not back.damages
    for path in back.paths:
        assert torch.equal(pixels(path), pixels(pictures / path.name))


def test_a_bare_payload_can_be_lossless(pixel_by_pixel: Run, pictures: Path, tmp_path: Path) -> None:
    own, out = pictures / "own.png", tmp_path / "z"
    assert main(["compress", str(pixel_by_pixel.folder), str(own), "--out", str(out), "--bare", "--lossless"]) == 0
    given = ["decompress", str(pixel_by_pixel.folder), str(out / "own.bare"), "--out", str(tmp_path / "back")]
    assert main([*given, "--bare", "--lossless"]) == 0
    assert torch.equal(pixels(tmp_path / "back" / "own.png"), pixels(own))


def test_a_bare_payload_is_not_taken_for_a_file(
    run: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compress_files(run, [pictures / "own.png"], tmp_path / "z", bare=True, bar=False)
    for given in (tmp_path / "z", tmp_path / "z" / "own.bare"):
        told = refusal(capsys, "decompress", run.folder, given, "--out", tmp_path / "back")
        assert "is a bare payload, which says nothing of itself; add --bare" in told
    assert not (tmp_path / "back").exists()


def test_what_cannot_be_lossless_is_refused(
    run: Run, pixel_by_pixel: Run, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = pictures, "--out", tmp_path / "x", "--lossless"
    assert "predicts all values at once" in refusal(capsys, "compress", run.folder, *arguments)
    both = refusal(capsys, "compress", pixel_by_pixel.folder, *arguments, "--quality", 1)
    assert "quality is 1; give one of the two" in both
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("mode", ["RGB", "LA", "I;16", "P"])
def test_what_reading_would_change_is_refused_by_lossless(
    pixel_by_pixel: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    path = tmp_path / "x.png"
    pillow.new(mode, (9, 9)).save(path)
    arguments = "compress", pixel_by_pixel.folder, path, "--out", tmp_path / "z"
    assert "which would be lost; convert it" in refusal(capsys, *arguments, "--lossless")
    assert not (tmp_path / "z").exists()
    assert main([str(argument) for argument in arguments]) == 0


def test_a_damaged_lossless_file_gives_what_is_left(pixel_by_pixel: Run, tmp_path: Path) -> None:
    x = pillow.fromarray(np.random.default_rng(1).integers(0, 256, (80, 120), np.uint8))
    x.save(tmp_path / "x.png")
    compress_files(pixel_by_pixel, [tmp_path / "x.png"], tmp_path / "x.vqz", lossless=True, bar=False)
    data = bytearray((tmp_path / "x.vqz").read_bytes())
    data[-60] ^= 1
    (tmp_path / "x.vqz").write_bytes(data)
    back = decompress_files(pixel_by_pixel, [tmp_path / "x.vqz"], tmp_path / "back", bar=False)
    (path,), (damage,) = back
    same = pixels(path) == pixels(tmp_path / "x.png")
    assert "chunk 2 of 3 is lost" in damage
    assert bool(same[:64].all()) and not bool(same[72:].all())  # 128 windows of 8 x 8 in the chunks before, 15 a row
