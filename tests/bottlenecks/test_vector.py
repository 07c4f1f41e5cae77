"""Vector quantization against numbers worked out by hand, and against the defects that others have."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from vqkit.bottlenecks import EMAVectorQuantizer, NotFinite, ResidualQuantizer, VectorQuantizer, codebook, k_means
from vqkit.bottlenecks.codebook import Codebook

Either = VectorQuantizer | EMAVectorQuantizer
BOTH = pytest.mark.parametrize("kind", [VectorQuantizer, EMAVectorQuantizer])


def with_codes(quantizer: Either, codes: list[list[float]]) -> Either:
    quantizer.codebook.vectors.data.copy_(torch.tensor(codes))
    return quantizer


def step(quantizer: Either, vectors: Tensor) -> Tensor:
    """One training step on vectors [n, D]; returns their indices [n]."""
    indices: Tensor = quantizer(vectors.t()[None]).indices
    quantizer.update()
    return indices.flatten()


# ---------------------------------------------------------------- gradients

CODES = [[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]
Z_E = torch.tensor([[[1.0, 3.0, 0.5, 0.0], [0.0, 1.0, -0.5, 3.0]]])  # [1, 2, 4]: codes 0, 1, 0, 2
NEAREST = torch.tensor([[[0.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]])


@BOTH
def test_the_decoders_gradient_reaches_z_e_as_the_identity_and_no_code(kind: type[Either]) -> None:
    quantizer, z_e = with_codes(kind(2, 3), CODES), Z_E.clone().requires_grad_()
    gradient = torch.randn(1, 2, 4)
    latent = quantizer(z_e)
    assert torch.equal(latent.z, NEAREST)
    latent.z.backward(gradient)
    assert torch.equal(z_e.grad, gradient)
    assert quantizer.codebook.vectors.grad is None


@BOTH
def test_the_commitment_pulls_z_e_to_its_code(kind: type[Either]) -> None:
    quantizer, z_e = with_codes(kind(2, 3, commitment_weight=0.3), CODES), Z_E.clone().requires_grad_()
    loss = quantizer(z_e).loss
    loss.backward()
    torch.testing.assert_close(z_e.grad, 2 * 0.3 * (Z_E - NEAREST) / 8)
    mean_square = (Z_E - NEAREST).square().mean()
    weight = 0.3 + getattr(quantizer, "codebook_weight", 0.0)
    torch.testing.assert_close(loss.detach(), weight * mean_square)


def test_the_codebook_loss_pulls_each_code_to_what_it_wins() -> None:
    quantizer = with_codes(VectorQuantizer(2, 3, commitment_weight=0.0, codebook_weight=0.7), CODES)
    z_e = Z_E.clone().requires_grad_()
    quantizer(z_e).loss.backward()
    assert torch.equal(z_e.grad, torch.zeros_like(z_e))  # the codebook loss does not move the encoder
    quantizer.codebook.vectors.grad = None
    quantizer.commitment_weight = 9.0  # nor does the commitment move a code
    quantizer(z_e).loss.backward()
    pulls = [[-1.0 - 0.5, 0.0 + 0.5], [4.0 - 3.0, 0.0 - 1.0], [0.0, 4.0 - 3.0]]  # the sum of e - z_e
    torch.testing.assert_close(quantizer.codebook.vectors.grad, 2 * 0.7 * torch.tensor(pulls) / 8)


def test_the_moving_average_has_no_codebook_loss_and_no_parameter() -> None:
    quantizer = with_codes(EMAVectorQuantizer(2, 3, commitment_weight=0.0), CODES)
    assert quantizer(Z_E).loss.item() == 0
    assert not list(quantizer.parameters())


@pytest.mark.parametrize("stages", [1, 2])
def test_the_assignment_has_the_gradient_of_codes_that_follow_z_e(stages: int) -> None:
    """Beside codes that are written as the means of what they win; so the whole of z_e moved changes nothing."""
    plain = EMAVectorQuantizer(3, 5)
    quantizer = plain if stages == 1 else ResidualQuantizer(plain, stages)
    z_e = torch.randn(40, 3, 6, requires_grad=True)
    parts = [plain] if stages == 1 else [*quantizer.parts]
    residual, wanted = z_e.movedim(1, -1).reshape(-1, 3), []
    for part in parts:
        part.initialise([residual.detach()])
        for _ in range(100):  # until they are the means of what they win
            indices = part.codebook.nearest(residual.detach())
            means = torch.stack([residual[indices == k].mean(0) for k in range(5)])
            part.codebook.vectors.copy_(means.detach())
        distances = (residual[:, None] - means).square().sum(2)
        wanted.append((-distances).log_softmax(1).view(40, 6, 5).movedim(2, 1))
        residual = residual - means[indices]
    found = quantizer.assignment(z_e)
    torch.testing.assert_close(found, torch.stack(wanted, 1))
    costs = torch.rand(found.shape)
    (gradient,) = torch.autograd.grad((found.exp() * costs).sum(), z_e)
    (by_hand,) = torch.autograd.grad((torch.stack(wanted, 1).exp() * costs).sum(), z_e)
    torch.testing.assert_close(gradient, by_hand, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(gradient.mean((0, 2)), torch.zeros(3), atol=1e-5, rtol=0)


def test_the_weight_does_not_depend_on_the_batch_size() -> None:
    quantizer = with_codes(VectorQuantizer(2, 3), CODES)
    torch.testing.assert_close(quantizer(Z_E.repeat(10, 1, 1)).loss, quantizer(Z_E).loss)


def test_half_precision_gets_its_gradient_back() -> None:
    z_e = Z_E.bfloat16().requires_grad_()
    with_codes(VectorQuantizer(2, 3), CODES)(z_e).z.sum().backward()
    assert torch.equal(z_e.grad, torch.ones_like(z_e))


# ---------------------------------------------------------------- the moving average


def test_the_first_update_averages_what_a_code_wins_with_the_code_itself() -> None:
    quantizer = with_codes(EMAVectorQuantizer(2, 3, revival=0), CODES)
    step(quantizer, Z_E[0, :, :3].t())
    torch.testing.assert_close(quantizer.codebook.vectors, torch.tensor([[0.5, -0.5 / 3], [3.5, 0.5], [0.0, 4.0]]))
    torch.testing.assert_close(quantizer.codebook.counts, torch.tensor([3.0, 2.0, 1.0]))
    assert int(quantizer.codebook.updates) == 1


def test_later_updates_are_a_moving_average_by_the_decay() -> None:
    quantizer = with_codes(EMAVectorQuantizer(2, 2, decay=0.75, revival=0), [[0.0, 0.0], [9.0, 9.0]])
    quantizer.codebook.counts.fill_(1.0)
    quantizer.codebook.updates.fill_(1000)  # long after the decay has warmed up
    quantizer.sums.copy_(quantizer.codebook.vectors)
    step(quantizer, torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    counts, sums = 0.75 * 1 + 0.25 * 2, 0.25 * torch.tensor([1.0, 2.0])
    torch.testing.assert_close(quantizer.codebook.counts, torch.tensor([counts, 0.75]))
    torch.testing.assert_close(quantizer.codebook.vectors, torch.stack([sums / counts, torch.tensor([9.0, 9.0])]))


@BOTH
def test_the_decay_grows_with_the_updates_up_to_its_own(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 2, decay=0.5, revival=0), [[0.0, 0.0], [9.0, 9.0]])
    counts, sums = torch.ones(2), quantizer.codebook.vectors.detach().clone()
    for n in range(12):
        data = torch.randn(5, 2) + 9 * torch.randint(2, (5, 1))
        indices = step(quantizer, data)
        wins, won = torch.bincount(indices, minlength=2), torch.zeros(2, 2).index_add(0, indices, data)
        decay = min(0.5, (1 + n) / (10 + n))
        counts = decay * counts + (1 - decay) * wins if n else counts + wins
        sums = decay * sums + (1 - decay) * won if n else sums + won
        torch.testing.assert_close(quantizer.codebook.counts, counts)
        if isinstance(quantizer, EMAVectorQuantizer):
            torch.testing.assert_close(quantizer.codebook.vectors, sums / counts[:, None])


def test_codes_converge_to_the_means_of_what_they_win() -> None:
    means = torch.tensor([[3.0, 0.0], [-3.0, 1.0], [0.0, -4.0]])
    data = (means[:, None] + 0.3 * torch.randn(3, 40, 2)).flatten(0, 1)
    quantizer = with_codes(EMAVectorQuantizer(2, 3, decay=0.9), [[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0]])
    for _ in range(200):
        indices = step(quantizer, data)
    assert torch.equal(indices, torch.arange(3).repeat_interleave(40))
    torch.testing.assert_close(quantizer.codebook.vectors, data.view(3, 40, 2).mean(1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(quantizer.codebook.counts, torch.full((3,), 40.0))


def test_a_code_that_wins_nothing_for_very_long_keeps_its_vector() -> None:
    quantizer = with_codes(EMAVectorQuantizer(1, 2, revival=0), [[0.0], [100.0]])
    book, vectors, winners = quantizer.codebook, torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    for _ in range(12_000):
        before = {name: value.clone() for name, value in quantizer.state_dict().items() if value.is_floating_point()}
        book.see(vectors, winners)
        quantizer.update()
    for name, value in before.items():  # another update changes nothing, so neither do 100,000
        assert torch.equal(quantizer.state_dict()[name], value), name
    torch.testing.assert_close(book.vectors[1], torch.tensor([100.0]), atol=0.1, rtol=0)
    assert all(bool(value.isfinite().all()) for value in quantizer.state_dict().values())
    step(quantizer, torch.tensor([[100.0]]))  # and it still learns
    assert float(book.vectors[1]) == pytest.approx(100.0, abs=0.1) and float(book.counts[1]) > 0


# ---------------------------------------------------------------- revival


def cluster(n: int = 64) -> Tensor:
    """Data far from every code but one."""
    return 0.1 * torch.randn(n, 2) + 1.0


def far_codes() -> list[list[float]]:
    return [[1.0, 1.0], *([50.0 + i, 50.0] for i in range(7))]


@BOTH
def test_dead_codes_are_revived_by_one_update_and_stay_alive(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 8, decay=0.9, revival=0.1), far_codes())
    book = quantizer.codebook
    for _ in range(60):
        step(quantizer, cluster())
        if not bool((book.vectors.detach() > 10).any()):
            break
    else:
        pytest.fail("a dead code was never revived")
    for _ in range(300):  # the moving sums must not bring the dead vectors back
        step(quantizer, cluster())
        assert not bool((book.vectors.detach() > 10).any())
    assert len(quantizer(cluster(2000).t()[None]).indices.unique()) == 8


@BOTH
def test_a_revived_code_has_vector_count_and_sum_reset_together(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 3, decay=0.9, revival=0.1), [[1.0, 1.0], [1.1, 1.1], [50.0, 50.0]])
    book = quantizer.codebook
    step(quantizer, cluster())
    book.vectors.data[2], book.counts[2] = 50.0, 0.0
    if isinstance(quantizer, EMAVectorQuantizer):
        quantizer.sums[2] = 0.0
    data = cluster()
    step(quantizer, data)
    revived = book.vectors[2].detach()
    assert bool((data == revived).all(1).any())  # one of the vectors of this step
    assert float(book.counts[2]) > 0.1 * float(book.counts.mean())  # above the threshold: not dead again at once
    if isinstance(quantizer, EMAVectorQuantizer):
        torch.testing.assert_close(quantizer.sums[2], revived * book.counts[2])
    step(quantizer, data + 100.0 * (data != revived))  # it wins only itself
    torch.testing.assert_close(book.vectors[2].detach(), revived)


@BOTH
def test_revival_0_leaves_dead_codes_where_they_are(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 8, decay=0.9, revival=0.0), far_codes())
    for _ in range(100):
        step(quantizer, cluster())
    torch.testing.assert_close(quantizer.codebook.vectors[1:].detach(), torch.tensor(far_codes())[1:])


@BOTH
def test_revival_draws_the_same_again_from_the_same_state(kind: type[Either]) -> None:
    vectors = []
    for seed in (1, 2):  # of the global generator, which must not matter
        quantizer, data = with_codes(kind(2, 8), far_codes()), torch.linspace(0, 1, 64).view(32, 2)
        torch.manual_seed(seed)
        for _ in range(5):
            quantizer.codebook.counts[3:] = 0.0
            step(quantizer, data)
        vectors.append(quantizer.codebook.vectors.detach().clone())
    assert torch.equal(*vectors)


@BOTH
def test_a_dead_code_waits_where_a_step_has_no_vectors(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 3), [[1.0, 1.0], [1.1, 1.1], [50.0, 50.0]])
    step(quantizer, cluster())
    quantizer.codebook.vectors.data[2], quantizer.codebook.counts[2] = 50.0, 0.0
    quantizer(cluster().t()[None], torch.zeros(1, 64, dtype=torch.bool))
    quantizer.update()
    assert bool(quantizer.codebook.vectors.isfinite().all())
    step(quantizer, cluster())
    assert not bool((quantizer.codebook.vectors[2] > 10).any())


# ---------------------------------------------------------------- initialisation


def stream(count: int, n: int, dim: int = 2, centre: float = 5.0) -> Iterator[Tensor]:
    for seed in range(count):
        yield torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) + centre


@BOTH
def test_initialisation_takes_more_codes_than_a_batch_holds(kind: type[Either]) -> None:
    quantizer = kind(2, 50)
    quantizer.initialise(stream(20, 30))
    codes = quantizer.codebook.vectors.detach()
    assert bool(codes.isfinite().all()) and float((codes.mean(0) - 5).abs().max()) < 1
    assert len(quantizer.eval()(torch.cat(list(stream(20, 30))).t()[None]).indices.unique()) == 50


@BOTH
def test_initialisation_is_k_means(kind: type[Either]) -> None:
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    data = (centres[:, None] + 0.1 * torch.randn(3, 100, 2)).flatten(0, 1)
    quantizer = kind(2, 3)
    quantizer.initialise([data[torch.randperm(300)]])
    codes = quantizer.codebook.vectors.detach()
    torch.testing.assert_close(codes[torch.cdist(centres, codes).argmin(1)], data.view(3, 100, 2).mean(1))


@BOTH
def test_initialisation_stops_reading_when_it_has_enough(kind: type[Either]) -> None:
    read = []

    def endless() -> Iterator[Tensor]:
        for part in stream(10_000, 64):
            read.append(1)
            yield part

    kind(2, 4).initialise(endless())
    assert len(read) == 4


@BOTH
def test_initialisation_of_a_large_codebook_takes_fewer_vectors_a_code(
    kind: type[Either], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(k_means, "_MANY_POINTS", 512)
    monkeypatch.setattr(k_means, "k_means", lambda points, k: taken.append(len(points)) or points[:k])
    for codes, n in [(4, 64), (16, 64), (16, 10_000), (400, 64)]:
        kind(2, codes).initialise(stream(10_000, n))
    assert taken == [256, 512, 527, 832]  # 64 a code; no more than 512, also of a long part; 2 a code at least


def candidates(quantizer: Either, *parts: int) -> Tensor:
    """Which of a step's vectors, numbered from 0 and given in forwards of these lengths, codes are revived from."""
    for part in torch.arange(float(sum(parts)))[:, None].expand(-1, 2).split(parts):
        quantizer.codebook.see(part, torch.zeros(len(part), dtype=torch.int64))
    won = quantizer.codebook.collect()
    assert won is not None
    return won.vectors[:, 0]


