"""A run from end to end on tiny settings: what it leaves, what its folder refuses, and that a killed one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vqkit
from vqkit import checkpoint, cli
from vqkit.pipeline.folder import claim
from vqkit.run import Run, reconstruct_files, tokenize, tokenize_source
from vqkit.tokens import TokenShards

TINY = {
    "training.max_steps": 12,
    "prior_training.max_steps": 8,
    "training.checkpoint_every": 4,
    "prior_training.checkpoint_every": 4,
    "tokenizer.width": 8,
    "tokenizer.bottleneck.codebook_size": 16,
    "prior.width": 16,
    "prior.depth": 1,
    "prior.heads": 2,
}
OPTIONS = [f"--{key}={value}" for key, value in TINY.items()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vqkit.train("digits", out=tmp_path_factory.mktemp("runs") / "digits", **TINY)


def test_a_run_leaves_every_result(run: Run) -> None:
    for name in (
        "config.yaml",
        "tokenizer/model.safetensors",
        "prior/config.json",
        "tokens/train",
        "tokens/validation",
    ):
        assert (run.folder / name).exists(), name
    for path in run.results.values():
        assert path.stat().st_size > 0
    assert not list(run.folder.rglob("*.part"))
    assert not (run.folder / "checkpoints").exists()  # training state is for resuming, and this run is finished


def test_the_report_is_not_named_twice(run: Run) -> None:
    assert "<title>digits</title>" in run.results["report"].read_text()


def test_the_report_draws_in_every_way_that_the_prior_allows(run: Run) -> None:
    page = run.results["report"].read_text()
    for name in ("temperature 0.7", "temperature 0.85", "temperature 1", "guidance 2", "guidance 4"):
        assert f"<figcaption>{name}</figcaption>" in page
    assert "<h2>Nearest training neighbours" in page and "1,611 train pictures" in page


def test_samples_are_compared_with_the_train_pictures(run: Run) -> None:
    found = run.evaluation["generation"]
    assert set(found) == {"memorisation"}
    numbers = found["memorisation"]
    assert (numbers["samples"], numbers["searched"]) == (64, 1611)
    assert numbers["ratio"] > 0 and numbers["ratio_of_copies"] > 0


def test_a_loaded_run_encodes_decodes_and_samples(run: Run) -> None:
    loaded = vqkit.load(run.folder)
    x = loaded.dataset("validation").read(range(5)).x
    indices = loaded.tokenizer.encode(x)
    assert indices[0].shape == (5, 1, 4, 4)
    assert loaded.tokenizer.decode(indices).shape == x.shape
    assert loaded.reconstruct(x).dtype == torch.uint8
    samples = loaded.sample(3, label=7, seed=5)
    assert samples.shape == (3, 1, 8, 8)
    assert torch.equal(samples, loaded.sample(3, label="7", seed=5))
    assert not torch.equal(samples, loaded.sample(3, label=7, seed=6))


def test_the_tokens_on_disk_are_the_tokenizers(run: Run) -> None:
    shards = TokenShards(run.folder / "tokens" / "validation", run.fingerprint)
    x = run.dataset("validation").read(range(len(shards))).x
    assert torch.equal(shards.read(range(len(shards))).indices[0], run.tokenizer.encode(x)[0])


def test_the_evaluation_has_the_promised_numbers(run: Run) -> None:
    numbers = json.loads((run.folder / "evaluation.json").read_text())
    names = {"mse", "nmse", "psnr", "ssim", "ms_ssim", "usage", "perplexity", "held_out_tokens", "nominal_bits"}
    names |= {"estimated_bits", "nats_per_token", "unigram_nats_per_token"}
    for split in ("train", "validation"):
        assert names <= set(numbers[split])
        assert numbers[split]["nominal_bits"] == 64.0
        assert numbers[split]["ms_ssim"] is None and "MS-SSIM" in numbers[split]["reasons"]["ms_ssim"]
    assert numbers["validation"]["held_out_tokens"] == 16 * numbers["validation"]["samples"]


def test_a_finished_run_is_not_trained_over(run: Run) -> None:
    before = run.fingerprint
    with pytest.raises(ValueError, match=r"finished run; use --overwrite"):
        vqkit.train("digits", out=run.folder, **TINY)
    with pytest.raises(ValueError, match=r"another configuration \(it differs in training.max_steps\).*--overwrite"):
        vqkit.train("digits", out=run.folder, **(TINY | {"training.max_steps": 13}))
    assert checkpoint.fingerprint(run.folder / "tokenizer") == before


def test_a_stage_can_be_made_again_and_what_came_before_it_stays(tmp_path: Path) -> None:
    out = tmp_path / "run"
    before = vqkit.train("digits", out=out, **TINY).fingerprint
    prior = checkpoint.fingerprint(out / "prior")
    other = TINY | {"prior_training.seed": 1}
    with pytest.raises(ValueError, match=r"differs in prior_training.seed"):
        vqkit.train("digits", out=out, stages=["prior", "evaluation", "report"], **other)
    with pytest.raises(ValueError, match=r"keeps its tokenizer, tokens, made with another training.seed"):
        vqkit.train("digits", out=out, stages=["prior"], overwrite=True, **(TINY | {"training.seed": 1}))
    again = vqkit.train("digits", out=out, stages=["prior", "evaluation", "report"], overwrite=True, **other)
    assert again.fingerprint == before
    assert checkpoint.fingerprint(out / "prior") != prior
    assert again.results["report"].exists()


def test_a_stage_that_ended_but_was_not_saved_is_saved_with_its_averaged_weights(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save = tmp_path / "run", checkpoint.save

    def fails(*arguments: object) -> None:
        raise OSError("the power went")

    monkeypatch.setattr(checkpoint, "save", fails)
    with pytest.raises(OSError, match="the power went"):
        vqkit.train("digits", out=out, stages=["tokenizer"], **TINY)
    monkeypatch.setattr(checkpoint, "save", save)
    assert vqkit.train("digits", out=out, stages=["tokenizer"], **TINY).fingerprint == run.fingerprint


def test_few_pictures_without_labels_are_enough_for_a_whole_run(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(folder / f"{number}.png")
    changes = {"modality.size": 8, "tokenizer.halvings": 1, "training.batch_size": 4, "prior_training.batch_size": 4}
    run = vqkit.train("image", data=folder, out=tmp_path / "run", **(TINY | changes))
    assert run.results["report"].exists()
    with pytest.raises(ValueError, match="would replace files"):
        reconstruct_files(run, [str(folder / "3.png")], folder)


def test_tokens_of_other_samples_are_not_taken_for_these(run: Run, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(seed).integers(0, 256, (9, 8, 8), np.uint8))
    tokenize_source(run, str(tmp_path / "a.npy"), tmp_path / "tokens")
    tokenize_source(run, str(tmp_path / "a.npy"), tmp_path / "tokens")  # done already
    with pytest.raises(ValueError, match="holds tokens of other samples"):
        tokenize_source(run, str(tmp_path / "b.npy"), tmp_path / "tokens")


def test_stages_can_be_made_one_after_the_other(tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = vqkit.train("digits", out=out, stages=["tokenizer"], **TINY)
    assert not (out / "prior").exists()
    with pytest.raises(ValueError, match=r"has no tokens for its prior; add tokens to --stages"):
        vqkit.train("digits", out=out, stages=["prior"], **TINY)
    vqkit.train("digits", out=out, stages=["tokens", "prior"], **TINY)
    assert Run(out).fingerprint == first.fingerprint
    with pytest.raises(ValueError, match="there is no stage priors"):
        vqkit.train("digits", out=out, stages=["priors"], **TINY)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": "nowhere"}, "neither a file, a folder nor a built-in"),
        ({"tokenizer.halvings": 4}, "cannot be halved 4 times"),
        (
            {"tokenizer.bottleneck": {"class_path": "LookupFreeQuantizer", "init_args": {"dim": 30}}},
            "1,073,741,824 codes.*groups",
        ),
        ({"training.learning_rate": 1e18, "training.warmup_steps": 0, "training.gradient_clip": 0.0}, "at step"),
        ({"training.precision": "float16"}, "float16"),
        ({"prior.heads": 3}, "heads"),
        ({"tokenizer.bottleneck": {"class_path": "Identity", "init_args": {"dim": 4}}}, "has no indices"),
    ],
)
def test_a_mistake_leaves_no_folder(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        vqkit.train("digits", out=tmp_path / "run", **(TINY | changes))
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="run"):
            vqkit.train("digits", out=tmp_path, overwrite=overwrite, **TINY)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_prior_of_another_tokenizer_is_refused(run: Run, tmp_path: Path) -> None:
    other = vqkit.train("digits", out=tmp_path / "other", stages=["tokenizer"], **(TINY | {"training.seed": 1}))
    with pytest.raises(ValueError, match="are of tokenizer"):
        tokenize(other, other.dataset("validation"), run.folder / "tokens" / "validation")
    (run.folder / "prior").rename(other.folder / "prior")
    try:
        with pytest.raises(ValueError, match=r"was trained on tokens of tokenizer \w+, not \w+"):
            _ = vqkit.load(other.folder).prior
    finally:
        (other.folder / "prior").rename(run.folder / "prior")


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    code = "import sys; from vqkit.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "train", "digits", "--out", str(out), "--stages", "tokenizer,tokens,prior"]
    one = os.environ | {"OMP_NUM_THREADS": "1"}  # sums are rounded by how many threads share them
    killed = 0
    for stage in ("tokenizer", "prior"):
        process = subprocess.Popen([*command, *OPTIONS], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=one)
        while process.poll() is None and not list(out.glob(f"checkpoints/{stage}/step*.ckpt")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
    done = subprocess.run([*command, *OPTIONS], capture_output=True, text=True, check=False, env=one)
    assert done.returncode == 0 or "to go on with evaluation, report" in done.stderr, done.stderr
    assert killed  # else the machine was too fast for this test to say anything
    for part in ("tokenizer", "prior"):
        assert checkpoint.fingerprint(out / part) == checkpoint.fingerprint(run.folder / part)


def test_overwriting_a_stage_removes_what_a_stop_left_of_it(tmp_path: Path) -> None:
    (tmp_path / "tokens.part" / "train").mkdir(parents=True)
    claim(tmp_path, "data: digits\n", ["tokens"])
    assert not (tmp_path / "tokens.part").exists()


# ---------------------------------------------------------------- models without tokens, and decoders told the class

CONTINUOUS = {key: value for key, value in TINY.items() if key.startswith("training") or key == "tokenizer.width"} | {
    "prior": "null",
    "tokenizer.likelihood": "Categorical",
}


def bottleneck(name: str, **arguments: object) -> dict[str, object]:
    return CONTINUOUS | {"tokenizer.bottleneck": {"class_path": name, "init_args": {"dim": 4, **arguments}}}


def test_a_vae_is_a_run_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = vqkit.train("digits", out=tmp_path / "vae", **bottleneck("GaussianBottleneck", warmup_updates=6))
    assert not {"tokens", "prior"} & {path.name for path in run.folder.iterdir()}
    assert all(path.stat().st_size > 0 for path in run.results.values())
    assert int(run.tokenizer.bottlenecks[0].get_buffer("updates")) == 12
    samples = run.sample(5, seed=1)
    assert samples.shape == (5, 1, 8, 8) and samples.dtype == torch.uint8
    assert torch.equal(samples, run.sample(5, seed=1)) and not torch.equal(samples, run.sample(5, seed=2))
    for split in ("train", "validation"):
        numbers = run.evaluation[split]
        assert numbers["bits_per_dim_training_prior"] == pytest.approx(
            numbers["nll_bits_per_dim"] + numbers["rate_bits_per_dim_training_prior"]
        )
        assert numbers["kl_nats_training_prior"] > 0 and "estimated_bits" not in numbers
    text = run.results["report"].read_text()
    assert "<h2>Nearest training neighbours</h2>" in text and "Temperature and guidance" not in text
    assert "<h2>Samples</h2>" in text and "<h2>Codebooks</h2>" not in text and "<h2>Tokens</h2>" not in text
    np.save(tmp_path / "digits.npy", np.zeros((3, 8, 8), np.uint8))
    assert cli.main(["doctor", str(run.folder)]) == cli.main(["evaluate", str(run.folder), "--samples=9"]) == 0
    capsys.readouterr()
    for use, sentence in (
        (
            lambda: run.sample(1, choice=vqkit.Choice(top_p=0.5)),
            "top_k, top_p and guidance are for drawing codes",
        ),
        (lambda: run.sample(1, label=3), "knows classes; leave label out"),
        (lambda: run.prior, "GaussianBottleneck has no indices"),
        (lambda: tokenize_source(run, "digits", tmp_path / "tokens"), "GaussianBottleneck has no indices"),
        (lambda: reconstruct_files(run, [], tmp_path, label=3), "is told no label"),
    ):
        with pytest.raises(ValueError, match=sentence):
            use()
    assert not (tmp_path / "tokens").exists()


def test_an_autoencoder_is_a_run_that_does_not_sample(tmp_path: Path) -> None:
    out, keys = tmp_path / "ae", bottleneck("Identity")
    vqkit.train("digits", out=out, stages=["tokenizer"], **keys)
    for stage in ("tokens", "prior"):
        with pytest.raises(
            ValueError, match=f"no stage {stage} in a run without a prior.*tokenizer, evaluation, report$"
        ):
            vqkit.train("digits", out=out, stages=[stage], **keys)
    run = vqkit.train("digits", out=out, **keys)
    assert run.results["report"].exists() and not run.results["samples"].exists()
    assert run.evaluation["validation"]["bits_per_dim_training_prior"] is None
    assert run.evaluation["validation"]["nll_bits_per_dim"] > 0
    with pytest.raises(ValueError, match="no prior to sample from"):
        run.sample(1)
    with pytest.raises(ValueError, match="holds a finished run"):
        vqkit.train("digits", out=out, **keys)


def test_a_decoder_told_the_class_is_told_it_everywhere(tmp_path: Path) -> None:
    run = vqkit.train("digits", out=tmp_path / "vq", **TINY, **{"tokenizer.label_dim": 3})
    held_out = run.dataset("train").read(range(300))  # more than are decoded at a time
    x_hat = run.reconstruct(held_out.x, held_out.side)
    assert torch.equal(
        x_hat, run.tokenizer.signal.to_native(run.tokenizer.decode(run.tokenizer.encode(held_out.x), held_out.side))
    )
    Image.fromarray(held_out.x[0, 0].numpy()).save(tmp_path / "digit.png")
    with pytest.raises(ValueError, match=r"is told a label; give the files' one as label, of 0, 1, "):
        reconstruct_files(run, [str(tmp_path / "digit.png")], tmp_path / "out")
    (path,) = reconstruct_files(
        run, [str(tmp_path / "digit.png")], tmp_path / "out", label=held_out.side["label"][0].item()
    )
    with Image.open(path) as picture:
        assert np.array_equal(np.asarray(picture), x_hat[0, 0].numpy())
    with pytest.raises(ValueError, match="conditional on a label"):
        run.reconstruct(held_out.x)
    np.save(tmp_path / "x.npy", np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"conditional on a label.*data whose samples have labels"):
        run.evaluate(str(tmp_path / "x.npy"))
    with pytest.raises(ValueError, match="the data has no labels for the decoder"):
        vqkit.train("digits", data=tmp_path / "x.npy", out=tmp_path / "other", **TINY, **{"tokenizer.label_dim": 3})


def test_a_vae_told_the_class_draws_it(tmp_path: Path) -> None:
    keys = bottleneck("GaussianBottleneck") | {"tokenizer.label_dim": 3}
    run = vqkit.train("digits", out=tmp_path / "cvae", **keys)
    assert "<figcaption>7</figcaption>" in run.results["report"].read_text()
    threes = run.sample(4, label=3, seed=1)
    assert torch.equal(threes, run.sample(4, label="3", seed=1))
    assert not torch.equal(threes, run.sample(4, label=4, seed=1))


@pytest.mark.parametrize("name", ["UnigramPrior", "UniformPrior"])
def test_a_prior_with_nothing_to_train_is_a_run_too(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {key: value for key, value in TINY.items() if not key.startswith("prior.")} | {"prior": name}
    run = vqkit.train("digits", out=tmp_path / "run", **keys)
    assert type(run.prior).__name__ == name and run.metrics["prior"] == []
    for split in ("train", "validation"):
        numbers = run.evaluation[split]
        baseline = f"{name.removesuffix('Prior').lower()}_nats_per_token"
        assert numbers["nats_per_token"] == pytest.approx(numbers[baseline], rel=1e-6)
    if name == "UnigramPrior":
        indices = run.tokens("train").read(range(len(run.tokens("train")))).indices[0]
        assert torch.equal(run.prior.get_buffer("counts_0")[0], indices.flatten().bincount(minlength=16))
        assert run.evaluation["train"]["nats_per_token"] < run.evaluation["train"]["uniform_nats_per_token"]
    assert torch.equal(run.sample(3, seed=1), run.sample(3, seed=1))
    page = run.results["report"].read_text()
    assert "temperature 0.7" in page and "guidance 2" not in page  # independent symbols know no class
    assert cli.main(["doctor", str(run.folder)]) == 0
    assert "take a prior that is trained, such as TransformerPrior" in capsys.readouterr().out


def test_a_prior_a_level_is_a_run_that_says_what_each_level_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [{"class_path": "PixelCNN", "init_args": {"width": 8, "depth": 1, "context_channels": c}} for c in (0, 4)]
    keys = {key: value for key, value in TINY.items() if not key.startswith("prior.")} | {
        "tokenizer.halvings": [2, 1],
        "prior": {"class_path": "Stack", "init_args": {"priors": parts, "width": 8}},
    }
    run = vqkit.train("digits", out=tmp_path / "run", **keys)
    assert [type(part).__name__ for part in run.prior.priors] == ["PixelCNN", "PixelCNN"]
    for split in ("train", "validation"):
        numbers = run.evaluation[split]
        coarse, fine = numbers["nats_per_token_of_levels"]
        assert (4 * coarse + 16 * fine) / 20 == pytest.approx(numbers["nats_per_token"])
    assert cli.main(["evaluate", str(run.folder), "--samples=9"]) == 0
    assert capsys.readouterr().out.count("level 2, 4 × 4") == 2  # under the prior and the unigram
    threes = vqkit.load(run.folder).sample(2, label=3, seed=1, choice=vqkit.Choice(guidance=2.0))
    assert threes.shape == (2, 1, 8, 8)
    assert torch.equal(threes, run.sample(2, label="3", seed=1, choice=vqkit.Choice(guidance=2.0)))


def test_a_run_that_is_made_again_without_tokens_keeps_none(tmp_path: Path) -> None:
    vqkit.train("digits", out=tmp_path / "run", stages=["tokenizer", "tokens", "prior"], **TINY)
    run = vqkit.train("digits", out=tmp_path / "run", overwrite=True, **bottleneck("GaussianBottleneck"))
    assert not {"tokens", "prior", "metrics-prior.csv"} & {path.name for path in run.folder.iterdir()}
    assert run.metrics["prior"] == []


def test_the_prior_is_there_where_the_tokens_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"EMAVectorQuantizer has indices and the recipe no prior.*TransformerPrior"):
        vqkit.train("digits", out=tmp_path / "run", **(TINY | {"prior": "null"}))
    with pytest.raises(ValueError, match="GaussianBottleneck has no indices for a prior to learn; add --prior null"):
        vqkit.train(
            "digits",
            out=tmp_path / "run",
            **{"tokenizer.bottleneck": bottleneck("GaussianBottleneck")["tokenizer.bottleneck"]},
        )
    assert not (tmp_path / "run").exists()


def test_pca_is_a_run_that_takes_no_steps(tmp_path: Path) -> None:
    (tmp_path / "pca.yaml").write_text(
        "data: digits\nmodality: {class_path: Image, init_args: {size: 8, channels: 1}}\n"
        "tokenizer: {class_path: PCA, init_args: {bottleneck: {class_path: Identity, init_args: {dim: 8}}, likelihood: "
        "Gaussian}}\nprior: null\n"
    )
    run = vqkit.train(str(tmp_path / "pca.yaml"), out=tmp_path / "run")
    x = run.dataset("train").read(range(1000)).x.flatten(1).double()
    left = torch.linalg.svdvals((x - x.mean(0)) / 255)[8:].square().sum() / x.numel()
    assert run.evaluation["train"]["mse"] == pytest.approx(float(left), rel=0.2)
    assert run.results["report"].exists() and not (run.folder / "metrics-tokenizer.csv").exists()
