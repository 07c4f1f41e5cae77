"""Recipes: each one that ships can be built, bases are laid under, a wrong key is named with its nearest."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from vqkit import recipe
from vqkit.autoencoders import Autoencoder
from vqkit.priors import Prior
from vqkit.signal import Signal


def read(name: str, *options: str) -> recipe.Recipe:
    made = recipe.parser()
    return recipe.instantiate(made, recipe.parse(made, [*recipe.arguments(name), "--data=digits", *options]))


@pytest.mark.parametrize("name", recipe.names())
def test_a_shipped_recipe_builds_its_tokenizer_and_prior(name: str) -> None:
    parts = read(name)
    size, channels = parts.modality.size, parts.modality.channels
    tokenizer = parts.tokenizer(Signal(channels, (size, size), 0.0, 255.0, 256, ("a", "b")))
    assert isinstance(tokenizer, Autoencoder)
    assert (parts.prior is None) == (not tokenizer.discrete)
    if parts.prior is not None:
        layout = tokenizer.layout()
        assert layout.classes == 2
        assert isinstance(parts.prior(layout), Prior)


@pytest.mark.parametrize("name", ["digits", "fashion-mnist-cvae"])
def test_the_dump_reads_back_as_the_same_recipe(name: str) -> None:
    made = recipe.parser()
    text = recipe.dump(made, recipe.parse(made, recipe.arguments(name)))
    assert recipe.load(text).training == read(name).training
    again = recipe.parser()
    assert recipe.dump(again, recipe.parse(again, ["--config", text])) == text


def test_a_recipe_lies_over_its_base_and_options_over_both(tmp_path: Path) -> None:
    base, top = tmp_path / "base.yaml", tmp_path / "top.yaml"
    base.write_text("base: digits\ntraining: {max_steps: 7, batch_size: 6}\n")
    top.write_text(f"base: {base}\ntraining: {{batch_size: 8}}\ntokenizer: {{init_args: {{width: 24}}}}\n")
    parts = read(str(top), "--training.seed=3", "--tokenizer.bottleneck.codebook_size=11")
    assert (parts.training.max_steps, parts.training.batch_size, parts.training.seed) == (7, 8, 3)
    assert (parts.tokenizer.width, parts.tokenizer.bottleneck.codebook_size) == (24, 11)
    assert parts.tokenizer.halvings == 1  # from digits, two bases down


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("--training.max_stepz=3", "training.max_steps"),
        ("--trainig.max_steps=3", "training.max_steps"),
        ("--tokenizer.widht=3", "width"),
        ("--tokenizer.bottleneck.codebok_size=3", "codebook_size"),
        ("--prior.dept=3", "depth"),
        ("--training.max_step=3", "training.max_steps"),
        ("--step=3", "tokenizer.bottleneck.step"),
    ],
)
def test_an_unknown_option_is_named_with_its_nearest(option: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"there is no key .*; did you mean {nearest}"):
        read("digits", option)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("base: digits\ntraining: {max_stepz: 3}\n", "max_steps"),
        ("base: digits\ntokenizer: {init_args: {widht: 3}}\n", "width"),
        ("base: digits\nmodalty: {class_path: Image}\n", "modality"),
        ("base: digits\ntokenizer: {class_path: PCA, init_args: {dim: 3}}\n", "tokenizer.bottleneck.dim"),
    ],
)
def test_an_unknown_key_in_a_file_is_named_with_its_nearest(tmp_path: Path, text: str, nearest: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"there is no key .*; did you mean .*{nearest}"):
        read(str(tmp_path / "mine.yaml"))


def test_a_part_that_lacks_a_value_names_it_with_its_path(tmp_path: Path) -> None:
    scalar = "{class_path: UniformScalarQuantizer, init_args: {dim: 4}}"
    (tmp_path / "mine.yaml").write_text(f"base: digits\ntokenizer: {{init_args: {{bottleneck: {scalar}}}}}\n")
    with pytest.raises(ValueError, match=r"open; add --tokenizer\.bottleneck\.step \.\.\."):
        read(str(tmp_path / "mine.yaml"))


def test_a_part_of_another_family_is_told_in_a_sentence(tmp_path: Path) -> None:
    scored = "{class_path: DiscretizedDensity, init_args: {density: {class_path: LogisticMixture}}}"
    (tmp_path / "mine.yaml").write_text(f"base: digits\ntokenizer: {{init_args: {{likelihood: {scored}}}}}\n")
    with pytest.raises(ValueError, match=r"^LogisticMixture is no part that can stand where it is named"):
        read(str(tmp_path / "mine.yaml"))


def test_a_wrong_value_names_its_key() -> None:
    with pytest.raises(ValueError, match=r"training\.max_steps.*abc|max_steps.*abc"):
        read("digits", "--training.max_steps=abc")
    with pytest.raises(ValueError, match=r"tokenizer\.width is x; make it a whole number$"):
        read("digits", "--tokenizer.width=x")
    with pytest.raises(ValueError, match=r"training\.precision is x; make it auto or float32 or bfloat16$"):
        read("digits", "--training.precision=x")
    with pytest.raises(ValueError, match=r"training\.seed is 9{23}; "):
        read("digits", f"--training.seed={'9' * 23}")
    with pytest.raises(ValueError, match=r"training\.max_steps is 0"):
        read("digits", "--training.max_steps=0")


def test_recipes_are_found_beside_their_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vqkit", ModuleType("vqkit"))  # as where another folder of that name comes first
    assert "digits" in recipe.names() and recipe.arguments("digits")


def test_missing_unreadable_and_circular_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean digits\?$"):
        recipe.arguments("digit")
    with pytest.raises(ValueError, match="; name one of cifar10"):
        recipe.arguments("zzz")
    (tmp_path / "mine.txt").write_text("base: digits\n")
    for other in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ValueError, match=rf"must end in \.yaml; .* --data {other}$"):
            recipe.arguments(str(other))
    (tmp_path / "broken.yaml").write_text("a: [1\n")
    with pytest.raises(ValueError, match="is not YAML"):
        recipe.arguments(str(tmp_path / "broken.yaml"))
    (tmp_path / "circle.yaml").write_text(f"base: {tmp_path / 'circle.yaml'}\n")
    with pytest.raises(ValueError, match="its own base"):
        recipe.arguments(str(tmp_path / "circle.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ValueError, match="holds no keys"):
        recipe.arguments(str(tmp_path / "list.yaml"))