@BOTH
def test_codes_are_revived_from_the_same_vectors_however_the_step_is_divided(
    kind: type[Either], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codebook, "_CANDIDATES", 50)
    of_steps = []
    for parts in ([97], [2, 40, 55], [60, 37], [90, 7]):
        quantizer = kind(2, 3)
        of_steps.append(torch.stack([candidates(quantizer, *parts) for _ in range(3)]))
        assert torch.equal(of_steps[-1], of_steps[0])
    assert not torch.equal(of_steps[0][0], of_steps[0][1])  # the next step draws others
    assert candidates(kind(2, 3), 20, 30).tolist() == [*range(50)]


def test_codes_are_revived_from_early_and_late_vectors_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codebook, "_CANDIDATES", 10)
    quantizer, steps = EMAVectorQuantizer(2, 3), 1500
    drawn = torch.stack([candidates(quantizer, 9, 9, 12) for _ in range(steps)]).long()
    shares = torch.bincount(drawn.flatten(), minlength=30) / steps
    torch.testing.assert_close(shares, torch.full((30,), 1 / 3), atol=5 * (2 / 9 / steps) ** 0.5, rtol=0)
    rows = torch.zeros(steps, 30).scatter_(1, drawn, 1.0)  # and one position says nothing of another
    assert float((torch.corrcoef(rows.t()) - torch.eye(30)).abs().max()) < 0.035 + 5 / steps**0.5


