"""A made MovieLens in RecBole's format, with two tastes, and settings that train for moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PEOPLE, FILMS, RATINGS = 48, 140, 125


@pytest.fixture(scope="session")
def films_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """48 people rate 125 of 140 films each: the half that they like with 5, the other half with 2."""
    folder, rng = tmp_path_factory.mktemp("ml-100k"), np.random.default_rng(0)
    films = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    films += [f"{film}\t{'Red' if film % 2 else 'Blue'} Lamp {film}, The\t{1950 + film % 40}\tDrama" for film in range(FILMS)]
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    for person in range(PEOPLE):
        for place, film in enumerate(rng.permutation(FILMS)[:RATINGS]):
            ratings.append(f"{person}\t{film}\t{5 if (film + person) % 2 else 2}\t{880_000_000 + 60 * place}")
    for name, lines in (("ml-100k.inter", ratings), ("ml-100k.item", films)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "ml-100k.inter", folder / "ml-100k.item"


@pytest.fixture
def tiny_plan(tiny_folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The quick plan with next to no training, over a tiny transformer."""
    from llmrec.demo.plan import quick
    from llmrec.encoder.weights import Weights
    from llmrec.ranking.ranker import RankerSettings

    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    little = RankerSettings(hidden=2, max_steps=5)

    def less(settings: Any) -> Any:
        train = replace(settings.train, max_steps=2, batch_size=4)
        return replace(settings, train=train, counts_ranker=little, blend=little, ranking_tasks=20)

    plan = quick()
    return replace(plan, films=less(plan.films), trips=less(plan.trips), steps=less(plan.steps))


@pytest.fixture
def normal() -> Callable[[float], np.ndarray]:
    """`normal(mean)`: 300 users' values around it, nearly equal, so that a difference of .01 is beyond noise."""
    rng = np.random.default_rng(1)
    return lambda mean: mean + 0.01 * rng.standard_normal(300)
