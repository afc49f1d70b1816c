"""Learning the gate: it takes what is there, in the order that it is there, and claims nothing where there is nothing."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from llmrec.errors import DataError
from llmrec.meta.fit_gate import best_path, fit_gate, smoother
from llmrec.meta.gate import Choice, Gate

CHOICES = (Choice(), Choice(1), Choice(2), Choice(5))
EDGES = (1, 10, 50)


def worth(rng: np.random.Generator, sizes: np.ndarray, gains: np.ndarray, noise: float = 0.1) -> np.ndarray:
    """What zero steps are worth differs a lot between users; what a choice adds is the gain of the user's bin plus noise, most
    of which all choices have in common. gains: (B, C - 1)."""
    place = np.searchsorted(EDGES, sizes, side="right") - 1
    level, shared = rng.normal(size=(len(sizes), 1)), rng.normal(size=(len(sizes), 1))
    added = gains[place] + noise * (0.8 * shared + 0.6 * rng.normal(size=(len(sizes), gains.shape[1])))
    return np.concatenate([level, level + added], 1)


def chosen(gate: Gate) -> list[int]:
    return [b.chosen for b in gate.bins]


@pytest.fixture
def sizes() -> np.ndarray:
    return np.random.default_rng(9).choice([2, 5, 12, 30, 60, 200], 600)


def test_takes_what_is_there(sizes):
    gains = np.array([[0.0, -0.1, -0.2], [0.1, 0.2, 0.05], [0.1, 0.2, 0.4]])
    table = worth(np.random.default_rng(0), sizes, gains)
    gate = fit_gate(CHOICES, sizes, table, EDGES, np.random.default_rng(1))
    assert chosen(gate) == [0, 2, 3]
    assert gate.choose(sizes[:50]).tolist() == [(0, 0, 2, 2, 3, 3)[[2, 5, 12, 30, 60, 200].index(s)] for s in sizes[:50]]
    place = np.searchsorted(EDGES, sizes, side="right") - 1
    for b, found in enumerate(gate.bins):
        paired = (table[:, found.about] - table[:, 0])[place == b]
        assert found.users == len(paired)
        assert found.low < found.gain < found.high
        assert found.gain == pytest.approx(paired.mean(), abs=3 * paired.std() / len(paired) ** 0.5)


def test_without_structure_it_claims_nothing(sizes):
    """In worlds where no step helps, any step at all is taken about as seldom as `level` says, though nine could be; asked to
    be careless, it is as careless as that."""
    false = {0.05: 0, 0.5: 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        table = worth(rng, sizes[:300], np.zeros((3, 3)))
        for level in false:
            gate = fit_gate(CHOICES, sizes[:300], table, EDGES, rng, level=level, draws=300)
            false[level] += any(chosen(gate))
    assert false[0.05] <= stats.binom.ppf(0.999, 120, 0.05)
    assert false[0.5] > stats.binom.ppf(0.999, 120, 0.05)


def test_never_a_choice_whose_paired_gain_is_negative():
    """Whatever the numbers: small bins, steep differences, heavy tails, careless levels."""
    taken = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        sizes = rng.choice([2, 12, 60], 90, p=[0.2, 0.5, 0.3])
        table = worth(rng, sizes, rng.normal(size=(3, 3)) * 0.1) + 0.05 * rng.standard_t(2, size=(90, 4))
        gate = fit_gate(CHOICES, sizes, table, EDGES, rng, level=0.4, least=5, draws=100)
        place = np.searchsorted(EDGES, sizes, side="right") - 1
        for b, found in enumerate(gate.bins):
            if found.chosen:
                taken += 1
                assert (table[:, found.chosen] - table[:, 0])[place == b].mean() > 0
                assert found.low > 0 and found.about == found.chosen
    assert taken > 50


def test_where_steps_hurt_none_are_taken(sizes):
    gate = fit_gate(
        CHOICES, sizes, worth(np.random.default_rng(0), sizes, np.full((3, 3), -0.05)), EDGES, np.random.default_rng(1)
    )
    assert chosen(gate) == [0, 0, 0]
    assert all(b.high < 0 for b in gate.bins)


def test_one_bin_and_one_choice_is_the_one_sided_paired_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=400), rng.normal(size=400)
    gate = fit_gate(CHOICES[:2], np.full(400, 7), np.stack([a, b], 1), (1,), rng, draws=20_000)
    test = stats.ttest_rel(b, a, alternative="greater")
    found = gate.bins[0]
    assert found.gain == pytest.approx((b - a).mean())
    assert found.low == pytest.approx(test.confidence_interval(0.95).low, abs=0.05 * stats.sem(b - a))
    assert found.high - found.gain == pytest.approx(found.gain - found.low)


def test_a_bin_with_few_users_or_none_takes_no_step(sizes):
    gains, rng = np.full((3, 3), 0.5), np.random.default_rng(0)
    few = np.concatenate([np.flatnonzero(sizes < 50), np.flatnonzero(sizes >= 50)[:19]])
    gate = fit_gate(CHOICES, sizes[few], worth(rng, sizes[few], gains), EDGES, rng)
    assert gate.bins[2].chosen == 0 and gate.bins[2].users == 19 and all(chosen(gate)[:2])
    none = np.flatnonzero(sizes < 50)
    gate = fit_gate(CHOICES, sizes[none], worth(rng, sizes[none], gains), EDGES, rng)
    assert gate.bins[2].chosen == 0 and gate.bins[2].users == 0 and np.isfinite(gate.bins[2].gain)
    assert gate.choose(np.array([0])).tolist() == [0]


def test_alike_bins_lend_each_other_certainty(sizes):
    """The same gain in all bins: with its neighbours each bin's bounds are closer than by itself."""
    table = worth(np.random.default_rng(0), sizes, np.full((3, 3), 0.03))
    together = fit_gate(CHOICES, sizes, table, EDGES, np.random.default_rng(1))
    for b, rows in enumerate((sizes < 10, (sizes >= 10) & (sizes < 50), sizes >= 50)):
        alone = fit_gate(CHOICES, sizes[rows], table[rows], (1,), np.random.default_rng(1)).bins[0]
        assert together.bins[b].high - together.bins[b].low < alone.high - alone.low