@BOTH
@pytest.mark.parametrize("n", [1, 3])
def test_initialisation_makes_do_with_fewer_vectors_than_codes(kind: type[Either], n: int) -> None:
    quantizer = kind(2, 8)
    quantizer.initialise(stream(1, n))
    codes = quantizer.codebook.vectors.detach()
    assert bool(codes.isfinite().all()) and float((codes - 5).abs().max()) < 5
    assert float(torch.cdist(next(stream(1, n)), codes).min(1).values.max()) < 0.01  # each vector has a code


def test_initialisation_from_one_number() -> None:
    quantizer = EMAVectorQuantizer(1, 2)
    quantizer.initialise([torch.tensor([[3.0]])])
    torch.testing.assert_close(quantizer.codebook.vectors, torch.full((2, 1), 3.0))


@BOTH
@pytest.mark.parametrize("parts", [[], [torch.zeros(0, 2)]])
def test_an_empty_stream_is_refused(kind: type[Either], parts: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="is empty; give"):
        kind(2, 8).initialise(parts)


@BOTH
@pytest.mark.parametrize("part", [torch.zeros(3, 2, 4, 4), torch.zeros(9, 4), torch.zeros(2)])
def test_a_stream_of_other_than_vectors_is_refused(kind: type[Either], part: Tensor) -> None:
    with pytest.raises(ValueError, match=r"a part of the stream is .*\[n, 2\]"):
        kind(2, 8).initialise([part])


