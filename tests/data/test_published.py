"""Files of published data sets and of other libraries, in their own layout, are taken as they are: `build` and the command."""

from __future__ import annotations

import gzip
import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from llmrec.data.build import build
from llmrec.data.reading import read
from llmrec.data.user_tables import fit_user_table

EVENTS = [
    (user, item, 1 + (user + item) % 5, 978_300_000 + 86_400 * user + 3_600 * item) for user in (1, 2) for item in (1, 2, 3)
]
FLAGS = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"


def write(folder: Path, name: str, *rows: str, encoding: str = "utf-8") -> Path:
    (folder / name).write_text("".join(f"{row}\n" for row in rows), encoding=encoding)
    return folder / name


def json_lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def of_movielens_100k(folder):
    events = write(folder, "u.data", *["\t".join(map(str, event)) for event in EVENTS])
    about = "01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)"
    items = [f"{item}|Misérables, Les ({1990 + item})|{about}|{FLAGS}" for item in (1, 2, 3)]
    users = write(folder, "u.user", "1|24|M|technician|85711", "2|53|F|other|94043")
    return events, write(folder, "u.item", *items, encoding="latin-1"), users


def of_movielens_1m(folder):
    events = write(folder, "ratings.dat", *["::".join(map(str, event)) for event in EVENTS])
    items = [f"{item}::Misérables, Les ({1990 + item})::Animation|Children's|Comedy" for item in (1, 2, 3)]
    users = write(folder, "users.dat", "1::F::1::10::48067", "2::M::56::16::70072")
    return events, write(folder, "movies.dat", *items, encoding="latin-1"), users


def of_movielens_latest(folder):
    events = write(
        folder, "ratings.csv", "userId,movieId,rating,timestamp", *["{},{},{}.0,{}".format(*event) for event in EVENTS]
    )
    items = [f'{item},"Misérables, Les ({1990 + item})",Animation|Comedy' for item in (1, 2, 3)]
    return events, write(folder, "movies.csv", "movieId,title,genres", *items), None


def of_recbole(folder):
    rows = ["\t".join(map(str, event)) for event in EVENTS]
    events = write(folder, "x.inter", "user_id:token\titem_id:token\trating:float\ttimestamp:float", *rows)
    items = [f"{item}\tMisérables, Les ({1990 + item})\t1995" for item in (1, 2, 3)]
    items = write(folder, "x.item", "item_id:token\tmovie_title:token_seq\trelease_year:token", *items)
    return events, items, write(folder, "x.user", "user_id:token\tage:token\tgender:token", "1\t24\tM", "2\t53\tF")


def of_rectools(folder):
    events = write(
        folder, "x.csv", "user_id,item_id,weight,datetime", *["{},{},{},2001-01-0{} 10:00".format(*e[:3], e[1]) for e in EVENTS]
    )
    return events, None, None


def of_replay(folder):
    return (
        write(folder, "x.csv", "user_idx,item_idx,relevance,timestamp", *["{},{},{},{}".format(*e) for e in EVENTS]),
        None,
        None,
    )


def of_amazon_2018(folder):
    reviews = [
        {"overall": float(r), "verified": True, "reviewTime": "01 1, 2001", "reviewerID": f"A{u}", "asin": f"00{i}"}
        | {"reviewText": "good", "summary": "Five Stars", "unixReviewTime": t}
        | ({"vote": "1,234", "style": {"Format:": " Book"}} if i == 1 else {})
        for u, i, r, t in EVENTS
    ]
    prices = {1: "$12.99", 2: "$1,299.00", 3: ".a-section{margin}"}
    items = [
        {"category": ["Films", "Drama"], "description": ["Of 1862"], "title": f"Misérables, Les ({1990 + i})", "brand": "X"}
        | {"rank": "2,938,573 in Films", "details": {"ASIN: ": f"00{i}"}, "price": prices[i], "asin": f"00{i}", "imageURL": []}
        for i in (1, 2, 3)
    ]
    events, catalogue = folder / "Films_5.json.gz", folder / "meta_Films.json.gz"
    events.write_bytes(gzip.compress(json_lines(reviews).encode()))
    catalogue.write_bytes(gzip.compress(json_lines(items).encode()))
    return events, catalogue, None


