"""SASRec on planted sequences: what follows an item, or the item two before, is known."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import Dataset
from llmrec.data.tasks import Tasks, first_baskets
from llmrec.errors import DataError
from llmrec.models import sasrec
from llmrec.models.sasrec import Body, Dropout, Sasrec, SasrecSettings, fit_sasrec

pytestmark = pytest.mark.usefixtures("exact")
ITEMS = 12
SMALL = SasrecSettings(width=32, layers=1, dropout=0.1, max_length=8, learning_rate=1e-2, batch_size=16, epochs=12)


def planted(shop, step: int, users: int = 80, length: int = 10) -> tuple[Dataset, np.ndarray]:
    """Item n of a history is follow[item n - step]; the first `step` are drawn. Returns `follow` (ITEMS,) too."""
    rng = np.random.default_rng(0)
    follow, histories = np.roll(np.arange(ITEMS), 5), []
    for _ in range(users):
        taken = rng.integers(0, ITEMS, step).tolist()
        while len(taken) < length:
            taken.append(int(follow[taken[-step]]))
        histories.append([[item] for item in taken])
    return shop(histories, ITEMS), follow


@pytest.fixture(scope="module")
def ring(shop, exact):
    return planted(shop, step=1)


@pytest.fixture(scope="module")
def fitted(ring) -> Sasrec:
    return fit_sasrec(ring[0], np.arange(60), SMALL)


@pytest.fixture
def lively(random_shop) -> Body:
    """A body over `random_shop` with larger weights than a fresh one: attention looks at something, and a wrong mask shows."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        body = Body(random_shop.n_items, replace(SMALL, layers=2, max_length=30)).eval().requires_grad_(False)
        for parameter in body.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape))
    return body


# ---------------------------------------------------------------------------------------- what it learns


@pytest.mark.slow
def test_it_learns_what_follows(ring, fitted):
    dataset, follow = ring
    for known in (1, 4, 9):
        tasks = first_baskets(dataset, np.arange(60, 80), known, 1)  # users it has never seen
        scores = fitted.scores(tasks)
        assert scores.dtype == np.float32
        assert scores.shape == (20, ITEMS)
        np.testing.assert_array_equal(scores.argmax(1), follow[dataset.item[tasks.split - 1]])


def test_it_learns_in_bf16_too(ring, monkeypatch):
    monkeypatch.setattr(sasrec, "faster_dtype", lambda device: torch.bfloat16)
    dataset, follow = ring
    tasks = first_baskets(dataset, np.arange(60, 80), 4, 1)
    scores = fit_sasrec(dataset, np.arange(60), SMALL).scores(tasks)
    np.testing.assert_array_equal(scores.argmax(1), follow[dataset.item[tasks.split - 1]])


@pytest.mark.slow
def test_it_looks_beyond_the_last_item(shop):
    dataset, follow = planted(shop, step=2, users=200)
    model = fit_sasrec(dataset, np.arange(180), replace(SMALL, layers=2, epochs=25))
    tasks = first_baskets(dataset, np.arange(180, 200), 8, 1)
    np.testing.assert_array_equal(model.scores(tasks).argmax(1), follow[dataset.item[tasks.split - 2]])


def test_with_a_horizon_the_next_ones_are_on_top(ring):
    dataset, follow = ring
    model = fit_sasrec(dataset, np.arange(60), replace(SMALL, horizon=3))
    tasks = first_baskets(dataset, np.arange(60, 80), 4, 1)
    top = np.argsort(-model.scores(tasks))[:, :3]
    for row, last in enumerate(dataset.item[tasks.split - 1]):
        assert set(top[row]) == {follow[last], follow[follow[last]], follow[follow[follow[last]]]}


# ---------------------------------------------------------------------------------------- what it may see


def states(body: Body, dataset: Dataset, start: np.ndarray, length: np.ndarray) -> list[np.ndarray]:
    """float (length, D) of each window."""
    return np.split(body(dataset, start, length).numpy(), np.cumsum(length)[:-1])


