"""Which scenes are known, and that what was tried is not what is tested."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from llmrec.data.build import build
from llmrec.errors import DataError
from studies.recognition import cases


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    names = (cases.HOME, *cases.COUNTRIES_TRIED, *cases.COUNTRIES_TESTED, "Elsewhere")
    user = np.repeat(np.arange(50), 24)
    time = np.tile(np.arange("2010-12-15", "2012-12-01", np.timedelta64(30, "D"), "datetime64[s]"), 50).astype(float)
    table = {"user_id": user, "item_id": rng.integers(0, 9, len(user)), "timestamp": time, "category": None}
    table["scene"] = [names[one % len(names)] for one in user]
    item = table["item_id"]
    items = {"item_id": list(range(9)), "title": [f"t{i}" for i in range(9)], "category": [f"c{i // 2}" for i in range(9)]}
    del table["category"]
    return build({**{k: list(v) for k, v in table.items()}, "item_id": item.tolist()}, items)[0]


def test_countries_tested_were_not_among_those_tried(shop):
    home, union = cases.countries(shop)
    for case in (home, union):
        assert not {fold.new for fold in case.tried} & {fold.new for fold in case.tested}
        for fold in case.tried:
            assert not set(fold.known) & set(cases.COUNTRIES_TESTED)
        for fold in (*case.tried, *case.tested):
            assert fold.new not in fold.known and fold.known[0] == cases.HOME
    assert {fold.home for fold in home.tested} == {cases.HOME} and {fold.home for fold in union.tested} == {""}
    named = np.array([*home.scenes, ""])[home.label]
    there = np.array(shop.scenes)[shop.scene]
    assert (named == np.where(there == "Elsewhere", "", there)).all()


def test_seasons_are_pairs_of_months_of_one_year(shop):
    case = cases.season(shop, "made", 2011, 5)
    month = shop.time.astype("datetime64[s]").astype("datetime64[M]").astype(str)
    for name, inside in (
        ("March, April", {"2011-03", "2011-04"}),
        ("September to November", {"2011-09", "2011-10", "2011-11"}),
    ):
        assert set(month[case.label == case.scenes.index(name)]) == inside
    assert set(month[case.label == -1]) >= {"2010-12", "2011-12", "2012-03"}
    assert case.tested[0].new not in case.tested[0].known
    assert all("September to November" not in (*fold.known, fold.new) for fold in case.tried)


def test_departments_are_the_largest(shop):
    case = cases.departments(shop, count=3)
    size = {
        name: int(np.sum([c == name for c in np.array(shop.catalogue.column("category"))[shop.item]])) for name in case.scenes
    }
    assert len(case.scenes) == 3 and list(size.values()) == sorted(size.values(), reverse=True)
    assert {fold.new for fold in case.tried} | {fold.new for fold in case.tested} | {case.scenes[0]} == set(case.scenes)


def test_households_are_in_one_scene_or_none(shop, tmp_path, monkeypatch):
    table = {"household_id": [0, 1, 2, 99], "household_size": ["1", "5+", None, "2"], "age": ["19-24", "65+", "35-44", "45-54"]}
    pyarrow.parquet.write_table(
        pa.table({**table, "income": ["250K+", "Under 15K", "odd", None]}), tmp_path / "demographics.parquet"
    )
    monkeypatch.setattr(cases, "data_folder", lambda: tmp_path)
    found = {case.name: case for case in cases.demography(shop)}
    expected = {"household: size": ("1", "5 or more", ""), "household: age": ("to 34", "55 or more", "35 to 44")}
    expected["household: income"] = ("100K or more", "under 35K", "")
    for name, of_users in expected.items():
        case = found[name]
        for user in range(50):
            label = {case.scenes[one] if one >= 0 else "" for one in case.label[shop.user == user].tolist()}
            assert label == {of_users[user] if user < 3 else ""}
        assert case.tested[0].new != case.tried[0].new and case.tested[0].new not in case.tried[0].known


def test_without_countries_there_is_no_case_of_them():
    dataset = build({"user_id": [0], "item_id": [0], "timestamp": [1]})[0]
    with pytest.raises(DataError, match="no column 'scene'"):
        cases.countries(dataset)