def test_users_without_a_number_have_no_part(sizes):
    table = worth(np.random.default_rng(0), sizes, np.full((3, 3), 0.05))
    table[::3, 2] = np.nan
    there = ~np.isnan(table).any(1)
    one = fit_gate(CHOICES, sizes, table, EDGES, np.random.default_rng(1))
    assert one == fit_gate(CHOICES, sizes[there], table[there], EDGES, np.random.default_rng(1))


def test_the_smoother_is_gaussian_conditioning():
    """A random walk from anywhere, seen with noise: the same by the covariances of walk and noise, in numpy. The walk's
    variance is what neighbours differ by beyond their noise."""
    mean, error = np.array([0.5, 9.0, -0.4, 1.4, 2.0]), np.array([0.3, np.inf, 0.2, 0.4, 0.1])
    matrix, spread = smoother(mean, error)
    here = [0, 2, 3, 4]
    beyond = [(mean[j] - mean[i]) ** 2 - error[i] ** 2 - error[j] ** 2 for i, j in itertools.pairwise(here)]
    walk = sum(beyond) / 4
    cover = 1e4 + walk * np.minimum.outer(np.arange(5), np.arange(5))
    seen = cover[np.ix_(here, here)] + np.diag(error[here] ** 2)
    gain = cover[:, here] @ np.linalg.inv(seen)
    np.testing.assert_allclose(matrix @ mean, gain @ mean[here], rtol=1e-3)
    np.testing.assert_allclose(spread**2, np.diag(cover - gain @ cover[here]), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(matrix.sum(1), 1.0)


def test_alike_means_pool_to_the_weighted_mean():
    mean, error = np.array([1.0, 1.1, 0.9]), np.array([0.5, 1.0, 2.0])
    found = smoother(mean, error)[0] @ mean
    weight = error**-2
    np.testing.assert_allclose(found, (weight @ mean) / weight.sum(), atol=2e-3)


def test_the_best_path_against_all_paths():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        value, count = rng.normal(size=(4, 3)), rng.integers(0, 20, 4)
        value[rng.random((4, 3)) < 0.4] = -np.inf

        def total(path: tuple[int, ...], value: np.ndarray = value, count: np.ndarray = count) -> float:
            steps = [c for c in path if c]
            if steps != sorted(steps):
                return -np.inf
            parts = [count[b] * value[b, c - 1] if np.isfinite(value[b, c - 1]) else -np.inf for b, c in enumerate(path) if c]
            return float(sum(parts))

        best = max(total(path) for path in itertools.product(range(4), repeat=4))
        assert total(tuple(best_path(value, count))) == pytest.approx(best)


def test_strength_never_falls_among_bins_that_step(sizes):
    """The second choice is the best of the small supports, the first of the large; one strength for both, or a rising one."""
    gains = np.array([[0.1, 0.3, 0.0], [-0.3, -0.3, -0.3], [0.3, 0.2, 0.0]])
    table = worth(np.random.default_rng(0), sizes, gains)
    free = fit_gate(CHOICES, sizes, table, EDGES, np.random.default_rng(1), monotone=False)
    bound = fit_gate(CHOICES, sizes, table, EDGES, np.random.default_rng(1))
    assert chosen(free) == [2, 0, 1]
    assert chosen(bound) == [2, 0, 2]


def personal_world(rng: np.random.Generator, trust: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One choice that helps half of the users as much as it harms the others; `trust` of it shows on held-back events."""
    sizes, sign = np.full(400, 80), rng.permutation(np.repeat([-1.0, 1.0], 200))
    table = np.stack([np.zeros(400), 0.2 * sign + 0.05 * rng.normal(size=400)], 1)
    held = np.stack([np.zeros(400), 0.2 * sign * trust + 0.1 * rng.normal(size=400)], 1)
    return sizes, table, held


@pytest.mark.parametrize(
    ("choices", "shape", "edges", "words"),
    [
        (CHOICES[1:], (600, 3), EDGES, "choices: expected zero steps first"),
        (CHOICES[:1], (600, 1), EDGES, "choices: expected zero steps first and at least one other"),
        (CHOICES, (600, 3), EDGES, "worth: expected finite numbers"),
        (CHOICES, (599, 4), EDGES, "worth: expected finite numbers"),
        (CHOICES, (600, 4), (), "edges: expected one ascending"),
        (CHOICES, (600, 4), (5, 5), "edges: expected one ascending"),
        (CHOICES, (600, 4), (1000,), "sizes: no user has a support of 1000"),
    ],
)
def test_tables_that_do_not_fit(sizes, choices, shape, edges, words):
    with pytest.raises(DataError, match=words):
        fit_gate(choices, sizes, np.zeros(shape), edges, np.random.default_rng(0))


def test_a_table_without_differences_gives_no_step(sizes):
    gate = fit_gate(CHOICES, sizes, np.ones((600, 4)), EDGES, np.random.default_rng(0))
    assert chosen(gate) == [0, 0, 0] and all(b.gain == 0 for b in gate.bins)
