"""A signature is what a few loops say it is, looks at nothing that follows, and does not know the order inside a window."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.data.build import build
from llmrec.data.features import slot_attributes
from llmrec.drift.signature import fit_space, names, shrunk_covariance, signatures
from llmrec.drift.windows import Windows, cut

AXES = 4


def table(seed: int = 0) -> dict[str, list]:
    """Six users with ten visits of three events."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(6), 30)
    visit = np.tile(np.repeat(np.arange(10), 3), 6)
    return {
        "user_id": user.tolist(),
        "basket_id": [f"{u}-{v}" for u, v in zip(user, visit, strict=True)],
        "timestamp": (1.3e9 + visit * 9e4 + user * 100.0).tolist(),
        "item_id": [f"i{i:02d}" for i in rng.integers(0, 25, len(user))],
        "price": rng.uniform(1, 9, len(user)).tolist(),
        "quantity": rng.integers(1, 6, len(user)).tolist(),
    }


@pytest.fixture
def world():
    dataset = build(table())[0]
    text = np.random.default_rng(1).normal(size=(dataset.n_items, 8)).astype(np.float32)
    space = fit_space(dataset, text, np.arange(dataset.n_events), AXES)
    return dataset, space, cut(dataset, dataset.user // 2, 20)


def of(world, name):
    dataset, space, windows = world
    return signatures(space, dataset, slot_attributes(dataset), windows)[:, names(AXES).index(name)]


def test_the_space_is_whitened_over_the_known_events(world):
    dataset, space, _ = world
    seen = space.axes[dataset.item].astype(np.float64)
    assert np.allclose(seen.mean(0), 0, atol=1e-5)
    assert np.allclose(seen.T @ seen / len(seen), np.eye(AXES), atol=1e-4)
    item = dataset.item[0]
    paid = np.log1p(dataset.attributes["price"][dataset.item == item])
    assert space.price[item] == pytest.approx(paid.mean(), rel=1e-5)
    assert np.exp(space.popularity).sum() == pytest.approx(1, rel=1e-5)


def test_items_outside_the_known_events_have_no_usual_price(world):
    dataset, _, _ = world
    text = np.eye(dataset.n_items, dtype=np.float32)
    known = dataset.item < 5
    assert np.isnan(fit_space(dataset, text, known, AXES).price[5:]).all()


def test_parts_are_what_their_names_say(world):
    dataset, space, windows = world
    rows = windows.rows
    assert np.allclose(of(world, "mean of text 2"), [space.axes[dataset.item[row], 2].mean() for row in rows])
    assert np.allclose(of(world, "log variance of text 0"), [np.log(space.axes[dataset.item[row], 0].var()) for row in rows])
    price = np.log1p(dataset.attributes["price"])
    assert np.allclose(of(world, "mean of log_price"), [price[row].mean() for row in rows])
    assert np.allclose(of(world, "deviation of log_price"), [price[row].std() for row in rows], atol=1e-5)
    assert np.allclose(
        of(world, "price paid beside the usual"), [(price[row] - space.price[dataset.item[row]]).mean() for row in rows]
    )
    angle = 2 * np.pi * dataset.time / 86_400
    assert np.allclose(of(world, "sine of day"), [np.sin(angle[row]).mean() for row in rows])
    distinct = [len(np.unique(dataset.item[row])) for row in rows]
    assert np.allclose(of(world, "log distinct items"), np.log(distinct))
    assert np.allclose(of(world, "share of first baskets"), [(dataset.basket[row] == 0).mean() for row in rows])


def test_every_feature_has_a_name_of_its_own(world):
    dataset, space, windows = world
    found = signatures(space, dataset, slot_attributes(dataset), windows)
    assert found.shape == (len(windows), len(names(AXES))) and len(set(names(AXES))) == len(names(AXES))
    assert np.isfinite(found).all()  # ratings are unknown here, and 0


def test_the_order_inside_a_window_and_its_company_do_not_matter(world):
    dataset, space, windows = world
    events, rng = slot_attributes(dataset), np.random.default_rng(0)
    whole = signatures(space, dataset, events, windows)
    mixed = Windows(rng.permuted(windows.rows, axis=1), windows.group, windows.time)
    assert np.allclose(signatures(space, dataset, events, mixed), whole)
    alone = [signatures(space, dataset, events, windows.take(np.array([place])))[0] for place in range(len(windows))]
    assert np.allclose(alone, whole)


def test_nothing_is_seen_of_what_follows(world):
    """Rows after a time are replaced by others: windows that ended before keep their signatures."""
    dataset, space, windows = world
    until = 1.3e9 + 5 * 9e4 - 1
    other, later = table(seed=7), np.array(table()["timestamp"]) > until
    changed = {
        name: [b if late else a for a, b, late in zip(values, other[name], later, strict=True)]
        for name, values in table().items()
    }
    changed["quantity"] = [9 if late else q for q, late in zip(changed["quantity"], later, strict=True)]
    again = build(changed)[0]
    assert again.catalogue.ids.values == dataset.catalogue.ids.values
    before = windows.time < until
    assert 0 < before.sum() < len(windows)
    rows = windows.take(before)
    assert np.array_equal(again.item[rows.rows], dataset.item[rows.rows])
    found = [signatures(space, one, slot_attributes(one), rows) for one in (dataset, again)]
    assert np.allclose(found[0], found[1])
    assert not np.allclose(*(signatures(space, one, slot_attributes(one), windows) for one in (dataset, again)))


def test_shrunk_covariance_is_that_of_the_paper():
    values = np.random.default_rng(0).normal(size=(12, 5)) * [1, 2, 3, 4, 5]
    n, width = values.shape
    centred = values - values.mean(0)
    sample = sum(np.outer(row, row) for row in centred) / n
    middle = np.trace(sample) / width
    d2 = np.linalg.norm(sample - middle * np.eye(width)) ** 2 / width
    b2 = sum(np.linalg.norm(np.outer(row, row) - sample) ** 2 / width for row in centred) / n**2
    share = min(b2, d2) / d2
    assert 0 < share < 1
    assert np.allclose(shrunk_covariance(values), share * middle * np.eye(width) + (1 - share) * sample)
    both = shrunk_covariance(np.stack([values, 2 * values]))
    assert np.allclose(both[1], 4 * shrunk_covariance(values))