@BOTH
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_stream_that_is_not_finite_is_refused_and_the_codes_stay(kind: type[Either], broken: float) -> None:
    quantizer = kind(2, 8)
    before, vectors = quantizer.codebook.vectors.detach().clone(), torch.randn(100, 2)
    vectors[4, 1] = broken
    with pytest.raises(NotFinite, match="not finite"):
        quantizer.initialise([vectors])
    assert torch.equal(quantizer.codebook.vectors, before)


@BOTH
def test_training_goes_on_from_a_later_initialisation(kind: type[Either]) -> None:
    """The moving sums of before must not bring the old vectors back."""
    quantizer = kind(2, 4, decay=0.99)
    for _ in range(5):
        step(quantizer, torch.randn(64, 2))
    quantizer.initialise(stream(10, 64))
    step(quantizer, next(stream(1, 64)))
    assert float((quantizer.codebook.vectors.detach() - 5).abs().max()) < 5


# ---------------------------------------------------------------- update()


@BOTH
def test_a_missing_update_is_told_once(kind: type[Either]) -> None:
    quantizer, z_e = kind(2, 3), torch.randn(1, 2, 4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(600):
            quantizer(z_e)
    assert [("update()" in str(w.message), w.category) for w in caught] == [(True, UserWarning)]
    quantizer.update()
    assert int(quantizer.codebook.updates) == 1


@BOTH
def test_no_warning_where_update_runs_or_nothing_trains(kind: type[Either]) -> None:
    quantizer, z_e = kind(2, 3), torch.randn(1, 2, 4)
    for _ in range(300):
        quantizer(z_e)
        quantizer.update()
    quantizer.eval()
    for _ in range(300):
        quantizer(z_e)
    assert int(quantizer.codebook.updates) == 300


def test_an_optimizer_hook_calls_update() -> None:
    quantizer, encoder = EMAVectorQuantizer(2, 3, revival=0), nn.Conv1d(1, 2, 1)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: quantizer.update())
    for _ in range(3):
        for _ in range(2):  # accumulated
            quantizer(encoder(torch.randn(4, 1, 5))).loss.backward()
        optimizer.step()
    assert int(quantizer.codebook.updates) == 3
    assert float(quantizer.codebook.counts.sum()) == pytest.approx(40 + 3 * 2 / 11 * 3 / 12)


