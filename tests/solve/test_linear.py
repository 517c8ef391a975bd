"""The linear solver against dense solves of the published forms, and what it says of systems it cannot trust."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from errata.errors import BadConfig
from errata.solve.linear import ILL, emmet, rank_one, solve
from errata.solve.preserving import Prior
from errata.statistics import SecondMoment, kept, null_space

WIDTH, OUT = 40, 12


@pytest.fixture(autouse=True)
def _fresh(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ERRATA_CACHE", str(tmp_path_factory.mktemp("cache")))
    kept.forget()
    yield
    kept.forget()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(width: int = WIDTH, rank: int | None = None) -> SecondMoment:
    """Of keys whose spectrum falls off over five orders of magnitude, as in real models."""
    basis = torch.linalg.qr(noise(width, width, seed=9)).Q
    values = torch.logspace(-4, 1, width, dtype=torch.float64)
    if rank is not None:
        values[: width - rank] = 0
    matrix = (basis * values) @ basis.T
    return SecondMoment.of((matrix + matrix.T) / 2, tokens=1000)


def close(found: Tensor, wanted: np.ndarray, tolerance: float = 1e-9) -> bool:
    return float(np.linalg.norm(found.numpy() - wanted)) <= tolerance * float(np.linalg.norm(wanted))


def published(
    K: Tensor,
    R: Tensor,
    *,
    C: Tensor | None = None,
    past: Tensor | None = None,
    mu: float = 0.0,
    P: Tensor | None = None,
) -> np.ndarray:
    """Delta by a dense, unsymmetric solve of the system as papers write it. C comes with its weight."""
    Q = np.eye(len(K)) if P is None else P.numpy()
    k, r = K.numpy(), R.numpy()
    cache = 0 if past is None else past.numpy() @ past.numpy().T
    system = Q @ (k @ k.T + cache) + mu * np.eye(len(k)) + (0 if C is None else C.numpy())
    return np.linalg.solve(system, Q @ k @ r.T).T


@pytest.mark.parametrize("n", [1, 5, 19, 20, 60], ids=lambda n: f"{n} keys")
@pytest.mark.parametrize("m", [0, 7, 50], ids=lambda m: f"{m} past")
@pytest.mark.parametrize("mu", [0.0, 2.0])
def test_every_number_of_keys_gives_the_published_update(n: int, m: int, mu: float) -> None:
    C, K, R, past = moment(), noise(WIDTH, n), noise(OUT, n, seed=1), noise(WIDTH, m, seed=2)
    found = solve(K, R, prior=Prior(C, 30.0), past=past if m else None, ridge=mu)
    assert close(found.delta, published(K, R, C=30 * C.matrix, past=past, mu=mu))
    assert found.A.shape == (n, WIDTH)
    assert found.residual_error < 1e-9
    assert not found.warnings


def test_a_ridge_alone_is_a_prior_too() -> None:
    K, R, past = noise(WIDTH, 4), noise(OUT, 4, seed=1), noise(WIDTH, 3, seed=2)
    found = solve(K, R, prior=Prior(), ridge=0.5, past=past)
    assert close(found.delta, published(K, R, past=past, mu=0.5))


@pytest.mark.parametrize("n", [3, 30])
@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_the_symmetric_system_in_the_subspace_is_the_published_one(n: int, weight: float) -> None:
    C = moment()
    P = null_space(C, keep=0.05)
    K, R, past = noise(WIDTH, n), noise(OUT, n, seed=1), noise(WIDTH, 6, seed=2)
    found = solve(K, R, prior=Prior(C, weight), past=past, ridge=10.0, projection=P)
    assert close(found.delta, published(K, R, C=weight * C.matrix, past=past, mu=10.0, P=P.matrix))
    assert 0 < P.dimension < WIDTH
    outside = torch.eye(WIDTH, dtype=torch.float64) - P.matrix
    assert float((found.delta @ outside).norm()) < 1e-12 * float(found.delta.norm())


@pytest.mark.parametrize("n", [3, 30])
def test_a_restricted_update_is_the_update_of_the_restricted_problem(n: int) -> None:
    C, K, R, past = moment(), noise(WIDTH, n), noise(OUT, n, seed=1), noise(WIDTH, 5, seed=2)
    chosen = torch.tensor([31, 2, 5, 17, 30, 8, 9, 11])
    found = solve(K, R, prior=Prior(C, 3.0), past=past, ridge=0.1, coordinates=chosen)
    part = 3 * C.matrix[chosen][:, chosen]
    embedded = np.zeros((OUT, WIDTH))
    embedded[:, chosen.numpy()] = published(K[chosen], R, C=part, past=past[chosen], mu=0.1)
    assert close(found.delta, embedded)


def test_all_coordinates_restrict_nothing() -> None:
    C, K, R = moment(), noise(WIDTH, 3), noise(OUT, 3, seed=1)
    whole = solve(K, R, prior=Prior(C, 3.0))
    assert close(solve(K, R, prior=Prior(C, 3.0), coordinates=torch.arange(WIDTH)).delta, whole.delta.numpy())


def test_a_part_of_a_singular_prior_may_be_regular() -> None:
    matrix = torch.diag(torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64))
    C, K, R = SecondMoment.of(matrix, 3), noise(4, 1), noise(OUT, 1)
    found = solve(K, R, prior=Prior(C), coordinates=torch.tensor([1, 3]))
    wanted = published(K[[1, 3]], R, C=matrix[[1, 3]][:, [1, 3]])
    assert close(found.delta[:, [1, 3]], wanted)
    with pytest.raises(BadConfig, match="rank 3 of 4"):
        solve(K, R, prior=Prior(C), coordinates=torch.tensor([0, 1]))


def test_by_hand() -> None:
    # One key (1, 0, 0) beside lambda C = 3 I: the system is diag(4, 3, 3), the update a quarter of the residual.
    C = SecondMoment.of(torch.eye(3), 5)
    found = solve(torch.tensor([[1.0], [0.0], [0.0]]), torch.tensor([[8.0]]), prior=Prior(C, 3.0))
    assert torch.allclose(found.delta, torch.tensor([[2.0, 0.0, 0.0]], dtype=torch.float64))
    assert found.condition == pytest.approx(4 / 3)


def test_repeated_keys_are_no_problem_beside_a_prior() -> None:
    C, K = moment(), noise(WIDTH, 1).repeat(1, 3)
    R = noise(OUT, 3, seed=1)
    assert close(solve(K, R, prior=Prior(C)).delta, published(K, R, C=C.matrix))


@pytest.mark.parametrize("n", [4, 50])
def test_repeated_keys_and_nothing_to_preserve_make_a_singular_system(n: int) -> None:
    with pytest.raises(BadConfig, match=r"singular.*give a prior, or a ridge"):
        solve(noise(WIDTH, 2).repeat(1, n // 2), noise(OUT, n), prior=Prior())


def test_enough_different_keys_need_nothing_to_preserve() -> None:
    K, R = noise(WIDTH, 70), noise(OUT, 70, seed=1)
    assert close(solve(K, R, prior=Prior()).delta, published(K, R))


@pytest.mark.parametrize("count", [3, 60])
def test_too_little_text_makes_a_singular_system(count: int) -> None:
    C = moment(rank=WIDTH // 2)
    with pytest.raises(BadConfig, match=r"rank 20 of 40 \(1000 tokens\)"):
        solve(noise(WIDTH, count), noise(OUT, count), prior=Prior(C))
    solve(noise(WIDTH, count), noise(OUT, count), prior=Prior(C), ridge=0.1)


@pytest.mark.parametrize("count", [3, 60])
def test_an_ill_conditioned_system_is_reported(count: int) -> None:
    values = torch.ones(WIDTH, dtype=torch.float64)
    values[0] = 1e14
    found = solve(noise(WIDTH, count), noise(OUT, count), prior=Prior(SecondMoment.of(torch.diag(values), 99)))
    assert found.condition >= ILL
    assert "ill-conditioned" in found.warnings[0]


@pytest.mark.parametrize("count", [3, 60])
def test_the_condition_number_is_estimated(count: int) -> None:
    C, K = moment(), noise(WIDTH, count)
    found = solve(K, noise(OUT, count), prior=Prior(C, 3.0))
    true = float(torch.linalg.cond(3 * C.matrix + K @ K.T))
    assert true / 2 < found.condition < 30 * true


def test_a_projection_of_another_moment_is_refused() -> None:
    C, other = moment(), SecondMoment.of(torch.eye(WIDTH), 5)
    with pytest.raises(BadConfig, match="different second moments"):
        solve(noise(WIDTH, 2), noise(OUT, 2), prior=Prior(C), projection=null_space(other, threshold=2), ridge=1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keys": noise(WIDTH)}, r"keys must be columns"),
        ({"residuals": noise(OUT, 3)}, "2 keys came with 3 residuals"),
        ({"keys": noise(WIDTH - 1, 2)}, "39 coordinates and the prior 40"),
        ({"past": noise(WIDTH - 1, 2)}, r"past keys must be columns \(40, n\)"),
        ({"keys": noise(WIDTH, 2) / 0}, "NaN or infinity"),
        ({"ridge": -1.0}, "ridge is -1"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Tensor], words: str) -> None:
    arguments = {"keys": noise(WIDTH, 2), "residuals": noise(OUT, 2), "prior": Prior(moment()), **change}
    with pytest.raises(BadConfig, match=words):
        solve(**arguments)  # type: ignore[arg-type]


def test_the_factor_of_a_prior_is_made_once_for_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda matrix: made.append(len(matrix)) or original(matrix))
    C, K, R = moment(), noise(WIDTH, 2), noise(OUT, 2, seed=1)
    solve(K, R, prior=Prior(C, 3.0))
    again = solve(K, R, prior=Prior(SecondMoment.of(C.matrix, 7), 5.0))
    assert made == [WIDTH]
    assert close(again.delta, published(K, R, C=5 * C.matrix))


@pytest.mark.parametrize("lam", [0.1, 0.0])
@pytest.mark.parametrize("n", [1, 6, 30])
def test_emmet_is_the_published_form(n: int, lam: float) -> None:
    C, K, R = moment(), noise(WIDTH, n), noise(OUT, n, seed=1)
    k, c = K.numpy(), C.matrix.numpy()
    wanted = R.numpy() @ np.linalg.solve(k.T @ np.linalg.solve(c, k) + lam * np.eye(n), np.linalg.solve(c, k).T)
    found = emmet(K, R, Prior(C), lam=lam)
    assert close(found.delta, wanted, 1e-8)
    if lam == 0:
        assert torch.allclose(found.delta @ K, R)


def test_emmet_maps_keys_that_repeat_to_the_mean_and_says_so() -> None:
    C = moment()
    K, R = noise(WIDTH, 1).repeat(1, 2), noise(OUT, 2, seed=1)
    found = emmet(K, R, Prior(C), lam=0.0)
    assert torch.allclose(found.delta @ K, R.mean(1, keepdim=True).expand(-1, 2), atol=1e-8)
    assert "repeat" in found.warnings[0]


def test_emmet_without_a_prior_spreads_evenly() -> None:
    K, R = noise(WIDTH, 3), noise(OUT, 3, seed=1)
    k = K.numpy()
    wanted = R.numpy() @ np.linalg.inv(k.T @ k + 0.1 * np.eye(3)) @ k.T
    assert close(emmet(K, R, Prior(), lam=0.1).delta, wanted)


def test_rank_one_is_romes_update() -> None:
    C, key, residual = moment(), noise(WIDTH), noise(OUT, seed=1)
    found = rank_one(key, residual, Prior(C))
    u = torch.linalg.solve(C.matrix, key)
    u = u / u.norm()
    assert close(found.delta, (residual[:, None] * u[None] / (key @ u)).numpy())
    assert torch.allclose(found.delta @ key, residual)
    assert found.alignment == pytest.approx(float(key @ u))
    assert found.residual_error < 1e-9


def test_rank_one_tells_of_a_read_key_that_disagrees() -> None:
    C = SecondMoment.of(torch.eye(2), 9)
    key, read, residual = torch.tensor([1.0, 0.0]), torch.tensor([0.01, 1.0]), torch.tensor([2.0])
    found = rank_one(key, residual, Prior(C), read=read)
    assert torch.allclose(found.delta, torch.tensor([[200.0, 0.0]], dtype=torch.float64))
    assert found.alignment == pytest.approx(0.01)
    assert "100 times as large" in found.warnings[0]
    with pytest.raises(BadConfig, match="nothing in common"):
        rank_one(key, residual, Prior(C), read=torch.tensor([0.0, 1.0]))


def test_rank_one_without_a_prior_goes_along_the_key() -> None:
    found = rank_one(torch.tensor([3.0, 4.0]), torch.tensor([5.0]), Prior())
    assert torch.allclose(found.A, torch.tensor([[0.6, 0.8]], dtype=torch.float64))
    assert torch.allclose(found.B, torch.tensor([[1.0]], dtype=torch.float64))
