"""Every check speaks up beyond its threshold and is content just before it."""

from __future__ import annotations

from typing import Any

import pytest

from vqkit.doctor import Finding, as_text, diagnose
from vqkit.doctor.log import Rows
from vqkit.signal import Layout

LAYOUT = Layout(((4, 4),), ((64,),))
TWO_LEVELS = Layout(((2, 2), (4, 4)), ((64,), (64, 32)))


def numbers(**changed: Any) -> dict[str, Any]:
    """What a healthy split has."""
    return {
        "samples": 1000,
        "mse": 0.01,
        "nats_per_token": 2.0,
        "unigram_nats_per_token": 4.0,
        "usage_of_codebooks": [[1.0]],
        "perplexity_of_codebooks": [[50.0]],
    } | changed


def log(losses: list[float], **columns: list[float]) -> Rows:
    """A row for each loss, with a share of waiting and other columns beside it."""
    columns = {"loss": losses, "waiting_for_data": [0.05] * len(losses)} | columns
    names = ["step", *columns]
    return [dict(zip(names, cells, strict=True)) for cells in zip(range(len(losses)), *columns.values(), strict=True)]


FLAT = [1.0, 0.5, 0.3] + [0.2] * 17


def found(
    validation: dict[str, Any] | None = None,
    tokenizer: Rows | None = None,
    prior: Rows | None = None,
    train: dict[str, Any] | None = None,
    layout: Layout = LAYOUT,
) -> tuple[Finding, ...]:
    metrics = {
        "tokenizer": log(FLAT) if tokenizer is None else tokenizer,
        "prior": log(FLAT) if prior is None else prior,
    }
    return diagnose({"train": numbers(**train or {}), "validation": numbers(**validation or {})}, layout, metrics)


def ill(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.check for finding in findings if finding.remedy]


def test_a_healthy_run_is_told_so_with_its_numbers() -> None:
    findings = found()
    assert not ill(findings) and {finding.check for finding in findings} == {
        "codebook collapse",
        "dead codes",
        "useless prior",
        "overfitting",
        "loss at the end",
        "waiting for data",
    }
    text = as_text(findings)
    assert text.startswith("All is well:") and "50.0 of 64 codes, over 16,000 held-out tokens" in text


def test_what_is_ill_is_told_first_with_its_remedy() -> None:
    text = as_text(found({"perplexity_of_codebooks": [[2.0]]}))
    assert text.startswith("To be changed (1 of 9 findings):\n- The perplexity of the tokenizer is 2.0 of 64 codes")
    assert text.index("revival") < text.index("The rest is well:") < text.index("nats")


@pytest.mark.parametrize(
    ("check", "well", "ill_values"),
    [
        ("codebook collapse", {"perplexity_of_codebooks": [[16.8]]}, {"perplexity_of_codebooks": [[16.7]]}),
        ("dead codes", {"usage_of_codebooks": [[0.81]]}, {"usage_of_codebooks": [[0.79]]}),
        ("useless prior", {"unigram_nats_per_token": 2.03}, {"unigram_nats_per_token": 2.01}),
        ("overfitting", {"mse": 0.0149}, {"mse": 0.0151}),
        ("overfitting", {"nats_per_token": 2.19}, {"nats_per_token": 2.21}),
    ],
)
def test_numbers_of_the_validation_split(check: str, well: dict[str, Any], ill_values: dict[str, Any]) -> None:
    assert ill(found(well)) == []
    assert ill(found(ill_values)) == [check]


def test_no_more_is_asked_of_a_codebook_than_its_tokens_can_show() -> None:
    few = {"samples": 2, "perplexity_of_codebooks": [[20.0]], "usage_of_codebooks": [[0.4]]}  # 32 tokens, 64 codes
    assert "dead codes" not in {finding.check for finding in found(few)}
    assert ill(found(few)) == []
    assert ill(found(few | {"perplexity_of_codebooks": [[3.0]]})) == ["codebook collapse"]


@pytest.mark.parametrize(
    ("validation", "verdict"),
    [
        ({}, None),
        (
            {"kl_nats_training_prior": 40.0, "nominal_bits": 57.7},
            None,
        ),  # what a quantizer costs says nothing of its use
        ({"kl_nats_training_prior": 0.70}, "well"),
        ({"kl_nats_training_prior": 0.69}, "ill"),
        ({"kl_nats_training_prior": 9.0, "shuffled_z_nats": 0.70}, "well"),
        ({"kl_nats_training_prior": 9.0, "shuffled_z_nats": 0.69}, "ill"),
        ({"kl_nats_training_prior": 40.0, "shuffled_z_nats": 0.69, "nominal_bits": 57.7}, "ill"),
        ({"kl_nats_training_prior": None, "shuffled_z_nats": -0.01}, "ill"),
        ({"kl_nats_training_prior": 9.0, "shuffled_z_nats": None}, "well"),
    ],
)
def test_a_z_that_costs_or_saves_nothing_is_a_collapsed_posterior(
    validation: dict[str, Any], verdict: str | None
) -> None:
    findings = [finding for finding in found(validation) if finding.check == "posterior collapse"]
    assert ["ill" if finding.remedy else "well" for finding in findings] == ([] if verdict is None else [verdict])
    for remedy in (finding.remedy for finding in findings if finding.remedy):
        assert ("training.max_steps" if "nominal_bits" in validation else "free_bits") in remedy
    for finding in findings:
        assert all(
            f"{number:.2f} nats" in finding.sentence for key, number in validation.items() if "nats" in key and number
        )