@BOTH
def test_an_update_without_a_forward_is_not_counted(kind: type[Either]) -> None:
    quantizer = kind(2, 3)
    quantizer.update()
    assert int(quantizer.codebook.updates) == 0


def test_updates_keep_the_parameter_that_the_optimizer_knows() -> None:
    quantizer = with_codes(VectorQuantizer(2, 8, decay=0.5), far_codes())
    parameter = quantizer.codebook.vectors
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        quantizer(cluster().t()[None]).loss.backward()
        optimizer.step()
        quantizer.update()
    assert quantizer.codebook.vectors is parameter and parameter.requires_grad
    assert float(parameter.detach().max()) < 10


# ---------------------------------------------------------------- the rest


@BOTH
def test_stats_tell_use(kind: type[Either]) -> None:
    quantizer = with_codes(kind(1, 4, revival=0.0, decay=0.0), [[0.0], [1.0], [2.0], [3.0]])
    for _ in range(2):
        step(quantizer, torch.tensor([[0.0], [1.0], [0.0], [1.0]]))
    stats = quantizer(torch.zeros(1, 1, 3)).stats
    assert float(stats["perplexity"]) == pytest.approx(2.0) and float(stats["usage"]) == pytest.approx(0.5)


@BOTH
def test_stats_tell_mean_norms_without_padding(kind: type[Either]) -> None:
    quantizer = with_codes(kind(2, 2), [[3.0, 4.0], [-6.0, -8.0]])
    z_e = torch.tensor([[[3.0, -6.0, 900.0], [5.0, -7.0, 900.0]]])
    stats = quantizer(z_e, torch.tensor([[True, True, False]])).stats
    assert float(stats["z_e_norm"]) == pytest.approx((34**0.5 + 85**0.5) / 2)
    assert float(stats["code_norm"]) == pytest.approx(7.5)


