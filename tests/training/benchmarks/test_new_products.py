"""Laws of the protocol for new products, on made-up households: no new product is trained on, supports end before queries."""

from __future__ import annotations

import numpy as np

from benchmarks.new_products import KNOWN, asked_for_products
from llmrec.data.build import build


def test_new_products_are_asked_for_and_neither_known_nor_trained_on():
    rng, rows = np.random.default_rng(0), []
    for user in range(60):
        for trip in range(int(rng.integers(9, 20))):
            rows += [(f"h{user:02}", f"p{item:02}", f"{user}-{trip}", 86_400.0 * trip) for item in rng.choice(40, 3, False)]
    names = ("user_id", "item_id", "basket_id", "timestamp")
    whole, _ = build({name: [row[column] for row in rows] for column, name in enumerate(names)})
    new = np.arange(whole.n_items) % 8 == 0
    benchmark = asked_for_products(whole, new)
    (setting,) = benchmark.settings
    assert not new[benchmark.train.item].any() and benchmark.train.n_users == 42
    assert (setting.only("test") == new).all()
    people = [set(np.array(benchmark.train.users.values)[benchmark.users])]
    for tasks in (setting.validation, setting.test):
        data = tasks.dataset
        asked = [data.users[user] for user in tasks.user]
        for t, user in enumerate(asked):
            row = whole.users.find([user])[0]
            mine = slice(whole.start[row], whole.start[row + 1])
            item, known = whole.item[mine], whole.basket[mine] < KNOWN
            assert data.item[tasks.support(t)].tolist() == item[known & ~new[item]].tolist()
            assert data.item[tasks.query(t)].tolist() == item[~known & new[item]].tolist() != []
        people.append(set(asked))
    assert len(people[1]) > 2 and not people[0] & people[1] and not people[0] & people[2] and not people[1] & people[2]
