"""Every fact that docs/concepts states and no other test holds, one test a fact."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqkit import bottlenecks
from vqkit.bottlenecks import (
    BinarySphericalQuantizer,
    CosineSimilarityQuantizer,
    EMAVectorQuantizer,
    FiniteScalarQuantizer,
    GumbelMaxQuantizer,
    GumbelSoftmaxQuantizer,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
    LookupFreeQuantizer,
    ProductQuantizer,
    ProjectedQuantizer,
    Quantizer,
    ResidualFiniteScalarQuantizer,
    ResidualQuantizer,
    RotationTrick,
    SharedResidualQuantizer,
    SimVectorQuantizer,
    StraightThrough,
    StraightThroughGumbelQuantizer,
    UniformScalarQuantizer,
    VectorQuantizer,
    nearest_code,
)

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "concepts").glob("*.md"))


def _experiments() -> Any:
    """What the figures show; a script's folder is on no path here."""
    spec = importlib.util.spec_from_file_location("experiments", ROOT / "docs" / "concepts" / "experiments.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


experiments = _experiments()


def vectors_of(z: Tensor) -> Tensor:
    """[1, D, n] -> [n, D]."""
    return z[0].t()


# ---------------------------------------------------------------- gradients.md

CODES = torch.tensor([[-1.5], [-0.4], [0.5], [1.6]])


def loss_at(z_e: Tensor) -> Tensor:
    """|z_q - 0.8|^2 of z_e [n]."""
    return (CODES[nearest_code(z_e[:, None], CODES), 0] - 0.8).square()


def test_the_loss_is_flat_within_a_cell_so_the_true_gradient_is_zero() -> None:
    z_e = torch.linspace(-2.225, 2.225, 90)  # boundaries lie half way between two of these
    assert torch.equal(loss_at(z_e + 1e-3), loss_at(z_e - 1e-3))


def test_at_a_boundary_the_loss_jumps_so_it_has_no_gradient() -> None:
    boundary = (CODES[1:] + CODES[:-1]).flatten() / 2
    widths = torch.tensor([1e-1, 1e-2, 1e-3])
    jumps = torch.stack([(loss_at(boundary + h) - loss_at(boundary - h)).abs() for h in widths])
    assert (jumps > 0.1).all()
    torch.testing.assert_close(jumps[0], jumps[2])  # however near: the difference quotient has no limit


def test_without_an_estimator_the_encoder_does_not_learn() -> None:
    late, early = (experiments.train(EMAVectorQuantizer(8, 64, 0.0), steps, learn=False).encoder for steps in (10, 0))
    for trained, at_first in zip(late.parameters(), early.parameters(), strict=True):
        assert not trained.grad.any()
        assert torch.equal(trained, at_first)


def test_with_straight_through_the_encoder_learns_and_reconstructs_better() -> None:
    with_it, without = (
        experiments.train(EMAVectorQuantizer(8, 64, 0.25 * learn, decay=0.9), 120, learn=learn, every=120).history[
            "mse"
        ][-1]
        for learn in (True, False)
    )
    assert with_it < 0.8 * without


def test_straight_through_gives_every_z_e_of_a_cell_the_same_gradient() -> None:
    points = torch.tensor([[-1.4, 1.0], [-1.9, 1.9], [-1.0, 0.6]])
    gradient = experiments.estimated_gradient(StraightThrough(), points)
    torch.testing.assert_close(gradient, gradient[:1].expand(3, 2))


def test_the_rotation_trick_gives_each_z_e_of_a_cell_its_own_gradient() -> None:
    points = torch.tensor([[-1.4, 1.0], [-1.9, 1.9], [-1.0, 0.6]])
    gradient = experiments.estimated_gradient(RotationTrick(), points)
    assert float((gradient[:, None] - gradient).norm(dim=2)[~torch.eye(3, dtype=torch.bool)].min()) > 0.1


# ---------------------------------------------------------------- k_means.md


def pull(quantizer: VectorQuantizer, x: Tensor) -> Tensor:
    """The gradient of the loss [K, D] on all of x [n, D]."""
    (gradient,) = torch.autograd.grad(quantizer(x.t()[None]).loss, quantizer.codebook.vectors)
    quantizer.update()
    return gradient


def test_the_codebook_loss_is_stationary_where_codes_are_the_means_of_what_they_win_and_only_there() -> None:
    x, quantizer = experiments.clusters(), VectorQuantizer(2, 6, revival=0)
    codes = quantizer.codebook.vectors.data
    for _ in range(30):
        indices = nearest_code(x, codes)
        codes.copy_(torch.stack([x[indices == k].mean(0) for k in range(6)]))
    assert torch.equal(nearest_code(x, codes), indices)
    assert float(pull(quantizer, x).abs().max()) < 1e-6
    codes[0] += 0.05
    assert float(pull(quantizer, x)[0].norm()) > 1e-3


def test_gradient_descent_on_the_codebook_loss_ends_at_the_means() -> None:
    x, quantizer = experiments.clusters(), VectorQuantizer(2, 6, revival=0)
    quantizer.codebook.vectors.data.mul_(0.5)
    for _ in range(250):
        quantizer.codebook.vectors.data -= pull(quantizer, x)
    assert experiments.gap_to_means(quantizer.codebook.vectors.detach()) < 1e-3


def test_with_decay_0_and_all_the_data_an_update_is_a_pass_of_lloyds_algorithm() -> None:
    x = experiments.clusters()
    quantizer = EMAVectorQuantizer(2, 6, decay=0, revival=0)
    for number in range(5):
        before = quantizer.codebook.vectors.clone()
        indices = quantizer(x.t()[None]).indices.flatten()
        quantizer.update()
        if number:  # the first update averages the code itself in
            lloyd = torch.stack([x[indices == k].mean(0) if (indices == k).any() else before[k] for k in range(6)])
            torch.testing.assert_close(quantizer.codebook.vectors, lloyd)


def test_a_code_of_steady_use_goes_one_minus_decay_of_the_way_to_the_mean_of_its_batch() -> None:
    quantizer = EMAVectorQuantizer(2, 1, decay=0.9, revival=0)
    for _ in range(150):  # until the count is that of a batch
        quantizer(torch.randn(1, 2, 50))
        quantizer.update()
    before, batch = quantizer.codebook.vectors.clone(), torch.randn(1, 2, 50) + 3
    quantizer(batch)
    quantizer.update()
    torch.testing.assert_close(quantizer.codebook.vectors, before + 0.1 * (vectors_of(batch).mean(0) - before))


def test_a_high_decay_is_as_quick_at_first_as_a_low_one_and_nearer_to_the_means_at_last() -> None:
    start, paths = 0.35 * torch.randn(6, 2), []
    for decay in (0.9, 0.99):
        quantizer = EMAVectorQuantizer(2, 6, decay=decay, revival=0)
        quantizer.codebook.vectors.copy_(start)
        paths.append(experiments.follow(quantizer, 64, 400))
    low, high = paths
    assert torch.equal(low[:80], high[:80]) and not torch.equal(low[100], high[100])
    assert experiments.gap_to_means(high[-1]) < 0.8 * experiments.gap_to_means(low[-1])


# ---------------------------------------------------------------- commitment.md


def push_apart(commitment_weight: float, steps: int) -> list[float]:
    """Two numbers, -1 and 1, that share one code, an encoder that may give each any z_e, and a decoder that is the
    identity: the greatest |z_e| after each step of gradient descent."""
    x = torch.tensor([[[-1.0, 1.0]]])
    z_e = nn.Parameter(torch.zeros(1, 1, 2))
    quantizer = VectorQuantizer(1, 1, commitment_weight, revival=0)
    quantizer.codebook.vectors.data.zero_()
    optimizer, lengths = torch.optim.SGD([z_e, *quantizer.parameters()], 0.5), []
    for _ in range(steps):
        latent = quantizer(z_e)
        optimizer.zero_grad()
        ((latent.z - x).square().mean() + latent.loss).backward()
        optimizer.step()
        quantizer.update()
        lengths.append(float(z_e.detach().abs().max()))
    return lengths


def test_with_the_codebook_loss_alone_z_e_grows_by_the_same_amount_every_step_for_ever() -> None:
    growth = torch.tensor(push_apart(0.0, 250)).diff()
    torch.testing.assert_close(growth, torch.full((249,), 0.5))


@pytest.mark.parametrize("weight", [0.1, 0.25, 1.0])
def test_the_commitment_stops_z_e_at_the_pull_divided_by_its_weight(weight: float) -> None:
    assert push_apart(weight, 250)[-1] == pytest.approx(1 / weight, rel=1e-3)


@cache
def by_weight(commitment_weight: float) -> dict[str, float]:
    """What is measured after a run with this commitment."""
    history = experiments.train(EMAVectorQuantizer(8, 16, commitment_weight, 0.9, 0.0), 160, every=160).history
    return {name: values[-1] for name, values in history.items()}


def test_on_digits_the_length_of_z_e_falls_as_the_weight_of_the_commitment_rises() -> None:
    assert by_weight(0.0)["length"] > 2 * by_weight(0.25)["length"] > 4 * by_weight(64.0)["length"]


def test_on_digits_too_little_and_too_much_commitment_reconstruct_worse() -> None:
    assert min(by_weight(0.0)["mse"], by_weight(64.0)["mse"]) > 1.05 * by_weight(0.25)["mse"]


def test_on_digits_a_high_decay_costs_next_to_nothing_as_it_warms_up() -> None:
    low, high = (
        experiments.train(EMAVectorQuantizer(8, 16, decay=decay, revival=0), 100, every=100).history["mse"][-1]
        for decay in (0.9, 0.999)
    )
    assert low != high and high < 1.05 * low


def one_step(optimizer: type[torch.optim.Optimizer], codebook_weight: float, rate: float = 1e-2) -> Tensor:
    """How far one step moves the codes, [K, D]."""
    torch.manual_seed(0)
    quantizer, z_e = VectorQuantizer(4, 8, codebook_weight=codebook_weight, revival=0), torch.randn(2, 4, 30)
    before = quantizer.codebook.vectors.detach().clone()
    stepper = optimizer(quantizer.parameters(), lr=rate)  # type: ignore[call-arg]
    quantizer(z_e).loss.backward()
    stepper.step()
    return quantizer.codebook.vectors.detach() - before


def test_under_sgd_codebook_weight_is_a_learning_rate_of_the_codes() -> None:
    torch.testing.assert_close(one_step(torch.optim.SGD, 3.0), one_step(torch.optim.SGD, 1.0, 3e-2))


def test_under_adam_codebook_weight_changes_nothing() -> None:
    torch.testing.assert_close(one_step(torch.optim.Adam, 100.0), one_step(torch.optim.Adam, 1.0), atol=1e-6, rtol=0)


def test_without_the_codebook_loss_the_codebook_does_not_learn_under_straight_through() -> None:
    quantizer = VectorQuantizer(8, 64, revival=0)
    quantizer.codebook_weight = 0.0  # which the constructor refuses
    before = quantizer.codebook.vectors.detach().clone()
    run = experiments.train(quantizer, 10, initialise=False)
    assert torch.equal(run.quantizer.codebook.vectors.detach(), before)


# ---------------------------------------------------------------- rate.md


def test_kl_of_one_hot_to_uniform_is_log_k_whichever_code_it_is() -> None:
    one_hot = torch.eye(64)
    kl = nn.functional.kl_div(torch.full((64,), 1 / 64).log().expand(64, 64), one_hot, reduction="none").sum(1)
    torch.testing.assert_close(kl, torch.full((64,), math.log(64)))
    assert experiments.kl_to_uniform(one_hot) == pytest.approx(math.log(64))


def test_the_kl_of_a_nearest_code_is_no_part_of_the_loss() -> None:
    quantizer = VectorQuantizer(2, 6)
    latent = quantizer(quantizer.codebook.vectors.t()[None])  # z_e that are codes
    assert float(latent.kl) == pytest.approx(6 * math.log(6))
    assert float(latent.loss.detach()) == 0
    assert not latent.kl.requires_grad


def test_as_the_posterior_sharpens_its_kl_rises_to_log_k() -> None:
    logits = torch.randn(100, 64)
    kl = [experiments.kl_to_uniform((sharpness * logits).softmax(1)) for sharpness in (0.01, 0.1, 1, 10, 1e4)]
    assert kl == sorted(kl)
    assert kl[0] < 1e-3
    assert kl[-1] == pytest.approx(math.log(64), abs=1e-2)


def test_the_uniform_prior_costs_positions_times_log_k_and_a_learned_prior_less() -> None:
    run = experiments.train(EMAVectorQuantizer(8, 64, decay=0.9), 60, every=60)
    learned, unigram, bound = experiments.priors(run, 40)
    assert bound == pytest.approx(16 * math.log(64))
    assert learned[40] < unigram < bound


# ---------------------------------------------------------------- collapse.md


def usage_after(quantizer: Quantizer, steps: int = 80, initialise: bool = False) -> float:
    usage: float = experiments.train(quantizer, steps, initialise, every=steps).history["usage"][-1]
    return usage


def test_codes_far_from_the_data_stay_dead_without_a_cure() -> None:
    assert usage_after(experiments.long_codes(revival=0)) < 0.05


def test_initialisation_from_data_brings_codes_to_the_data() -> None:
    quantizer = experiments.long_codes(revival=0)
    assert usage_after(quantizer, initialise=True) > 0.2


def test_an_untrained_encoder_soon_leaves_the_codes_that_it_was_clustered_for() -> None:
    at_first, later = experiments.train(VectorQuantizer(8, 256, revival=0), 20).history["usage"]
    assert later < 0.4 < 0.9 < at_first


def test_revival_brings_codes_back_to_use() -> None:
    assert usage_after(experiments.long_codes(decay=0.9)) > 0.7


@pytest.mark.parametrize("kind", [EMAVectorQuantizer, VectorQuantizer])
def test_by_default_a_short_run_uses_its_codes(kind: type[EMAVectorQuantizer] | type[VectorQuantizer]) -> None:
    assert usage_after(kind(8, 128), 60, initialise=True) > 0.97  # 0.62 and 0.68 where the averages do not warm up


def test_the_entropy_loss_keeps_codes_in_use() -> None:
    off, on = (usage_after(IndexBackpropagationQuantizer(8, 128, entropy_weight=weight), 40) for weight in (0.0, 1.0))
    assert off < 0.05 < 0.15 < on


def test_a_step_moves_every_code_that_shares_a_map_and_only_the_winners_of_free_vectors() -> None:
    z_e = torch.randn(1, 8, 3)
    for quantizer in (SimVectorQuantizer(8, 64), VectorQuantizer(8, 64)):
        everything = torch.arange(64).view(1, 1, 64)
        latent, before = quantizer(z_e), quantizer.lookup(everything)
        latent.loss.backward()
        torch.optim.SGD(quantizer.parameters(), 0.1).step()
        changed = (quantizer.lookup(everything) != before).any(1).sum()
        assert int(changed) == (64 if isinstance(quantizer, SimVectorQuantizer) else len(latent.indices.unique()))


# ---------------------------------------------------------------- posterior_collapse.md


def test_the_collapse_that_the_page_tells_is_the_one_that_is_stored() -> None:
    stored = json.loads((ROOT / "benchmarks" / "results" / "posterior_collapse.json").read_text())
    page = (ROOT / "docs" / "concepts" / "posterior_collapse.md").read_text()
    vae, vq_vae = stored["VAE"], stored["VQ-VAE"]
    means, tokens, drawn, z = "posterior means", "histogram of tokens", "z drawn from the posterior", "z"
    wanted = [
        *((vae[name], vq_vae[name]) for name in ("nll_nats", "shuffled_z_nats", "kl_nats_training_prior")),
        *((100 * vae[when][means], 100 * vq_vae[when][tokens]) for when in ("trained", "untrained")),
        *((100 * vae[when][drawn], 100 * vq_vae[when][z]) for when in ("trained", "untrained")),
    ]
    table = [line.split("|")[2:4] for line in page.splitlines() if line.startswith("|")][2:]
    for cells, values in zip(table, wanted, strict=True):
        for cell, value in zip(cells, values, strict=True):
            told = cell.strip(" %").replace(",", "")
            assert value == pytest.approx(float(told), abs=0.51 * 10.0 ** -len(told.partition(".")[2]))
    assert vae["kl_nats_training_prior"] < 0.1 and abs(vae["shuffled_z_nats"]) < 1
    assert vq_vae["shuffled_z_nats"] > 1000 and vq_vae["nll_nats"] < vae["nll_nats"] - 70
    settings = stored["settings"]
    assert f"{settings['steps']:,} steps of {settings['batch']} pictures" in " ".join(page.split())


# ---------------------------------------------------------------- bottlenecks.md

TABLE, MEASURED = (ROOT / "docs" / "concepts" / "bottlenecks.md").read_text().split("## Which to choose")
ROWS = {name: line for line in TABLE.splitlines() if line.startswith("| ") for name in re.findall(r"`(\w+)`", line)[:1]}
DENSE = [
    GumbelSoftmaxQuantizer,
    StraightThroughGumbelQuantizer,
    GumbelMaxQuantizer,
    ImplicitMLEQuantizer,
    IndexBackpropagationQuantizer,
]
STORED = {  # numbers kept for the codes: D = 4, K = 64, d = 2, depth or heads 2
    VectorQuantizer(4, 64): 64 * 4,
    EMAVectorQuantizer(4, 64): 2 * 64 * 4,
    SimVectorQuantizer(4, 64): 64 * 4 + 4 * 4,
    CosineSimilarityQuantizer(VectorQuantizer(4, 64)): 64 * 4,
    ProjectedQuantizer(VectorQuantizer(2, 64), 4): 64 * 2 + 2 * 4 * 2 + 4 + 2,
    ResidualQuantizer(VectorQuantizer(4, 64), 2): 2 * 64 * 4,
    SharedResidualQuantizer(VectorQuantizer(4, 64), 2): 64 * 4,
    ProductQuantizer([VectorQuantizer(2, 64), VectorQuantizer(2, 64)]): 64 * 4,
    FiniteScalarQuantizer((4, 4, 4, 4)): 0,
    ResidualFiniteScalarQuantizer((4, 4, 4, 4), 2): 0,
    UniformScalarQuantizer(4, 1.0): 0,
    LookupFreeQuantizer(4): 0,
    BinarySphericalQuantizer(4): 0,
    **{kind(4, 64): 64 * 4 for kind in DENSE},
}


def name_of(value: object) -> str:
    return value.__name__ if isinstance(value, type) else type(value).__name__


def test_the_training_loop_of_the_page_trains_every_part() -> None:
    (loop,) = re.findall(r"```python\n(.*?)```", TABLE, re.DOTALL)
    names: dict[str, Any] = {"batches": torch.rand(20, 8, 3, 8, 12)}
    exec(loop, names)
    assert names["latent"].indices.shape == (8, 1, 2, 3) and int(names["quantizer"].codebook.updates) == 20
    weights = [names["encoder"].weight, names["decoder"].weight]
    assert all(bool(weight.grad.isfinite().all()) and bool(weight.grad.any()) for weight in weights)


def test_every_bottleneck_has_a_row() -> None:
    members = {
        name
        for name, value in vars(bottlenecks).items()
        if inspect.isclass(value) and issubclass(value, bottlenecks.Bottleneck) and not inspect.isabstract(value)
    }
    assert set(ROWS) == members


def test_what_was_measured_is_what_is_stored() -> None:
    cells = json.loads((ROOT / "benchmarks" / "results" / "bottlenecks.json").read_text())["cells"]
    rows = [line for line in MEASURED.splitlines() if line.startswith("| `")]
    assert len(rows) == len(cells) - 2  # but for an estimator, and one of two that are alike
    for row in rows:
        name, error, seconds = row.split("`")[1], *(row.split("|")[column].split(",")[0] for column in (2, -2))
        assert float(error) == pytest.approx(cells[name]["nmse"], abs=5.1e-4), name
        assert int(seconds) == pytest.approx(1e3 * cells[name]["seconds_a_step"], abs=0.51), name


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_rows_papers_are_those_of_the_docstrings(name: str) -> None:
    member = getattr(bottlenecks, name)
    told = (inspect.getmodule(member).__doc__ or "") + (inspect.getdoc(member) or "")
    links = re.findall(r"\]\((https://[^)\s]+)\)", ROWS[name])
    assert all(link in told for link in links)
    assert links or "https://" not in told


@pytest.mark.parametrize("quantizer", STORED, ids=name_of)
def test_the_codes_take_the_numbers_that_the_table_says(quantizer: Quantizer) -> None:
    kept = {name: value for name, value in quantizer.state_dict().items() if value.is_floating_point()}
    assert sum(value.numel() for name, value in kept.items() if not name.endswith("counts")) == STORED[quantizer]


@pytest.mark.parametrize("quantizer", STORED, ids=name_of)
def test_a_training_step_keeps_n_times_k_numbers_only_where_the_table_says_so(quantizer: Quantizer) -> None:
    largest, z_e = 0, torch.randn(4, 4, 500, requires_grad=True)

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        latent = quantizer(z_e)
        (latent.z.sum() + latent.loss).backward()
    dense = largest >= 2000 * 64
    assert dense == ("N·K" in ROWS[name_of(quantizer)])


# ---------------------------------------------------------------- the pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_and_picture_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
    for name in re.findall(r"`(test_\w+)`", text):
        assert any(f"def {name}(" in test.read_text() for test in (ROOT / "tests").rglob("test_*.py")), name


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "concepts" / "README.md").read_text()
    assert all(f"({page.name})" in index for page in PAGES if page.name != "README.md")


def test_every_page_has_its_figure_and_small() -> None:
    for page in PAGES:
        if page.name != "README.md":
            picture = page.parent / "images" / f"{page.stem}.png"
            assert f"images/{picture.name})" in page.read_text()
            assert picture.stat().st_size < 150_000
