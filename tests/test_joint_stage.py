"""The stage of joint training in a run: what it leaves, that it resumes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vqkit
from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder
from vqkit.run import Run
from vqkit.training import JointObjective

PLAIN = {
    "training.max_steps": 12,
    "prior_training.max_steps": 8,
    "tokenizer.width": 8,
    "tokenizer.bottleneck.codebook_size": 16,
    "prior.width": 16,
    "prior.depth": 1,
    "prior.heads": 2,
}
TINY = PLAIN | {"joint.rate_weight": 0.5, "joint.training.max_steps": 10, "joint.training.checkpoint_every": 4}
LAST = ["tokens", "prior", "evaluation", "report"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return vqkit.train("digits", out=tmp_path_factory.mktemp("runs") / "joint", **TINY)


def test_a_run_is_of_what_joint_training_made_of_its_tokenizer(run: Run, tmp_path: Path) -> None:
    plain = vqkit.train("digits", out=tmp_path / "plain", stages=["tokenizer"], **PLAIN)
    assert checkpoint.fingerprint(run.folder / "tokenizer") == plain.fingerprint  # that stage knows nothing of the next
    assert run.fingerprint == checkpoint.fingerprint(run.folder / "joint") != plain.fingerprint
    assert checkpoint.facts(run.folder / "prior") == {"tokenizer": run.fingerprint}
    x = run.dataset("validation").read(range(9)).x
    made = checkpoint.load(run.folder / "joint", Autoencoder)
    assert torch.equal(run.tokens("validation").read(range(9)).indices[0], made.encode(x)[0])
    assert not list(run.folder.rglob("*.part")) and not (run.folder / "checkpoints").exists()


def test_its_log_is_kept_and_shown(run: Run) -> None:
    last = run.metrics["joint"][-1]
    assert last["step"] == 10
    assert {"decoder_loss", "nats_per_token", "validation_mse", "validation_nats_per_token", "perplexity"} <= set(last)
    assert "<h3>Joint</h3>" in run.results["report"].read_text()


def test_a_stage_that_was_stopped_goes_on_and_ends_with_the_same_weights(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = JointObjective.update

    def fails(self: JointObjective) -> None:
        update(self)
        if int(self.tokenizer.model.quantizers[0].get_buffer("codebook.updates")) == 12 + 6:
            raise OSError("the power went")

    monkeypatch.setattr(JointObjective, "update", fails)
    with pytest.raises(OSError, match="the power went"):
        vqkit.train("digits", out=tmp_path / "run", stages=["tokenizer", "joint"], **TINY)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "run" / "checkpoints" / "joint").iterdir()] == ["step4.ckpt"]
    steps: list[None] = []
    monkeypatch.setattr(JointObjective, "update", lambda self: (steps.append(None), update(self))[1])
    resumed = vqkit.train("digits", out=tmp_path / "run", stages=["joint"], **TINY)
    assert resumed.fingerprint == run.fingerprint and len(steps) == 6


def test_made_again_it_starts_from_the_tokenizer_of_the_stage_before(run: Run, tmp_path: Path) -> None:
    out, first = tmp_path / "run", ["tokenizer", "joint"]
    made = vqkit.train("digits", out=out, stages=first, **TINY).fingerprint
    other = TINY | {"joint.rate_weight": 5.0}
    with pytest.raises(ValueError, match=r"keeps its tokenizer, joint, made with another joint.rate_weight"):
        vqkit.train("digits", out=out, stages=["tokens"], overwrite=True, **other)
    changed = vqkit.train("digits", out=out, stages=["joint"], overwrite=True, **other).fingerprint
    again = vqkit.train("digits", out=out, stages=["joint"], overwrite=True, **TINY).fingerprint
    assert made == again == run.fingerprint != changed


def test_a_run_can_be_given_the_stage_later(tmp_path: Path) -> None:
    out = tmp_path / "run"
    plain = vqkit.train("digits", out=out, stages=["tokenizer", "tokens"], **PLAIN).fingerprint
    with pytest.raises(ValueError, match=r"no stage joint in a run without the key joint; name some of token"):
        vqkit.train("digits", out=out, stages=["joint"], **PLAIN)
    with pytest.raises(ValueError, match=r"has no joint for its tokens; add joint to --stages"):
        vqkit.train("digits", out=out, stages=["tokens"], overwrite=True, **TINY)
    unigram = {"joint.prior": "LearnedUnigramPrior"}
    later = vqkit.train("digits", out=out, stages=["joint", "tokens"], overwrite=True, **(TINY | unigram))
    assert later.fingerprint != plain
    with pytest.raises(ValueError, match=r"has no prior yet; run: .* --stages prior \("):
        _ = later.prior


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"joint.prior": "MaskedTransformerPrior"}, "MaskedTransformerPrior does not tell in one pass"),
        ({"joint.rate_weight": -1}, "rate_weight is -1.0"),
        ({"joint.temperature": 0}, "temperature is 0.0"),
        ({"joint.training.max_steps": 0}, r"^training.max_steps is 0; it must be at least 1$"),
        (
            {"prior": "null", "tokenizer.bottleneck": {"class_path": "Identity", "init_args": {"dim": 4}}},
            "Identity has no indices whose rate could be trained; add --joint null",
        ),
        (
            {
                "tokenizer": {
                    "class_path": "TransformCoding",
                    "init_args": {
                        "bottleneck": {"class_path": "UniformScalarQuantizer", "init_args": {"dim": 4, "step": 1.0}},
                        "likelihood": "Gaussian",
                    },
                }
            },
            "the encoder has nothing to learn, so its tokens cost what they cost; add --joint null",
        ),
    ],
)
def test_a_mistake_leaves_no_folder(tmp_path: Path, changes: dict[str, object], sentence: str) -> None:
    replaced = tuple(f"{key}." for key in changes if key in ("prior", "tokenizer"))  # whose own keys are gone
    kept = {key: value for key, value in TINY.items() if not (replaced and key.startswith(replaced))}
    with pytest.raises(ValueError, match=sentence):
        vqkit.train("digits", out=tmp_path / "run", **(kept | changes))
    assert not (tmp_path / "run").exists()