@pytest.mark.parametrize("key", ["kl_weight", "kl_weight_0"])
@pytest.mark.parametrize(("last", "checks"), [(0.9, ["KL warm-up"]), (0.8, [])])
def test_a_kl_that_was_not_charged_in_full_is_told(key: str, last: float, checks: list[str]) -> None:
    rows = log([1.0] * 9, **{key: [0.8] * 8 + [last]})
    assert [each for each in ill(found(tokenizer=rows)) if each == "KL warm-up"] == checks


def test_a_binary_codebook_collapses_too() -> None:
    sizes = (2,) * 3
    books = {"usage_of_codebooks": [[1.0] * 3]}
    assert ill(found(books | {"perplexity_of_codebooks": [[2.0, 1.26, 2.0]]}, layout=Layout(((4, 4),), (sizes,)))) == []
    findings = found(books | {"perplexity_of_codebooks": [[2.0, 1.24, 2.0]]}, layout=Layout(((4, 4),), (sizes,)))
    assert ill(findings) == ["codebook collapse"] and "codebook 2 of the tokenizer" in findings[0].sentence


def test_a_level_names_its_worst_codebook() -> None:
    findings = found(
        {"perplexity_of_codebooks": [[50.0], [50.0, 2.0]], "usage_of_codebooks": [[1.0], [0.5, 0.95]]},
        layout=TWO_LEVELS,
    )
    first, second = (finding for finding in findings if finding.remedy)
    assert (first.check, first.level) == ("codebook collapse", 2)
    assert "codebook 2 of level 2 is 2.0 of 32 codes" in first.sentence
    assert (second.check, second.level) == ("dead codes", 2)
    assert "codes of codebook 1 of level 2, 50.0% " in second.sentence


@pytest.mark.parametrize(("perplexity", "check"), [(1.11, "codebook collapse"), (1.09, "unused level")])
def test_a_level_of_one_code_is_not_used(perplexity: float, check: str) -> None:
    books = {"perplexity_of_codebooks": [[perplexity], [50.0, 30.0]], "usage_of_codebooks": [[1.0], [1.0, 1.0]]}
    (finding,) = (finding for finding in found(books, layout=TWO_LEVELS) if finding.remedy)
    assert (finding.check, finding.level) == (check, 1)
    assert ill(found({"perplexity_of_codebooks": [[perplexity]]})) == ["codebook collapse"]  # the only level is needed


def test_a_prior_over_tokens_that_say_nothing_is_not_blamed() -> None:
    nothing = {"nats_per_token": 0.09, "unigram_nats_per_token": 0.09}
    assert ill(found(nothing, train=nothing)) == []
    blamed = {"nats_per_token": 0.11, "unigram_nats_per_token": 0.11}
    assert ill(found(blamed, train=blamed)) == ["useless prior"]


def test_a_run_without_a_prior_is_judged_by_the_rest() -> None:
    missing = {"nats_per_token": None}
    findings = found(missing, train=missing, prior=[])
    assert not ill(findings) and not any("prior" in finding.sentence for finding in findings)


@pytest.mark.parametrize(
    ("encoder", "codes", "names"),
    [
        ([1.0] * 12 + [1.9] * 8, [1.0] * 20, []),
        ([1.0] * 12 + [2.1] * 8, [1.0] * 20, ["norms apart"]),
        ([1.0] * 20, [1.0] * 12 + [2.1] * 8, ["norms apart"]),
        ([5.0] * 12 + [1.0] * 8, [1.0] * 20, []),  # they came together
        ([1.0] * 20, [0.0] * 20, []),
    ],
)
def test_norms_that_grow_apart(encoder: list[float], codes: list[float], names: list[str]) -> None:
    assert ill(found(tokenizer=log(FLAT, z_e_norm=encoder, code_norm=codes))) == names


def test_norms_are_compared_within_each_level() -> None:
    same, longer = [1.0] * 20, [1.0] * 12 + [3.0] * 8
    rows = log(FLAT, z_e_norm_0=same, code_norm_0=same, z_e_norm_1=longer, code_norm_1=same)
    books = {"perplexity_of_codebooks": [[50.0], [50.0, 30.0]], "usage_of_codebooks": [[1.0], [1.0, 1.0]]}
    (finding,) = (finding for finding in found(books, tokenizer=rows, layout=TWO_LEVELS) if finding.remedy)
    assert (finding.check, finding.level) == ("norms apart", 2)


