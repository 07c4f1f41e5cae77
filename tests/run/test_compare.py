from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit import cli, codec, pipeline
from vqkit.evaluation import Point
from vqkit.run import Run, compression, decompression
from vqkit.run.compare import compare_runs
from vqkit.run.picture_codec import RunCodec, named_runs

STAGES = ["tokenizer", "tokens", "prior"]


def trained(folder: Path, **changes: object) -> str:
    """A run on digits that has learned little, of two codebooks a position."""
    stage = {"class_path": "EMAVectorQuantizer", "init_args": {"dim": 4, "codebook_size": 16}}
    residual = {"class_path": "ResidualQuantizer", "init_args": {"quantizer": stage, "depth": 2}}
    settings = {
        "tokenizer.width": 8,
        "tokenizer.bottleneck": residual,
        "training.max_steps": 3,
        "prior": {"class_path": "UnigramPrior"},
        **changes,
    }
    pipeline.train("digits", out=folder, stages=STAGES, bar=False, **settings)
    return str(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return trained(tmp_path_factory.mktemp("runs") / "digits")


def photographs(folder: Path) -> Path:
    """Three grey pictures of two sizes."""
    folder.mkdir()
    for name, size in (("a", (19, 12)), ("b", (19, 12)), ("c", (24, 30))):
        values = np.add.outer(np.arange(size[1]) * 4, np.arange(size[0]) * 2 + ord(name)).astype(np.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((folder / "points.csv").read_text())))


def test_bytes_are_those_that_the_verbs_write_and_pictures_those_that_they_read(run: str, tmp_path: Path) -> None:
    loaded, folder = Run(run), photographs(tmp_path / "in")
    x = torch.stack([loaded.dataset("validation").read([row]).x[0] for row in range(3)])
    for number, picture in enumerate(x):
        Image.fromarray(picture[0].numpy()).save(folder / f"{number}.png")
    files = [folder / f"{number}.png" for number in range(3)]
    coded = RunCodec(run, loaded).code(x, RunCodec(run, loaded).settings[0], 3)
    compression.compress_files(loaded, files, tmp_path / "all.vqz", quality=1)
    assert coded.files == [(tmp_path / "all.vqz").read_bytes()]
    decompression.decompress_files(loaded, [tmp_path / "all.vqz"], tmp_path / "out")
    back = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").iterdir())]
    assert np.array_equal(coded.x_hat[:, 0].numpy(), np.stack(back))


def test_more_quality_is_more_bits_and_a_bare_file_is_its_payload(run: str) -> None:
    loaded = Run(run)
    x = loaded.dataset("validation").read(range(4)).x
    whole, bare = RunCodec(run, loaded), RunCodec("bare", loaded, bare=True)
    assert whole.settings == ["quality 1 of 2", "quality 2 of 2"] and bare.settings[0] == "digits, quality 1 of 2"
    sizes = [[sum(map(len, c.code(x, setting, 1).files)) for setting in c.settings] for c in (whole, bare)]
    assert sizes[0][0] < sizes[0][1] and sizes[1][0] < sizes[1][1] < sizes[0][0] / 2
    for one, other in zip(whole.settings, bare.settings, strict=True):
        assert torch.equal(whole.code(x, one, 1).x_hat, bare.code(x, other, 1).x_hat)


