"""The command: help without the weight, JSON for machines, and one sentence with status 2 for every mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pillow
from safetensors import SafetensorError

import vqkit
from vqkit.cli import VERBS, main
from vqkit.priors import sample as draw
from vqkit.run import sampling
from vqkit.run.editing import Kept, kept_tokens
from vqkit.signal import Side

TINY = [
    "--training.max_steps=6",
    "--prior_training.max_steps=4",
    "--tokenizer.width=8",
    "--prior.width=16",
    "--prior.depth=1",
    "--prior.heads=2",
    "--tokenizer.bottleneck.codebook_size=16",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert main(["train", "digits", "--out", str(out), *TINY]) == 0
    return out


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence that a mistake gets."""
    assert main([str(argument) for argument in arguments]) == 2
    told = capsys.readouterr()
    sentence = told.err.splitlines()[-1]
    assert sentence.startswith("vqkit: ") and not told.out
    return sentence


def test_help_lists_the_verbs_and_imports_nothing_heavy() -> None:
    code = "import sys; from vqkit.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert all(f"  {verb} " in done.stdout for verb in VERBS)


def test_ctrl_c_writes_the_samples_that_are_done(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, batches = sampling.sample, iter(range(9))

    def stopped(*arguments: Any, **named: Any) -> Any:
        if next(batches) in (2, 3):
            raise KeyboardInterrupt
        return draw(*arguments, **named)

    monkeypatch.setattr(sampling, "FEWEST", 2)
    monkeypatch.setattr(sampling, "MOST", 2)
    monkeypatch.setattr(sampling, "sample", stopped)
    path = tmp_path / "s.npy"
    assert main(["sample", str(run), "-n", "7", "--out", str(path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"vqkit: stopped; 4 of 7 samples are done and in {path}"
    done = np.load(path)
    path.unlink()
    assert main(["sample", str(run), "-n", "7", "--out", str(path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "vqkit: stopped; 0 of 7 samples are done" and not path.exists()
    assert main(["sample", str(run), "-n", "7", "--out", str(path)]) == 0
    assert "samples: 112 tokens" in capsys.readouterr().err
    assert np.array_equal(np.load(path)[:4], done) and len(done) == 4


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_explains_every_option_without_lightning(verb: str) -> None:
    code = f"""import sys; from vqkit.cli import main
try: main(['{verb}', '--help'])
finally: assert 'lightning' not in sys.modules"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout and f"usage: vqkit {verb}" in done.stdout


def test_the_verbs_work_on_a_run_and_speak_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["sample", str(run), "-n", "4", "--label", "3", "--out", str(tmp_path / "s.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"samples": str(tmp_path / "s.png"), "n": 4}
    assert main(["sample", str(run), "-n=4", "--temperature", "0.5", "--out", str(tmp_path / "s.npy")]) == 0
    assert np.load(tmp_path / "s.npy").shape == (4, 1, 8, 8)
    assert main(["tokenize", str(run), "digits", "--out", str(tmp_path / "tokens"), "--json"]) == 0
    assert (tmp_path / "tokens" / "train" / "tokens-00000.parquet").exists()
    pillow.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / "grey.png")
    assert main(["reconstruct", str(run), str(tmp_path / "grey.png"), "--out", str(tmp_path / "back")]) == 0
    with pillow.open(tmp_path / "back" / "grey.png") as picture:
        assert picture.size == (8, 8)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--samples", "50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["validation"]["samples"] == 50
    assert main(["report", str(run), "--json"]) == 0
    assert Path(json.loads(capsys.readouterr().out)["report"]).exists()


def halves(folder: Path) -> tuple[Path, Path]:
    """A picture, and a mask four times as large that keeps its left three quarters."""
    picture, mask = folder / "picture.png", folder / "mask.png"
    pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(picture)
    pillow.fromarray(np.where(np.arange(32) < 24, 255, 0).astype(np.uint8)[None].repeat(32, 0)).save(mask)
    return picture, mask


@pytest.mark.parametrize("prior", ["TransformerPrior", "MaskedTransformerPrior", "UnigramPrior"])
def test_what_a_mask_keeps_of_a_picture_is_kept_and_the_rest_is_drawn(
    prior: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if prior != "TransformerPrior":
        of_another_prior = tmp_path / "run"
        shutil.copytree(run, of_another_prior)
        options = [option for option in TINY if not option.startswith("--prior.") or prior.startswith("Masked")]
        command = ["train", "digits", "--out", str(of_another_prior), f"--prior={prior}", *options, "--overwrite"]
        assert main([*command, "--stages=prior"]) == 0
        run = of_another_prior
    picture, mask = halves(tmp_path)
    command = ["sample", str(run), "-n", "5", "--keep", str(picture), "--mask", str(mask)]
    of_class: Side = {}
    if prior != "UnigramPrior":  # which knows none
        command, of_class = [*command, "--label", "3"], {"label": torch.full((5,), 3)}
    assert main([*command, "--out", str(tmp_path / "edited.npy")]) == 0
    x = torch.from_numpy(np.load(tmp_path / "edited.npy"))
    loaded = vqkit.load(run)
    shown = torch.from_numpy(np.asarray(pillow.open(picture)).copy())[None, None]
    known = kept_tokens(loaded.tokenizer, loaded.recipe.modality, Kept(picture, mask))
    encoded = loaded.tokenizer.encode(shown)
    assert torch.equal(known[0][..., :3], encoded[0][..., :3]) and bool((known[0][..., 3] == -1).all())  # 4 x 4 tokens
    shared, generator = tuple(level.expand(5, -1, -1, -1) for level in known), torch.Generator().manual_seed(0)
    drawn = draw(loaded.prior, loaded.layout, 5, of_class, known=shared, generator=generator)
    assert torch.equal(drawn[0][..., :3], encoded[0][..., :3].expand(5, -1, -1, -1))
    assert torch.equal(loaded.tokenizer.signal.to_native(loaded.tokenizer.decode(drawn)), x)
    assert len({sample.numpy().tobytes() for sample in x}) > 1
    assert main([*command, "--out", str(tmp_path / "again.npy")]) == 0
    assert np.array_equal(np.load(tmp_path / "again.npy"), x)


def test_what_is_kept_is_of_no_class_that_was_not_named(run: Path, tmp_path: Path) -> None:
    kept, loaded = Kept(*halves(tmp_path)), vqkit.load(run)
    known = tuple(level.expand(3, -1, -1, -1) for level in kept_tokens(loaded.tokenizer, loaded.recipe.modality, kept))
    drawn = draw(loaded.prior, loaded.layout, 3, {}, known=known, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.sample(3, kept=kept), loaded.tokenizer.signal.to_native(loaded.tokenizer.decode(drawn)))
    loaded.prior.label_dropout = 0.0  # as if it had never learned to do without
    with pytest.raises(ValueError, match="does not know that of what is kept; name a label"):
        loaded.sample(3, kept=kept)


@pytest.mark.parametrize(
    ("n", "label", "says"), [(-1, None, "n is -1"), (0, 3, "n is 0"), (4, "²", "there is no label ²")]
)
def test_what_cannot_be_drawn_is_refused(run: Path, n: int, label: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        vqkit.load(run).sample(n, label)


def test_a_label_is_refused_where_nothing_knows_classes(run: Path) -> None:
    loaded = vqkit.load(run)
    loaded.__dict__["prior"] = loaded.unigram
    assert loaded.labels(3) is None
    with pytest.raises(ValueError, match="neither the prior nor the decoder of this run knows classes"):
        loaded.sample(3, 3)


def test_a_token_is_kept_only_where_all_of_its_cell_is(run: Path, tmp_path: Path) -> None:
    picture, mask = halves(tmp_path)
    loaded = vqkit.load(run)
    for columns, whole in ((8, 4), (7, 3), (6, 3), (5, 2), (2, 1)):
        pillow.fromarray(np.where(np.arange(8) < columns, 255, 0).astype(np.uint8)[None].repeat(8, 0)).save(mask)
        if whole < 4:
            (kept,) = kept_tokens(loaded.tokenizer, loaded.recipe.modality, Kept(picture, mask))
            assert ((kept >= 0).sum(-1) == whole).all()
    pillow.fromarray(np.array([[255, 0]], np.uint8)).resize((2, 2)).save(mask)  # smaller than the grid of tokens
    (kept,) = kept_tokens(loaded.tokenizer, loaded.recipe.modality, Kept(picture, mask))
    assert ((kept >= 0) == (torch.arange(4) < 2)).all()


def test_what_cannot_be_edited_is_told_in_a_sentence(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, mask = halves(tmp_path)
    out = tmp_path / "edited.png"
    sample = ["sample", run, "--out", out]
    capsys.readouterr()
    assert "keep and mask go together" in refusal(capsys, *sample, "--keep", picture)
    assert "keep and mask go together" in refusal(capsys, *sample, "--mask", mask)
    assert "none.png" in refusal(capsys, *sample, "--keep", tmp_path / "none.png", "--mask", mask)
    assert "none.png" in refusal(capsys, *sample, "--keep", picture, "--mask", tmp_path / "none.png")
    (tmp_path / "corrupt.png").write_bytes(b"no picture")
    assert "it is damaged" in refusal(capsys, *sample, "--keep", picture, "--mask", tmp_path / "corrupt.png")
    for shade, says in ((255, "keeps all of the picture"), (0, "keeps no whole cell")):
        pillow.fromarray(np.full((8, 8), shade, np.uint8)).save(mask)
        assert says in refusal(capsys, *sample, "--keep", picture, "--mask", mask)
    assert not out.exists()


def doctored(out: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[set[str], str]:
    """A small run trained with these options: which checks found it ill, and what is told of it."""
    enough = ["--training.weight_average=0.95", "--tokenizer.width=16", "--prior.width=32"]
    for stage in ("training", "prior_training"):
        enough += [f"--{stage}.{setting}" for setting in ("learning_rate=3e-3", "warmup_steps=20", "log_every=10")]
        enough += [f"--{stage}.max_steps=100"]
    stages = "--stages=tokenizer,tokens,prior,evaluation"
    assert main(["train", "digits", "--out", str(out), stages, *TINY, *enough, *options]) == 0
    capsys.readouterr()
    assert main(["doctor", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert main(["doctor", str(out)]) == 0
    # how long it waits for data is the machine's affair
    ill = {f["check"] for f in facts["findings"] if f["remedy"] and f["check"] != "waiting for data"}
    assert not (ill and facts["healthy"])
    return ill, capsys.readouterr().out


def test_the_doctor_finds_a_healthy_run_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ill, text = doctored(tmp_path / "run", capsys, "--training.max_steps=300", "--prior_training.max_steps=200")
    assert not ill
    assert "of 16 codes, over 2,976 held-out tokens" in text and "nats under the prior" in text


def test_the_doctor_says_that_a_codebook_collapsed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("dim=16", "codebook_size=32", "revival=0", "commitment_weight=0")
    adrift = ["--tokenizer.bottleneck=VectorQuantizer", *(f"--tokenizer.bottleneck.{setting}" for setting in settings)]
    ill, text = doctored(tmp_path / "run", capsys, *adrift)
    assert {"codebook collapse", "norms apart"} <= ill
    assert text.startswith("To be changed") and "raise the bottleneck's revival" in text


def test_the_doctor_wants_an_evaluated_run(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert "is not a run" in refusal(capsys, "doctor", tmp_path)
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation.json"))
    assert f"run: vqkit evaluate {tmp_path / 'run'}" in refusal(capsys, "doctor", tmp_path / "run")


def test_mistakes_in_the_command_are_told_in_a_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert "there is no verb trian" in refusal(capsys, "trian")
    assert "name a recipe" in refusal(capsys, "train")
    assert "did you mean digits" in refusal(capsys, "train", "digit")
    assert "did you mean training.max_steps" in refusal(capsys, "train", "digits", "--training.max_stepz=3")
    assert "run" in refusal(capsys, "sample")
    assert "is not a run" in refusal(capsys, "sample", "nowhere")
    assert "no label 12" in refusal(capsys, "sample", run, "--label", "12", "--out", run / "x.png")
    assert "ends in neither" in refusal(capsys, "sample", run, "--out", run / "x.gif")
    assert "does not exist" in refusal(capsys, "sample", run, "--out", run / "none" / "x.png")
    assert "temperature is -1" in refusal(capsys, "sample", run, "--temperature=-1", "--out", run / "x.png")
    assert "nowhere" in refusal(capsys, "evaluate", run, "--data", "nowhere")
    assert "n is x; make it a whole number" in refusal(capsys, "sample", run, "-n", "x")
    assert "top_p is x; make it a number" in refusal(capsys, "sample", run, "--top_p=x")
    assert "less than 2^63" in refusal(capsys, "sample", run, "--seed", "9" * 23, "--out", run / "x.png")
    assert "add --data SOURCE" in refusal(capsys, "train", "image")
    assert not (run / "x.png").exists()


def test_help_says_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    for name, verb in VERBS.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        summary = str(verb.__doc__).splitlines()[0].split(";")[0]
        assert " ".join(capsys.readouterr().out.split()).count(summary) == 1


def test_samples_are_whole_or_not_there_and_never_in_the_place_of_what_is_kept(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s.png"
    assert main(["sample", str(run), "-n", "2", "--out", str(path)]) == 0
    before = path.read_bytes()

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopped)  # the last thing that writing a file does
        assert main(["sample", str(run), "-n", "3", "--out", str(path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "vqkit: stopped; the same command begins anew"
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["s.png"]
    assert "is what is read; name another" in refusal(
        capsys, "sample", run, "--keep", path, "--mask", path, "--out", tmp_path / "x" / ".." / "s.png"
    )
    assert "is a folder; name a file in it" in refusal(capsys, "sample", run, "--out", _folder(tmp_path / "dir.png"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_prior_that_waits_for_a_context_is_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = "{class_path: PixelCNN, init_args: {context_channels: 4}}"
    sentence = refusal(capsys, "train", "digits", "--out", tmp_path / "r", f"--prior={prior}")
    assert "takes a context of 4 channels and has none; leave its context_channels out" in sentence
    assert not (tmp_path / "r").exists()


def test_a_key_that_another_part_has_is_not_proposed_for_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = "{class_path: ResidualQuantizer, init_args: {stages: 3}}"
    sentence = refusal(capsys, "train", "digits", "--out", tmp_path / "r", f"--tokenizer.bottleneck={part}")
    assert "did you mean stages" not in sentence and "there is no key stages" in sentence


def test_the_help_of_sample_says_what_a_stop_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"a batch in progress, of {sampling.FEWEST} to {sampling.MOST}, is lost." in told


def test_broken_data_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert "neither a file" in refusal(capsys, "train", "image", "--data", tmp_path / "none", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal(capsys, "train", "image", "--data", tmp_path / "empty", "--out", out)
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, size in enumerate([8, 8, 8, 10, 8]):
        pillow.fromarray(np.zeros((size, size, 3), np.uint8)).save(mixed / f"{number}.png")
    anyhow = ["--modality.size=null", "--validation_share=0.5"]
    assert "modality.size" in refusal(capsys, "train", "image", "--data", mixed, "--out", out, *anyhow)
    assert not out.exists()


def test_a_truncated_picture_is_skipped_and_counted_unless_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        pillow.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(folder / f"{number}.jpg")
    whole = (folder / "5.jpg").read_bytes()
    (folder / "5.jpg").write_bytes(whole[: len(whole) // 2])
    command = ["train", "image", "--data", str(folder), "--modality.size=8", "--tokenizer.halvings=1", *TINY]
    assert main([*command, "--stages=tokenizer", "--out", str(tmp_path / "run"), "--training.batch_size=4"]) == 0
    assert "1 samples of the" in caplog.text
    capsys.readouterr()
    assert "5.jpg" in refusal(capsys, *command, "--strict", "--out", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_damaged_run_is_told_in_a_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    weights = broken / "tokenizer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    capsys.readouterr()
    assert "is damaged" in refusal(capsys, "evaluate", broken)
    (broken / "tokenizer" / "config.json").write_text("{")
    assert "is damaged" in refusal(capsys, "evaluate", broken)


def test_a_run_without_a_terminal_says_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", "digits", "--out", str(tmp_path / "run"), *TINY]
    assert main([*command, "--stages=tokenizer"]) == 0
    told = capsys.readouterr()
    assert "tokenizer: 6 steps\ntokenizer: 6 of 6 steps: loss " in told.err
    assert "still to come: tokens, prior, evaluation, report; the same command without --stages" in told.out
    assert main(command) == 0
    told = capsys.readouterr()
    stages = ["tokens of train", "prior", "evaluation of train", "evaluation of validation", "report"]
    assert "still to come" not in told.out and "tokenizer: " not in told.err
    starts = [told.err.index(f"{stage}: ") for stage in stages]
    assert starts == sorted(starts)


def test_a_stage_that_is_missing_is_named_with_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "digits", "--out", "run", *TINY]
    sentence = refusal(capsys, *train, "--stages=prior")
    assert sentence.endswith(
        "run has no tokenizer and no tokens for its prior; add tokenizer,tokens to --stages, or leave --stages out"
    )
    assert not Path("run").exists()
    assert main([*train, "--stages=tokenizer"]) == 0
    capsys.readouterr()
    assert "leave --stages out to go on with tokens, prior" in refusal(capsys, *train, "--stages=tokenizer")
    assert "has no tokens and no evaluation for its report" in refusal(
        capsys, *train, "--stages=tokenizer,report", "--overwrite"
    )
    assert "--stages tokens,prior (or" in refusal(capsys, "sample", "run", "--out", "x.png")
    sentence = refusal(capsys, "evaluate", "run")
    assert "run has no tokens yet" in sentence
    command = sentence.split("run: vqkit ")[1].split(" (or")[0].split()
    assert command == ["train", "run/config.yaml", "--out", "run", "--stages", "tokens"]
    assert main(command) == 0
    assert main(["evaluate", "run", "--json"]) == 0


def test_only_the_whole_evaluation_is_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "evaluation.json").read_text()
    assert main(["evaluate", str(run), "--samples=9"]) == 0
    assert (run / "evaluation.json").read_text() == before
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    assert "evaluation.json is written" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_reconstructed_is_told_in_our_words(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "back"
    (tmp_path / "corrupt.png").write_bytes(b"no picture")
    capsys.readouterr()
    sentence = refusal(capsys, "reconstruct", run, tmp_path / "corrupt.png", "--out", out)
    assert "corrupt.png cannot be read as a picture (it is damaged" in sentence and "BytesIO" not in sentence
    sentence = refusal(capsys, "reconstruct", run, tmp_path / "none.png", "--out", out)
    assert "there is no" in sentence and "none.png" in sentence and "Errno" not in sentence
    (tmp_path / "empty").mkdir()
    assert "empty holds no" in refusal(capsys, "reconstruct", run, tmp_path / "empty", "--out", out)
    assert not out.exists()


def test_a_folder_is_reconstructed_and_clashing_names_keep_their_folders(run: Path, tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "b/2.png", "c/a/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(np.full((8, 8), 99, np.uint8)).save(tmp_path / name)
    assert main(["reconstruct", str(run), str(tmp_path / "b"), "--out", str(tmp_path / "one")]) == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["1.png", "2.png"]
    given = [str(tmp_path / "a" / "1.png"), str(tmp_path / "b"), str(tmp_path / "c")]
    assert main(["reconstruct", str(run), *given, "--out", str(tmp_path / "all")]) == 0
    made = (tmp_path / "all").rglob("*.png")
    assert {path.relative_to(tmp_path / "all").as_posix() for path in made} == {
        f"{tmp_path.name}/a/1.png",
        "b/1.png",
        "2.png",
        "c/a/1.png",
    }


def test_pictures_of_any_size_are_reconstructed_in_their_own(run: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 50, 3), np.uint8)
    pillow.fromarray(pixels).save(tmp_path / "colour.png")
    pillow.fromarray(pixels[:20, :, 0]).save(tmp_path / "grey.png")
    pillow.fromarray(pixels[:8, :8, 0]).save(tmp_path / "small.png")
    files = [str(tmp_path / f"{name}.png") for name in ("colour", "grey", "small")]
    assert main(["reconstruct", str(run), *files, "--out", str(tmp_path / "back")]) == 0
    loaded = vqkit.load(run)
    for file, size in zip(files, ((37, 50), (20, 50), (8, 8)), strict=True):
        with pillow.open(file) as given, pillow.open(tmp_path / "back" / Path(file).name) as back:
            x = torch.from_numpy(np.asarray(given.convert("L")).copy())[None, None]
            assert x.shape[2:] == size and back.mode == "L"
            assert np.array_equal(np.asarray(back), loaded.reconstruct(x)[0, 0].numpy())


def test_a_run_of_one_size_has_pictures_fitted_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        pillow.fromarray(pixels).save(tmp_path / f"{number}.png")
    pillow.fromarray(np.full((40, 60), 99, np.uint8)).save(tmp_path / "large.png")
    pca = [f"--data={tmp_path}", "--tokenizer=PCA", "--tokenizer.bottleneck=Identity", "--tokenizer.bottleneck.dim=3"]
    pca += ["--tokenizer.likelihood=Gaussian", "--prior=null", "--stages=tokenizer"]
    for name, size in (("fitted", "8"), ("alone", "null")):
        if name == "alone":
            (tmp_path / "large.png").rename(tmp_path / "large.gone")
        command = ["train", "image", *pca, f"--modality.size={size}", "--modality.channels=1"]
        assert main([*command, "--out", str(tmp_path / "runs" / name)]) == 0
    (tmp_path / "large.gone").rename(tmp_path / "large.png")
    large, out = tmp_path / "large.png", tmp_path / "back"
    assert main(["reconstruct", str(tmp_path / "runs" / "fitted"), str(large), "--out", str(out)]) == 0
    with pillow.open(out / "large.png") as picture:
        assert picture.size == (8, 8)
    capsys.readouterr()
    sentence = refusal(capsys, "reconstruct", tmp_path / "runs" / "alone", large, "--out", tmp_path / "none")
    assert "large.png is [40, 60, 1], this run takes [8, 8, 1]; resize it" in sentence
    assert not (tmp_path / "none").exists()


def test_a_run_of_two_levels_shows_what_the_coarse_one_holds(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, back = tmp_path / "run", tmp_path / "back"
    levels = ["--tokenizer.halvings=[2, 1]", "--tokenizer.level_dropout=0.5"]
    assert main(["train", "digits", "--out", str(out), *TINY, *levels]) == 0
    page = (out / "report" / "index.html").read_text()
    assert "level 1, 2 × 2 tokens" in page and "level 2, 4 × 4 tokens" in page
    assert "<h2>Level by level</h2>" in page and "Level by level" not in (run / "report" / "index.html").read_text()
    file = tmp_path / "grey.png"
    pillow.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 4).save(file)
    pixels = []
    for option in ([], ["--levels=2"], ["--levels=1"]):
        assert main(["reconstruct", str(out), str(file), "--out", str(back), *option]) == 0
        pixels.append(np.asarray(pillow.open(back / "grey.png")))
    assert np.array_equal(pixels[0], pixels[1]) and not np.array_equal(pixels[0], pixels[2])
    capsys.readouterr()
    for folder, most in ((out, 2), (run, 1)):
        sentence = refusal(capsys, "reconstruct", folder, file, "--out", tmp_path / "none", "--levels", 3)
        assert f"levels is 3; give a number from 1 to {most}" in sentence
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("vqkit.checkpoint.save_file", full)
    sentence = refusal(capsys, "train", "digits", "--out", tmp_path / "run", *TINY)
    assert "the disk is full" in sentence
    assert not list(tmp_path.rglob("*.part"))


def test_what_samples_teach_is_measured_where_it_is_asked_for_and_stays(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqkit.run.classification._STEPS", 3)
    monkeypatch.setattr("vqkit.run.classification._MOST", 30)
    out = tmp_path / "run"
    shutil.copytree(run, out)
    capsys.readouterr()
    assert "leave --data and --samples out" in refusal(capsys, "evaluate", out, "--classification", "--samples=9")
    assert main(["evaluate", str(out), "--classification", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["generation"]["classification"]
    assert list(found) == ["real", "reconstructions", "samples"]
    assert {numbers["trained_on"] for numbers in found.values()} == {30}
    assert main(["evaluate", str(out)]) == 0
    assert "Top-1" in capsys.readouterr().out
    assert json.loads((out / "evaluation.json").read_text())["generation"]["classification"] == found


def test_samples_of_no_class_teach_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--training.max_steps=2", "--tokenizer.width=8", "--stages=tokenizer,tokens,prior,evaluation"]
    unigram, unlabelled, vae = tmp_path / "unigram", tmp_path / "unlabelled", tmp_path / "vae"
    assert main(["train", "digits", "--out", str(unigram), *short, "--prior", "UnigramPrior"]) == 0
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    data = ["--data", str(tmp_path / "x.npy")]
    assert main(["train", "digits", "--out", str(unlabelled), *short, *data, "--prior", "UnigramPrior"]) == 0
    gaussian = ["--tokenizer.bottleneck=GaussianBottleneck", "--tokenizer.bottleneck.dim=4", "--prior", "null"]
    short[-1] = "--stages=tokenizer,evaluation"
    assert main(["train", "digits", "--out", str(vae), *short, *gaussian]) == 0
    capsys.readouterr()
    assert "train a prior that does" in refusal(capsys, "evaluate", unigram, "--classification")
    assert "a folder with one subfolder a class" in refusal(capsys, "evaluate", unlabelled, "--classification")
    assert "label_dim above 0" in refusal(capsys, "evaluate", vae, "--classification")
    shutil.rmtree(unigram / "prior")
    assert "has no prior yet" in refusal(capsys, "evaluate", unigram, "--classification")