@pytest.mark.parametrize(("layout", "level"), [(LAYOUT, ""), (TWO_LEVELS, "_1")])
def test_the_worst_part_of_a_level_is_told_not_the_mean_that_hides_it(layout: Layout, level: str) -> None:
    """One of eight stages whose codes are ten times too short."""
    same, hidden = [1.0] * 20, {f"z_e_norm{level}": [1.2] * 20, f"code_norm{level}": [1.0] * 20}
    stages = {f"z_e_norm_{stage}{level}": same for stage in range(8)}
    codes = {f"code_norm_{stage}{level}": [0.1] * 20 if stage == 5 else same for stage in range(8)}
    of_levels = {"perplexity_of_codebooks": [[50.0], [50.0, 30.0]], "usage_of_codebooks": [[1.0], [1.0, 1.0]]}
    findings = found(of_levels if level else None, tokenizer=log(FLAT, **stages, **codes, **hidden), layout=layout)
    (finding,) = (finding for finding in findings if finding.remedy)
    assert finding.check == "norms apart" and "part 6 of" in finding.sentence and "10.00 times" in finding.sentence


@pytest.mark.parametrize(
    ("last", "remedy"),
    [
        (0.23, None),
        (0.25, "Lower prior_training.learning_rate"),
        (0.17, None),
        (0.15, "raise prior_training.max_steps"),
    ],
)
def test_the_loss_at_the_end(last: float, remedy: str | None) -> None:
    """It fell from 1 to 0.2 before, so that 0.04 is the most that noise explains."""
    findings = found(prior=log([*FLAT[:16], *[last] * 4]))
    (finding,) = (f for f in findings if f.check == "loss at the end" and "prior" in f.sentence)
    assert finding.remedy is None if remedy is None else remedy in str(finding.remedy)
    assert ("rose" if last > 0.2 else "fell") in finding.sentence


def test_a_prior_that_overfits_is_not_trained_for_longer() -> None:
    falling = [2.0 - 0.05 * step for step in range(20)]
    assert ill(found(prior=log(falling))) == ["loss at the end"]
    assert ill(found({"nats_per_token": 3.0}, prior=log(falling))) == ["overfitting"]


@pytest.mark.parametrize(("best", "told"), [(9, True), (19, False)])
def test_overfitting_tells_the_best_step_where_it_was_passed(best: int, told: bool) -> None:
    validations = [3.0] * 20
    validations[best] = 2.5
    findings = found({"nats_per_token": 3.0}, prior=log(FLAT, validation_nats_per_token=validations))
    (finding,) = (finding for finding in findings if finding.remedy)
    assert ("best at step 9:" in str(finding.remedy)) == told


def test_a_short_log_is_not_judged() -> None:
    assert ill(found(tokenizer=log([1.0] * 8 + [9.0]))) == []
    assert ill(found(tokenizer=log([1.0] * 9 + [9.0]))) == ["loss at the end"]


@pytest.mark.parametrize(("share", "names"), [(0.19, []), (0.21, ["waiting for data"])])
def test_waiting_for_data(share: float, names: list[str]) -> None:
    assert ill(found(tokenizer=log(FLAT, waiting_for_data=[share] * 20))) == names


def test_a_run_without_tokens_has_no_codebooks_to_be_ill() -> None:
    train, validation = {"samples": 1000, "mse": 0.01}, {"samples": 1000, "mse": 0.02}
    metrics = {"tokenizer": log(FLAT), "prior": []}
    findings = diagnose({"train": train, "validation": validation}, Layout((), ()), metrics)
    assert [finding.check for finding in findings] == ["overfitting", "loss at the end", "waiting for data"]
    assert ill(findings) == ["overfitting"]


def test_an_evaluation_without_codebooks_is_refused() -> None:
    older = numbers()
    del older["perplexity_of_codebooks"]
    with pytest.raises(ValueError, match="vqkit evaluate RUN"):
        diagnose({"train": older, "validation": older}, LAYOUT, {"tokenizer": [], "prior": []})


@pytest.mark.parametrize(
    ("ratio", "copies", "checks"),
    [(1.04, 0.5, []), (0.76, 0.5, []), (0.74, 0.5, ["memorisation"]), (0.5, 0.5, ["memorisation"]), (0.8, 0.81, [])],
)
def test_samples_that_are_copies_are_found(ratio: float, copies: float, checks: list[str]) -> None:
    measured = {"memorisation": {"ratio": ratio, "ratio_of_copies": copies}}
    splits = {"train": numbers(), "validation": numbers(), "generation": measured}
    findings = diagnose(splits, LAYOUT, {"tokenizer": [], "prior": []})
    assert ill(findings) == checks
    told = [finding.sentence for finding in findings if finding.check == "memorisation"]
    assert len(told) == (copies <= 0.8)  # a coarse decoder's copies cannot be told from new pictures
    assert all(f"{ratio:.2f} times as far" in sentence for sentence in told)


def test_no_ratio_no_finding() -> None:
    for measured in ({}, {"memorisation": {"ratio": None, "ratio_of_copies": None}}):
        splits = {"train": numbers(), "validation": numbers(), "generation": measured}
        findings = diagnose(splits, LAYOUT, {"tokenizer": [], "prior": []})
        assert "memorisation" not in {finding.check for finding in findings}
