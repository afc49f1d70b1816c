"""One folder with the files that the pages name, and with a tiny recommender in `shop/`: made once, copied for each page."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import write_tiny

from llmrec import OuterSettings, Recommender, Scenes, Settings, Weights
from llmrec.ranking.ranker import RankerSettings
from llmrec.scenes.learning import LearnSettings, MixSettings

WORDS = ("red", "blue", "green", "small", "large", "mug", "lamp", "rope", "tent", "soap")
NAMES = ("ann", "bob", *(f"u{number:02d}" for number in range(2, 46)))
ITEMS = [f"{WORDS[i % 5]}-{WORDS[5 + i // 5 % 5]}" for i in range(25)]
COLOURS, THINGS = ("rot", "blau", "grün", "weiß", "gelb"), ("Becher", "Lampe", "Seil", "Zelt", "Seife")
GERMAN = ("Rechnungsnr", "Artikelnr", "Bezeichnung", "Menge", "Rechnungsdatum", "Preis", "Kundennr", "Land")
BROKEN = 31  # the line of orders.csv that has a field too many


def events(users: tuple[str, ...], seed: int, baskets: int = 7) -> list[tuple[Any, ...]]:
    """Purchases, one a day: even users like one half of the items, odd ones the other."""
    rng, rows = np.random.default_rng(seed), []
    for number, user in enumerate(users):
        for day, place in enumerate(rng.choice(12, baskets, replace=False) * 2 + number % 2):
            when = f"2026-0{1 + day}-{1 + number % 28:02} {(10, 20)[day % 2]}:{number % 60:02}"
            rows.append((user, ITEMS[place], when, 4.5 + place))
    return rows


def orders() -> str:
    """An export in German dress, with the faults of a real one: a cancelled order, postage, a customer without number."""
    rows, rng = [";".join(GERMAN)], np.random.default_rng(5)
    for customer in range(60):
        for basket in range(5):
            for item in rng.choice(8, 2, replace=False) * 3 + customer % 3:
                who = "" if (customer, basket) == (7, 1) else 17_800 + customer
                title, price = f"{THINGS[item // 5]} {COLOURS[item % 5]}", f"{item},95"
                when = f"{2 + item}.{1 + basket:02}.2026 {9 + basket}:15"
                rows.append(f"{53_000 + customer * 9 + basket};{item:05d};{title};{1 + item % 4};{when};{price};{who};DE")
    rows.append("C53900;00004;Becher gelb;-3;14.03.2026 10:15;4,95;17801;DE")
    rows.append("53901;POST;Porto;1;14.03.2026 10:20;4,90;17801;DE")
    rows[BROKEN - 1] += ";?"
    return "\n".join(rows) + "\n"


def scene(letter: str, users: int, seed: int) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Items and events of a shop of 24 items; even customers like one half of them, odd ones the other."""
    rng = np.random.default_rng(seed)
    items = [(f"{letter}{i}", f"{WORDS[i % 5]} {WORDS[5 + i // 5 % 5]}") for i in range(24)]
    rows = [
        (f"{letter}{user}", f"{letter}{item}", f"2026-01-{1 + day:02}")
        for user in range(users)
        for day, item in enumerate(rng.choice(12, 5, replace=False) * 2 + user % 2)
    ]
    return items, rows


def write(path: Path, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


@dataclass(frozen=True)
class Tiny:
    """What stands for packaged weights and default settings while pages are read."""

    weights: Path
    settings: Settings
    scenes: LearnSettings
    cache: Path

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("LLMREC_CACHE", str(self.cache))
        patch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(self.weights)))
        patch.setattr(Recommender.__init__, "__defaults__", (None, self.settings, 0, None))
        patch.setattr(Scenes.__init__, "__defaults__", (None, self.scenes, 0, None, None))
        for way in ("quick", "best"):
            patch.setattr(Settings, way, staticmethod(lambda: self.settings))


@pytest.fixture(scope="session")
def tiny(tiny_folders: dict[str, Path], tiny_settings: Any, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    moments = replace(tiny_settings.train, max_steps=3, batch_size=8, max_slots=16)
    ranker = RankerSettings(hidden=2, max_steps=5)
    small = replace(tiny_settings, train=moments, outer=OuterSettings(episodes=2), counts_ranker=ranker, blend=ranker)
    few = LearnSettings(sizes=(8,), draws=1, queries=40, mix=MixSettings(bends=2, steps=10))
    return Tiny(tiny_folders["bert"], small, few, tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def made(tiny: Tiny, tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pages read."""
    folder = tmp_path_factory.mktemp("pages")
    names = ("user_id", "item_id", "timestamp", "price")
    write(folder / "events.csv", names, events(NAMES, 0))
    write(folder / "clicks.csv", names, events(("eve", "tom"), 1, 3))
    table = [(item, item.replace("-", " "), item.split("-")[1], 4.5 + place) for place, item in enumerate(ITEMS)]
    write(folder / "items.csv", ("item_id", "title", "category", "price"), table)
    for number, (name, users) in enumerate({"beauty": 70, "health": 70, "toys": 16}.items()):
        shelf, rows = scene(name[0], users, number)
        write(folder / f"{name}_items.csv", ("item_id", "title"), shelf)
        write(folder / f"{name}_events.csv", ("user_id", "item_id", "timestamp"), rows)
    (folder / "orders.csv").write_bytes(orders().encode("latin-1"))
    (folder / "tiny.yaml").write_text(tiny.settings.to_yaml(), encoding="utf-8")
    (folder / "smollm2").mkdir()
    write_tiny("llama", tiny_folders["llama"], folder / "smollm2")
    with pytest.MonkeyPatch.context() as patch:
        tiny.stand_in(patch)
        fitted = Recommender().fit(str(folder / "events.csv"), str(folder / "items.csv"), verbose=False)
        fitted.save_pretrained(folder / "shop", histories=True)
    return folder


@pytest.fixture
def folder(made: Path, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Any) -> Path:
    """A copy of one's own, as the working folder; a hub on this machine stands for the Hugging Face hub."""
    target = tmp_path / "reader"
    shutil.copytree(made, target)
    monkeypatch.chdir(target)
    tiny.stand_in(monkeypatch)
    return target