def test_by_default_a_run_is_compared_on_what_was_held_out(run: str, tmp_path: Path) -> None:
    compared = compare_runs([run], tmp_path / "out", samples=5, sheet=4, codecs=["jpeg"], bar=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "comparison.json", "points.csv", "psnr.svg", "ssim.svg"
    ]  # fmt: skip
    assert (compared.pictures, compared.pixels) == (5, 320) and compared.source == "held out of digits, 8 x 8 pixels"
    facts = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert facts["pictures_per_file"] == 4 and facts["anchors"] == ["JPEG"] and facts["libraries"]["libjpeg_turbo"]
    found = rows(tmp_path / "out")
    assert [row["codec"] for row in found] == ["digits"] * 2 + ["JPEG"] * 18
    loaded = Run(run)
    data = loaded.dataset("validation")
    x = data.read([row * len(data) // 5 for row in range(5)]).x
    coded = RunCodec(run, loaded).code(x, "quality 2 of 2", 4)
    assert int(found[1]["bytes"]) == sum(map(len, coded.files)) and len(coded.files) == 2
    error = ((x.double() - coded.x_hat.double()) / 255).square().mean()
    assert float(found[1]["mse"]) == pytest.approx(float(error))


def test_pictures_of_their_own_sizes_and_fitted_to_one(run: str, tmp_path: Path) -> None:
    folder = photographs(tmp_path / "in")
    own = compare_runs([run], tmp_path / "own", str(folder), codecs=["jpeg"], bar=False)
    assert own.source == f"{tmp_path.name}/in, 19 x 12 to 24 x 30 pixels" and own.pixels == 2 * 19 * 12 + 24 * 30
    assert own.points[0].bits_per_picture / own.points[0].bits_per_pixel == pytest.approx(own.pixels / 3)
    fitted = compare_runs([run], tmp_path / "fitted", str(folder), 8, 2, codecs=["jpeg"], bare=True, bar=False)
    assert (
        fitted.source == f"{tmp_path.name}/in, 8 x 8 pixels"
        and fitted.pictures == 2
        and "payloads alone" in fitted.caption
    )


def test_without_runs_the_classical_codecs_stand_alone(tmp_path: Path) -> None:
    compared = compare_runs([], tmp_path / "out", str(photographs(tmp_path / "in")), codecs=["webp", "jpeg"], bar=False)
    assert {point.codec for point in compared.points} == {"WebP", "JPEG"} and compared.curves("psnr")
    with pytest.raises(ValueError, match="say by --data"):
        compare_runs([], tmp_path / "out")


def test_runs_of_one_name_make_one_curve(run: str, tmp_path: Path) -> None:
    assert [name for name, _ in named_runs([run])] == ["digits"]
    assert [name for name, _ in named_runs([run, f"both={run},{run}"])] == [run, "both", "both"]
    compared = compare_runs([f"both={run},{run}"], tmp_path / "out", samples=2, codecs=["jpeg"], bar=False)
    ours = [point for point in compared.points if point.codec == "both"]
    assert len(ours) == 4 and ours[0] == ours[2] and ours[0].setting == "digits, quality 1 of 2"
    assert len(compared.curves("psnr")["both"]) <= 2


def test_pca_is_a_run_like_any_other(tmp_path: Path) -> None:
    def pca(step: float) -> str:
        scalar = {"class_path": "UniformScalarQuantizer", "init_args": {"dim": 16, "step": step}}
        tokenizer = {
            "class_path": "PCA",
            "init_args": {"bottleneck": scalar, "likelihood": {"class_path": "Gaussian"}},
        }
        changes = {"prior": {"class_path": "UnigramPrior"}, "tokenizer": tokenizer}
        pipeline.train("digits", out=tmp_path / f"pca-{step}", stages=STAGES, bar=False, **changes)
        return str(tmp_path / f"pca-{step}")

    runs = ",".join([pca(0.5), pca(2.0)])
    compared = compare_runs([f"PCA={runs}"], tmp_path / "out", samples=8, sheet=8, codecs=["jpeg"], bar=False)
    fine, coarse = (point for point in compared.points if point.codec == "PCA")
    assert fine.bytes > coarse.bytes and fine.mse < coarse.mse
    assert len(compared.curves("psnr")["PCA"]) == 2


def test_mistakes_are_one_sentence(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = trained(tmp_path / "shapes", data="shapes:size=8,count=40", **{"modality.init_args.channels": 1})
    with pytest.raises(ValueError, match="not trained on the same data; say by --data"):
        compare_runs([run, other], tmp_path / "out")
    with pytest.raises(ValueError, match="digits is what a run was trained on; leave --data out"):
        compare_runs([run], tmp_path / "out", "digits")
    with pytest.raises(ValueError, match="one picture; leave --bare or --sheet out"):
        compare_runs([run], tmp_path / "out", sheet=2, bare=True)
    assert cli.main(["compare", run, "--out", str(tmp_path / "out"), "--codecs", "jpeg,bpg"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("vqkit: there is no codec bpg; name some of jpeg, webp")
    assert not (tmp_path / "out").exists()


def test_the_verb_draws_the_curves_and_prints_the_numbers(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", run, "--out", str(tmp_path / "out"), "--samples", "4", "--sheet", "4", "--codecs", "webp"]
    assert cli.main(command) == 0
    assert "quality 2" in (text := capsys.readouterr().out) and "beside WebP" in text and "4 pictures a file" in text
    assert cli.main([*command, "--json"]) == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert set(points[0]) == set(Point._fields) and (tmp_path / "out" / "psnr.svg").exists()


def test_a_damaged_file_is_not_shown_as_a_picture(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec_of_run, blocks = RunCodec(run, Run(run)), codec.blocks
    x = Run(run).dataset("validation").read([0]).x

    def damaged(header: codec.Header, chunks: Iterable[codec.Chunk]) -> list[bytes]:
        *whole, last = blocks(header, (chunk._replace(payload=chunk.payload[::-1]) for chunk in chunks))
        return [*whole, last]

    monkeypatch.setattr(codec, "blocks", damaged)
    with pytest.raises(ValueError, match="chunk 0 of 1 is lost"):
        codec_of_run.code(x, "quality 2 of 2", 1)