def test_later_events_and_other_windows_change_nothing(random_shop, lively):
    start, length = random_shop.start[:-1], np.diff(random_shop.start)
    before = states(lively, random_shop, start, length)
    item = random_shop.item.copy()
    cut = start + length // 2
    for user in range(random_shop.n_users):
        item[cut[user] : start[user] + length[user]] = (item[cut[user] : start[user] + length[user]] + 1) % 10
    after = states(lively, replace(random_shop, item=item), start, length)
    for user, half in enumerate(length // 2):
        np.testing.assert_allclose(after[user][:half], before[user][:half], atol=1e-5)
        assert (np.abs(after[user][half:] - before[user][half:]).max(axis=1) > 1e-3).all()


def test_packed_windows_are_the_windows_alone(random_shop, lively):
    start, length = random_shop.start[:-1], np.diff(random_shop.start)
    row, _ = sasrec._packed(length)
    assert row.max() + 1 < len(length)  # some do share a row
    for user, together in enumerate(states(lively, random_shop, start, length)):
        alone = lively(random_shop, start[user : user + 1], length[user : user + 1]).numpy()
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_packed_windows_do_not_overlap():
    length = np.random.default_rng(0).integers(1, 10, 200)
    row, offset = sasrec._packed(length)
    cells = np.zeros((200, length.max()), int)
    for window in range(200):
        assert offset[window] + length[window] <= length.max()
        cells[row[window], offset[window] : offset[window] + length[window]] += 1
    assert cells.max() == 1
    assert (row.max() + 1) * length.max() < 1.1 * length.sum()


def test_a_batch_is_its_tasks_one_by_one(random_shop, lively, monkeypatch):
    model, tasks = Sasrec(lively, 30), first_baskets(random_shop, np.arange(20), 2, 1)
    whole = model.scores(tasks)
    alone = [model.scores(tasks.take(np.array([row]))) for row in range(len(tasks))]
    np.testing.assert_allclose(np.concatenate(alone), whole, rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(sasrec, "_TASKS", 3)
    np.testing.assert_allclose(model.scores(tasks), whole, rtol=1e-4, atol=1e-5)


def test_scores_are_from_the_last_events_of_the_support_only(random_shop, lively):
    model, tasks = Sasrec(lively, 4), first_baskets(random_shop, np.arange(20), 2, 1)
    recent = Tasks(random_shop, np.maximum(tasks.start, tasks.split - 4), tasks.split, tasks.split)
    np.testing.assert_allclose(model.scores(recent), model.scores(tasks), rtol=1e-4, atol=1e-5)
    assert np.abs(Sasrec(lively, 1).scores(tasks) - model.scores(tasks)).max() > 1e-2


def test_an_empty_support_scores_nothing(random_shop, lively):
    tasks = first_baskets(random_shop, np.arange(20), 2, 1)
    some = tasks.start.copy()
    some[::2] = tasks.split[::2]
    scores = Sasrec(lively, 30).scores(Tasks(random_shop, some, tasks.split, tasks.stop))
    assert (scores[::2] == 0).all()
    assert (scores[1::2] != 0).any(axis=1).all()
    assert Sasrec(lively, 30).scores(tasks.take(np.array([], np.int64))).shape == (0, 10)


# ---------------------------------------------------------------------------------------- training


def brute(dataset: Dataset, user: int, start: int, length: int, horizon: int) -> list[list[int]]:
    end = dataset.start[user + 1]
    return [dataset.item[e + 1 : min(e + 1 + horizon, end)].tolist() for e in range(start, start + length)]


@pytest.mark.parametrize("windows", ["last", "first", "random"])
@pytest.mark.parametrize("horizon", [1, 3])
def test_windows_and_what_follows_their_events(random_shop, windows, horizon):
    rng, users = np.random.default_rng(0), np.arange(20)[::-1].copy()
    settings, begins = replace(SMALL, max_length=3, windows=windows), set()
    size, begin = np.diff(random_shop.start)[users], random_shop.start[users]
    for _ in range(30):
        start, length = sasrec._windows(random_shop, users, settings, rng)
        np.testing.assert_array_equal(length, np.minimum(size - 1, 3))
        assert (start >= begin).all()
        assert (start + length < begin + size).all()
        begins |= set((start - begin)[size == size.max()].tolist())
    longest = int(size.max())
    assert begins == {"last": {longest - 4}, "first": {0}, "random": set(range(longest - 3))}[windows]
    target, owner = sasrec._targets(random_shop, users, start, length, horizon)
    expected = [one for row in range(20) for one in brute(random_shop, users[row], start[row], length[row], horizon)]
    assert [target[owner == event].tolist() for event in range(length.sum())] == expected


def test_same_seed_same_model_and_torchs_generator_is_left_alone(ring):
    tasks, before = first_baskets(ring[0], np.arange(60, 80), 3, 1), torch.get_rng_state()
    found = []
    for noise, seed in enumerate((0, 0, 1)):
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        found.append(fit_sasrec(ring[0], np.arange(60), replace(SMALL, epochs=1, windows="random"), seed).scores(tasks))
        assert torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(before)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_only_the_users_named_are_trained_on(ring):
    item = ring[0].item.copy()
    item[ring[0].start[60] :] = 0
    tasks, settings = first_baskets(ring[0], np.arange(60, 80), 3, 1), replace(SMALL, epochs=1)
    first, second = (fit_sasrec(data, np.arange(60), settings) for data in (ring[0], replace(ring[0], item=item)))
    np.testing.assert_array_equal(first.scores(tasks), second.scores(tasks))


def test_it_stops_when_it_gets_no_better_and_returns_the_best(ring):
    tasks, values, given, told = first_baskets(ring[0], np.arange(60, 80), 3, 1), [0.1, 0.5, 0.5, 0.2, 0.9], [], []

    def validate(control):
        given.append(control.scores(tasks))
        return values[len(given) - 1]

    watch = lambda *heard: told.append(heard)  # noqa: E731
    best = fit_sasrec(ring[0], np.arange(60), replace(SMALL, epochs=9, patience=2), validate=validate, watch=watch)
    assert [epoch for epoch, _, _ in told] == [0, 1, 2, 3]
    assert [value for _, _, value in told] == values[:4]
    np.testing.assert_array_equal(best.scores(tasks), given[1])  # and later epochs have not changed it
    assert not np.array_equal(given[1], given[2])
    assert told[3][1] < told[0][1]


def test_without_validation_it_is_the_last_epoch(ring):
    tasks, given = first_baskets(ring[0], np.arange(60, 80), 3, 1), []
    rising = lambda control: given.append(control.scores(tasks)) or float(len(given))  # noqa: E731
    settings, told = replace(SMALL, epochs=3), []
    fit_sasrec(ring[0], np.arange(60), settings, validate=rising)
    last = fit_sasrec(ring[0], np.arange(60), settings, watch=lambda *heard: told.append(heard))
    np.testing.assert_array_equal(last.scores(tasks), given[2])
    assert [(epoch, value) for epoch, _, value in told] == [(0, None), (1, None), (2, None)]


def test_a_batch_that_is_not_finite_teaches_nothing(ring, monkeypatch):
    broken = lambda states, table, *rest, dtype: (states.sum() + table.sum()) * float("nan")  # noqa: E731
    monkeypatch.setattr(sasrec, "catalogue_loss", broken)
    model = fit_sasrec(ring[0], np.arange(60), replace(SMALL, epochs=1))
    assert all(torch.isfinite(parameter).all() for parameter in model.body.parameters())


def test_dropout_drops_the_share_and_keeps_the_mean():
    drop, x = Dropout(0.25), torch.ones(1001, 333)
    torch.manual_seed(0)
    out = drop(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    error = (0.25 * 0.75 / x.numel()) ** 0.5
    assert (out == 0).float().mean().item() == pytest.approx(0.25, abs=4 * error)
    assert not torch.equal(drop(x), out)
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_the_answer_is_frozen_and_the_callers(ring, fitted):
    tasks = first_baskets(ring[0], np.arange(60, 80), 3, 1)
    with pytest.raises(FrozenInstanceError):
        fitted.most = 3
    before = fitted.scores(tasks)
    fitted.scores(tasks)[:] = -1
    np.testing.assert_array_equal(fitted.scores(tasks), before)
    assert fitted.name == "SASRec"


def test_another_catalogue_is_refused(fitted, random_shop):
    with pytest.raises(DataError, match="expected a catalogue of 12 items, got 10"):
        fitted.scores(first_baskets(random_shop, np.arange(20), 1, 1))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"width": 0}, "settings.width"),
        ({"heads": 3}, "settings.heads: expected a divisor of width=32, got 3"),
        ({"dropout": 1.0}, "settings.dropout"),
        ({"windows": "middle"}, "'middle'"),
        ({"horizon": 0}, "settings.horizon"),
        ({"epochs": 0}, "settings.epochs"),
    ],
)
def test_settings_out_of_range_are_refused(ring, more, says):
    with pytest.raises(DataError, match=says):
        fit_sasrec(ring[0], np.arange(60), replace(SMALL, **more))


def test_without_anything_that_follows_it_cannot_be_trained(ring):
    with pytest.raises(DataError, match="two events"):
        fit_sasrec(ring[0], np.array([], np.int64), SMALL)
    with pytest.raises(DataError, match="NaN"):
        fit_sasrec(ring[0], np.arange(60), replace(SMALL, epochs=1), validate=lambda control: float("nan"))
