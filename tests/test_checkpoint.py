"""A folder holds a whole model or is refused, and opening one runs no code of a stranger."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from vqkit import checkpoint
from vqkit.autoencoders import Autoencoder, Convolutional
from vqkit.bottlenecks import Bottleneck, EMAVectorQuantizer, VectorQuantizer
from vqkit.likelihoods import Categorical, Gaussian
from vqkit.priors import Prior, TransformerPrior, UnigramPrior
from vqkit.signal import Batch, Layout, Signal

SIGNAL = Signal(1, (8, 8), 0.0, 255.0, 256, ("a", "b"))
LAYOUT = Layout(((2, 2), (4, 4)), ((5,), (9, 3)), 2)
X = torch.arange(2 * 64).view(2, 1, 8, 8).to(torch.uint8)
TOKENS = (torch.ones(2, 1, 2, 2, dtype=torch.int64), torch.ones(2, 2, 4, 4, dtype=torch.int64))
SIDE = {"label": torch.tensor([0, 1])}


def tokenizer(bottleneck: nn.Module | None = None, likelihood: nn.Module | None = None) -> Autoencoder:
    """After a step, so that counts and moving averages are there to be kept."""
    quantizer = bottleneck or EMAVectorQuantizer(4, 16, decay=0.9)
    model = Convolutional(quantizer, likelihood or Gaussian(0.2), 8, 1, 1, 4)(SIGNAL)
    model(Batch(X, None, {}, ["0", "1"]))
    model.update()
    return model


def transformer() -> TransformerPrior:
    prior = TransformerPrior(LAYOUT, width=16, depth=1, heads=2)
    for parameter in prior.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return prior


def unigram() -> UnigramPrior:
    prior = UnigramPrior(LAYOUT, smoothing=0.5)
    prior.fit([(TOKENS, {})])
    return prior


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    assert type(a) is type(b) and a.state_dict().keys() == b.state_dict().keys()
    for name, value in a.state_dict().items():
        other = b.state_dict()[name]
        assert value.dtype == other.dtype and torch.equal(value, other), name


@pytest.mark.parametrize(
    "make", [partial(VectorQuantizer, 4, 16, revival=0.0), partial(EMAVectorQuantizer, 4, 16, 0.5)], ids=["VQ", "EMA"]
)
@pytest.mark.parametrize("likelihood", [Gaussian(0.1), Categorical()])
def test_an_autoencoder_comes_back_exactly(
    tmp_path: Path, make: Callable[[], Bottleneck], likelihood: nn.Module
) -> None:
    model = tokenizer(make(), likelihood)
    checkpoint.save(model, tmp_path / "tokenizer")
    loaded = checkpoint.load(tmp_path / "tokenizer", Autoencoder)
    assert_same_weights(model, loaded)
    assert loaded.signal == SIGNAL and isinstance(loaded.signal.grid, tuple) and not loaded.training
    assert checkpoint.config_of(loaded) == checkpoint.config_of(model)
    assert torch.equal(loaded.encode(X)[0], model.encode(X)[0])
    assert torch.equal(loaded.reconstruct(X), model.reconstruct(X))


@pytest.mark.parametrize("make", [transformer, unigram])
def test_a_prior_comes_back_exactly(tmp_path: Path, make: type[Prior]) -> None:
    prior = make().eval()
    checkpoint.save(prior, tmp_path / "prior")
    loaded = checkpoint.load(tmp_path / "prior", Prior)  # type: ignore[type-abstract]
    assert_same_weights(prior, loaded)
    assert loaded.layout == LAYOUT and checkpoint.config_of(loaded) == checkpoint.config_of(prior)
    assert all(map(torch.equal, loaded.log_prob(TOKENS, SIDE), prior.log_prob(TOKENS, SIDE)))


def test_training_goes_on_from_a_loaded_model_as_from_the_saved(tmp_path: Path) -> None:
    model = tokenizer()
    checkpoint.save(model, tmp_path / "tokenizer")
    loaded = checkpoint.load(tmp_path / "tokenizer", Autoencoder).train()
    for each in (model, loaded):
        each(Batch(X, None, {}, ["0", "1"]))
        each.update()
    assert_same_weights(model, loaded)


def test_the_folder_holds_two_files_that_anyone_can_read(tmp_path: Path) -> None:
    checkpoint.save(tokenizer(), tmp_path / "tokenizer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer"]
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == ["config.json", "model.safetensors"]
    text = (tmp_path / "tokenizer" / "config.json").read_text()
    assert re.findall(r'"class_path": "([^"]+)"', text)[:2] == [
        "vqkit.autoencoders.Autoencoder",
        "vqkit.signal.Signal",
    ]
    assert len({path.stat().st_mode for path in (tmp_path / "tokenizer").iterdir()}) == 1
    weights = (tmp_path / "tokenizer" / "model.safetensors").read_bytes()
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    assert "levels.0.bottleneck.sums" in header


def test_facts_are_kept_beside(tmp_path: Path) -> None:
    checkpoint.save(unigram(), tmp_path / "prior", {"tokenizer": "abc"})
    assert checkpoint.facts(tmp_path / "prior") == {"tokenizer": "abc"}
    checkpoint.save(unigram(), tmp_path / "prior")
    assert checkpoint.facts(tmp_path / "prior") == {}


def test_the_fingerprint_changes_with_a_weight_and_with_the_configuration(tmp_path: Path) -> None:
    model = tokenizer()
    for name in ("a", "b"):
        checkpoint.save(model, tmp_path / name)
    first = checkpoint.fingerprint(tmp_path / "a")
    assert re.fullmatch("[0-9a-f]{16}", first) and checkpoint.fingerprint(tmp_path / "b") == first
    model.levels[0].bottleneck.sums[3, 1] += 1e-3
    checkpoint.save(model, tmp_path / "weight")
    model.levels[0].bottleneck.sums[3, 1] -= 1e-3
    model.decoder.likelihood.scale = 0.25
    checkpoint.save(model, tmp_path / "configuration")
    assert len({first, *(checkpoint.fingerprint(tmp_path / name) for name in ("weight", "configuration"))}) == 3


# ---------------------------------------------------------------- what is refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint.save(unigram(), tmp_path / "prior")
    return tmp_path / "prior"


def refused(folder: Path, match: str, kind: type[nn.Module] = UnigramPrior) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        checkpoint.load(folder, kind)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)  # one sentence, with what to do


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_truncated_weights_are_refused(folder: Path, length: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    refused(folder, "is damaged or of another model")


def test_weights_that_are_no_safetensors_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x80\x05 a pickle, say" * 9)
    refused(folder, "is damaged")


def test_missing_files_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "is damaged or of another model")
    (folder / "config.json").unlink()
    refused(folder, r"holds no model \(config.json is missing\); train one there first")
    refused(folder / "nowhere", "holds no model")


def test_weights_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    checkpoint.save(UnigramPrior(LAYOUT._replace(codebook_sizes=((5,), (9, 4)))), tmp_path / "same shape")
    checkpoint.save(UnigramPrior(Layout(((2, 2),), ((5,),))), tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other" / "model.safetensors").read_bytes())
    refused(folder, "of another model")


def test_a_model_of_another_kind_is_refused(folder: Path) -> None:
    refused(folder, "holds a UnigramPrior, not a TransformerPrior", TransformerPrior)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"class_path": "vqkit.priors', "config.json is damaged"),
        ("\x00\xff", "config.json is damaged"),
        ("{}", "not known"),
        ("[1, 2]", "holds a tuple"),
        ('"text"', "holds a str"),
        ('{"class_path": "vqkit.priors.NoSuchPrior", "init_args": {}}', r"vqkit\.priors\.NoSuchPrior is not known"),
        ('{"class_path": "no_such_package.Prior", "init_args": {}}', "import no_such_package yourself first"),
        ('{"class_path": "vqkit.priors.UnigramPrior"}', "UnigramPrior"),
        ('{"class_path": "vqkit.priors.UnigramPrior", "init_args": {}}', "UnigramPrior"),
        ('{"class_path": "vqkit.priors.UnigramPrior", "init_args": {"old_name": 3}}', "UnigramPrior"),
    ],
)
def test_a_damaged_configuration_is_refused(folder: Path, text: str, match: str) -> None:
    (folder / "config.json").write_text(text)
    refused(folder, match)


@pytest.mark.parametrize("path", ["os.system", "builtins.eval", "subprocess.Popen", "pathlib.Path"])
def test_a_configuration_cannot_call_what_is_no_model(folder: Path, path: str) -> None:
    (folder / "config.json").write_text(json.dumps({"class_path": path, "init_args": {"command": "false"}}))
    refused(folder, "is not a model's part")


def test_what_json_cannot_say_is_refused() -> None:
    prior = unigram()
    prior.smoothing = torch.tensor(1.0)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="a Tensor cannot stand in a model's configuration"):
        checkpoint.config_of(prior)


# ---------------------------------------------------------------- whole or not at all


def test_a_failed_save_leaves_the_older_folder_and_nothing_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(tensors: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half of it")
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full_disk)
    for target in (folder, folder.with_name("new")):
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(transformer(), target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["prior"]


def test_what_an_interrupted_save_left_is_replaced(folder: Path) -> None:
    part = folder.with_name("prior.part")
    part.mkdir()
    (part / "junk").write_text("half")
    (folder / "junk").write_text("older")
    checkpoint.save(transformer(), folder)
    assert isinstance(checkpoint.load(folder, Prior), TransformerPrior)  # type: ignore[type-abstract]
    assert not part.exists() and not (folder / "junk").exists()