def test_one_code_needs_no_bits() -> None:
    quantizer = EMAVectorQuantizer(2, 1)
    latent = quantizer(torch.randn(2, 2, 3))
    quantizer.update()
    assert latent.kl.tolist() == [0.0, 0.0] and math.isclose(float(latent.stats["perplexity"]), 1.0)


@BOTH
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"codebook_size": 0}, "codebook_size is 0"),
        ({"dim": 0}, "dim is 0"),
        ({"decay": 1.0}, "decay is 1.0"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"revival": 1.0}, "revival is 1.0"),
        ({"commitment_weight": -1.0}, "commitment_weight is -1.0"),
    ],
)
def test_bad_arguments_are_refused_by_name(kind: type[Either], arguments: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        kind(**{"dim": 2, "codebook_size": 4, **arguments})


def test_a_codebook_that_never_learns_is_refused() -> None:
    with pytest.raises(ValueError, match="codebook_weight is 0"):
        VectorQuantizer(2, 4, codebook_weight=0)


def test_a_codebook_is_a_parameter_only_where_it_is_learned() -> None:
    assert [name for name, _ in Codebook(3, 2, True, 0.9, 0.1).named_parameters()] == ["vectors"]
    assert not list(Codebook(3, 2, False, 0.9, 0.1).parameters())
