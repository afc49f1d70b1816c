"""From shop to shop: trained on some Amazon categories, asked about another one, of which nothing is known but the titles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import amazon
from benchmarks.protocol import Aim, Benchmark, ByPart, Reference, Setting
from llmrec.data.dataset import Dataset

NAME = "transfer"
SHOPS, LEFT_OUT, ASKED = ("beauty", "clothing", "health", "electronic"), "electronic", "book"
USERS, USERS_SEED = 5000, 2014  # who is asked: a part of the protocol, whatever the seed of training
METRIC = "ndcg@10"


def transfer(data: str | Path) -> Benchmark:
    """`transfer`, over Amazon reviews with ties shuffled."""
    return between({name: amazon.dataset(data, name) for name in (*SHOPS, ASKED)}, LEFT_OUT, ASKED)


def between(shops: Mapping[str, Dataset], left_out: str, asked: str) -> Benchmark:
    """Each user's last item in the shop `asked`, ranked among all but those seen, by what was learned in the others.

    Of the shop that is asked about nothing is trained on, not even counts: `users` are none. Constants are chosen by leaving
    another shop out in the same way. At most `USERS` users of either are asked, drawn once.
    """
    here = ByPart(_in_domain(shops[left_out], left_out), _in_domain(shops[asked], asked))
    setting = Setting(amazon.SETTING, here.validation.settings[0].test, here.test.settings[0].test, "unseen")
    known = ByPart(
        tuple(shop for name, shop in shops.items() if name not in (left_out, asked)),
        tuple(shop for name, shop in shops.items() if name != asked),
    )
    labels = ByPart(f"trained on {left_out}", f"trained on {asked}")
    aims = (
        Aim(setting.name, METRIC, 0.6, f", {labels.test}"),
        Aim(setting.name, METRIC, 1.0, "best control"),
    )
    nobody = np.zeros(0, np.int64)
    return Benchmark(
        NAME,
        shops[left_out].take(nobody),
        nobody,
        (setting,),
        (setting.name, METRIC),
        aims,
        shops[asked].take(nobody),
        nobody,
        ByPart(*(Reference(labels.of(part), (here.of(part),), ("item kNN",)) for part in ("validation", "test"))),
        known,
    )


def _in_domain(whole: Dataset, name: str) -> Benchmark:
    """Leave-last-out as it is elsewhere, with at most `USERS` users asked on test."""
    benchmark = amazon.last_out(whole, name)
    setting = benchmark.settings[0]
    drawn = np.sort(np.random.default_rng(USERS_SEED).permutation(len(setting.test))[:USERS])
    return replace(benchmark, settings=(replace(setting, test=setting.test.take(drawn)),))