def of_amazon_2023(folder):
    reviews = [
        {"rating": float(r), "title": "Lovely", "text": "Really", "images": [], "asin": f"V{u}", "parent_asin": f"P{i}"}
        | {"user_id": f"A{u}", "timestamp": t * 1000 + 123, "helpful_vote": 0, "verified_purchase": True}
        for u, i, r, t in EVENTS
    ]
    prices = {1: 12.99, 2: None, 3: "from 14.99"}
    items = [
        {"main_category": "Films", "title": f"Misérables, Les ({1990 + i})", "average_rating": 4.8, "features": []}
        | {
            "description": ["Of 1862"],
            "price": prices[i],
            "images": [{"thumb": "x"}],
            "store": "X",
            "categories": ["Films", "Drama"],
        }
        | {"details": {"UPC": "6"} if i == 1 else {"Brand": "x"}, "parent_asin": f"P{i}", "bought_together": None}
        for i in (1, 2, 3)
    ]
    events, catalogue = folder / "Films.jsonl", folder / "meta_Films.jsonl"
    events.write_text(json_lines(reviews))
    catalogue.write_text(json_lines(items))
    return events, catalogue, None


LAYOUTS = (
    *(of_movielens_100k, of_movielens_1m, of_movielens_latest, of_recbole, of_rectools, of_replay, of_amazon_2018),
    of_amazon_2023,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout_is_read_as_it_is(tmp_path, layout):
    events, items, users = layout(tmp_path)
    tables = read(events).table, None if items is None else read(items, "items").table
    for given in ((events, items), tables):
        dataset, report = build(*given)
        assert (dataset.n_events, dataset.n_users, dataset.n_items) == (6, 2, 3)
        assert all(step.rows_dropped == 0 for step in report.steps)
        values = dataset.attributes["weight" if layout is of_rectools else "rating"]
        assert values.tolist() == [rating for _, _, rating, _ in EVENTS]
        if layout is not of_rectools:
            assert [int(time) for time in dataset.time] == [time for *_, time in EVENTS]
        if items is not None:
            assert dataset.catalogue.column("title") == [f"Misérables, Les ({1990 + item})" for item in (1, 2, 3)]
    if users is not None:
        table = read(users, "users").table
        assert table.column("user_id").to_pylist() == [1, 2] and set(table.column("gender").to_pylist()) == {"M", "F"}


def test_what_amazon_and_movielens_say_of_items(tmp_path):
    for layout, category, price in (
        (of_movielens_100k, "Animation|Children's|Comedy", None),
        (of_movielens_1m, "Animation|Children's|Comedy", None),
        (of_amazon_2018, "Films Drama", [12.99, 1299.0, None]),
        (of_amazon_2023, "Films Drama", [12.99, None, None]),
    ):
        (folder := tmp_path / layout.__name__).mkdir()
        events, items, _ = layout(folder)
        catalogue = build(events, items)[0].catalogue
        assert set(catalogue.column("category")) == {category}
        if price is not None:
            found = [None if value != value else value for value in catalogue.column("price")]
            assert found == price and set(catalogue.column("text")) == {"Of 1862"}


def test_reviews_of_amazon_alone_lend_no_item_their_title(tmp_path):
    events = of_amazon_2023(tmp_path)[0]
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    for given in (events, rows, read(events).table):
        assert build(given)[0].catalogue.column("title") == ["item P1", "item P2", "item P3"]


def test_a_name_alone_makes_no_published_layout(tmp_path):
    with pytest.raises(ValueError, match="line 1: holds values such as '1'"):
        build(write(tmp_path, "u.data", "1\t2\t3", "1\t3\t4"))
    named = write(tmp_path, "ratings.dat", "user::item::stars::time", *["::".join(map(str, event)) for event in EVENTS])
    assert build(named)[0].n_events == 6


def test_recboles_own_files_of_movielens_100k():
    folder = Path(next(iter(find_spec("recbole").submodule_search_locations))) / "dataset_example" / "ml-100k"
    dataset, _ = build(folder / "ml-100k.inter", folder / "ml-100k.item")
    assert (dataset.n_events, dataset.n_users, dataset.n_items) == (100_000, 943, 1682)
    assert dataset.catalogue.column("title")[0] == "Toy Story" and dataset.catalogue.column("release_year")[0] == "1995"
    users, _ = fit_user_table(dataset, folder / "ml-100k.user")
    assert users.encoding.names == ("age", "gender", "occupation", "zip_code")
