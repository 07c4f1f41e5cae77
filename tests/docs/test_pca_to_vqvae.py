"""What docs/concepts/pca_to_vqvae.md states of its runs on scenes and of benchmarks/families.py."""

from __future__ import annotations

import math

import pytest
from drawing import BENCHMARKS, HERE, MEASURED, stored
from pca_to_vqvae import COLUMNS, DATA, families_table, likelihoods_table, scenes_table

PAGE = (HERE / "pca_to_vqvae.md").read_text()
STORED = stored(MEASURED / "pca_to_vqvae.json")
FAMILIES = stored(BENCHMARKS / "families.json")


def test_the_table_of_scenes_is_what_is_stored() -> None:
    assert scenes_table(STORED) in PAGE


def test_the_table_of_real_pictures_is_what_is_stored() -> None:
    assert families_table(FAMILIES) in PAGE


def test_a_mixture_costs_fewest_bits_and_has_worse_means_than_the_densities() -> None:
    likelihoods = stored(BENCHMARKS / "likelihoods.json")
    assert likelihoods_table(likelihoods) in PAGE
    for data in DATA:
        found = {name: row for name, row in likelihoods[data].items() if name.startswith("VQ-VAE")}
        bits = {name: row["bits_per_dim_learned_prior"] for name, row in found.items()}
        assert min(bits, key=bits.__getitem__) == "VQ-VAE, mixture"
        assert found["VQ-VAE, mixture"]["psnr"] < min(
            found[f"VQ-VAE, {name}"]["psnr"] for name in ("Gaussian", "Laplace")
        )
    colour = likelihoods["cifar10"]
    assert colour["VAE, mixture"]["psnr"] < colour["VQ-VAE, mixture"]["psnr"] < 17
    second = sorted(found := likelihoods["fashion-mnist"], key=lambda name: found[name]["bits_per_dim_training_prior"])
    assert [name for name in second if name.startswith("VQ")][:2] == ["VQ-VAE, mixture", "VQ-VAE, categorical"]
    free, density = (colour[f"VQ-VAE, {name}"]["bits_per_dim_learned_prior"] for name in ("categorical", "Laplace"))
    assert free > density


def test_a_learned_prior_brings_the_vq_vae_near_the_vae_and_below_it_on_fashion_mnist() -> None:
    learned = {data: found["VQ-VAE"]["bits_per_dim_learned_prior"] for data, found in FAMILIES.items() if data in DATA}
    vae = {data: FAMILIES[data]["VAE"]["bits_per_dim_training_prior"] for data in DATA}
    assert learned["fashion-mnist"] < vae["fashion-mnist"] and learned["cifar10"] < 1.04 * vae["cifar10"]
    for data in DATA:
        assert learned[data] < FAMILIES[data]["VQ-VAE"]["bits_per_dim_training_prior"]


def test_a_second_finer_level_is_worth_more_than_a_second_code() -> None:
    for data, gain in (("fashion-mnist", 1.95), ("cifar10", 0.3)):
        one, two, residual = (FAMILIES[data][name] for name in ("VQ-VAE", "VQ-VAE-2", "residual VQ"))
        assert two["parameters"] < residual["parameters"] and two["estimated_bits"] < residual["estimated_bits"]
        share = (two["estimated_bits"] - one["estimated_bits"]) / (residual["estimated_bits"] - one["estimated_bits"])
        line = (1 - share) * one["psnr"] + share * residual["psnr"]
        assert two["psnr"] == pytest.approx(line + gain, abs=0.05)
        assert two["bits_per_dim_learned_prior"] < residual["bits_per_dim_learned_prior"]


def test_the_label_is_worth_at_most_so_much_a_dimension() -> None:
    assert math.log2(10) < 3.33 and math.log2(10) / 784 == pytest.approx(0.004, abs=0.0003)


def test_the_table_of_real_pictures_has_a_row_a_model_and_leaves_out_what_a_model_has_not() -> None:
    cell = {key: 1234.5678 for key, _ in COLUMNS.values()}
    families = {data: {"PCA": {**cell, "nominal_bits": None}, "VQ-VAE": cell} for data in DATA}
    _, _, pca, vq_vae, *_ = families_table(families).splitlines()
    assert pca == "| Fashion-MNIST | PCA | 1,234.56780 | 1,234.57 |  | 1,235 | 1,234.568 | 1,234.568 | 1,235 | 1,235 |"
    assert vq_vae.count("1,235") == 4


def test_a_net_comes_to_be_just_ahead_of_the_best_linear_code() -> None:
    assert STORED["PCA"]["psnr"] < STORED["AE"]["psnr"] < STORED["PCA"]["psnr"] + 0.5


def test_from_points_to_distributions_to_codes_the_error_hardly_changes_and_the_rate_falls() -> None:
    ae, vae, vq_vae = (STORED[name] for name in ("AE", "VAE", "VQ-VAE"))
    assert ae["psnr"] > vae["psnr"] > vq_vae["psnr"] > ae["psnr"] - 0.9
    assert ae["training prior"] is None
    bits = vae["training prior"], vq_vae["training prior"], vq_vae["transformer"]
    assert "none, then {:.0f} bits, then {:.0f}, and {:.0f}\nonce".format(*bits) in PAGE


def test_two_codes_a_position_are_nearer_at_twice_the_nominal_rate() -> None:
    one, two = STORED["VQ-VAE"], STORED["residual VQ"]
    assert two["psnr"] > one["psnr"]
    assert two["training prior"] == pytest.approx(2 * one["training prior"])


def test_narrower_nets_of_two_levels_are_still_behind_one() -> None:
    assert STORED["VQ-VAE-2"]["psnr"] < STORED["VQ-VAE"]["psnr"]


def test_a_learned_prior_leaves_about_a_third_of_what_tokens_cost() -> None:
    for name in ("VQ-VAE", "residual VQ", "FSQ", "VQ-VAE-2"):
        assert 0.25 < STORED[name]["transformer"] / STORED[name]["unigram"] < 0.4
