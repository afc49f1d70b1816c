"""What is seen of an item, column by column, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.scenes.few import Ground, learn_few
from llmrec.scenes.readings import COLUMNS, read_base, read_few, stacked
from llmrec.scenes.shelf import BEST, BEST_FADE, TEXT, part_of
from llmrec.scenes.worlds import last_steps


@pytest.fixture(scope="module")
def world(shop):
    made = shop(5, True, users=40)
    among = np.arange(made.dataset.n_items) % 3 > 0
    rng = np.random.default_rng(0)
    known = Ground(rng.normal(size=(12, 12)).astype(np.float32), rng.normal(size=12).astype(np.float32))
    shelf = part_of(made.shelf, among)
    few = learn_few(known, shelf, made.dataset, np.arange(20))
    tasks = last_steps(made.dataset, np.arange(20, 40), among)
    return made, shelf, known, few, tasks, read_base(known, shelf, tasks) | read_few(few, shelf, tasks)


def test_every_column_is_there_for_the_scene_s_items_alone(world):
    made, shelf, _, _, tasks, columns = world
    assert tuple(columns) == COLUMNS and COLUMNS[: len(TEXT)] == TEXT
    assert {part.shape for part in columns.values()} == {(len(tasks), len(shelf.items))}
    assert 0 < len(shelf.items) < made.dataset.n_items
    assert stacked(columns, COLUMNS).dtype == np.float32


def test_text_columns_are_what_loops_say(world):
    made, shelf, known, _, tasks, columns = world
    vectors, item = shelf.vectors, made.dataset.item
    for task in range(len(tasks)):
        history = item[tasks.support(task)]  # one event a basket
        mean = sum(0.6**back * vectors[one] for back, one in enumerate(history[::-1]))
        mean = mean / np.linalg.norm(mean)
        for place, one in enumerate(shelf.items):
            like = [BEST_FADE**back * vectors[past] @ vectors[one] for back, past in enumerate(history[::-1][:BEST])]
            expected = (mean @ vectors[one], max(like), vectors[history[-1]] @ vectors[one], mean @ known.map @ vectors[one])
            found = [columns[name][task, place] for name in ("mean", "best", "last", "map")]
            np.testing.assert_allclose(found, expected, atol=1e-4)
            assert columns["lean"][task, place] == pytest.approx(vectors[one] @ known.lean, abs=1e-4)
            assert columns["own"][task, place] == pytest.approx(np.log1p((history == one).sum()))


def test_what_a_few_said_is_what_loops_say(world):
    made, shelf, _, few, tasks, columns = world
    item = made.dataset.item
    for task in (0, 7):
        history = item[tasks.support(task)][::-1]
        together = sum(0.6**back * few.together[[past]].toarray()[0] for back, past in enumerate(history))
        np.testing.assert_allclose(columns["together"][task], np.log1p(together[shelf.items]), atol=1e-5)
        np.testing.assert_allclose(columns["bought"][task], np.log1p(few.bought[shelf.items]), atol=1e-6)
        mean = sum(0.6**back * shelf.vectors[past] for back, past in enumerate(history))
        mean = np.append(mean / np.linalg.norm(mean), 0.5)
        expected = mean @ few.down @ few.up @ shelf.vectors[shelf.items].T
        np.testing.assert_allclose(columns["change"][task], expected, atol=1e-4)


def test_nothing_is_read_of_the_query(world):
    made, shelf, known, few, tasks, columns = world
    wrong = made.dataset.item.copy()
    wrong[tasks.split] = (wrong[tasks.split] + 1) % made.dataset.n_items
    other = type(made.dataset)(**{**{n: getattr(made.dataset, n) for n in made.dataset.__dataclass_fields__}, "item": wrong})
    again = type(tasks)(other, tasks.start, tasks.split, tasks.stop)
    for name, values in (read_base(known, shelf, again) | read_few(few, shelf, again)).items():
        np.testing.assert_array_equal(values, columns[name])
