from __future__ import annotations

import time
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.data.text import folded, normalise, normalise_column

# Text that is likely to break: pieces of entities and tags, odd spaces, joiners, compatibility characters, any character.
PIECES = st.sampled_from(
    [
        "&",
        "&amp;",
        "amp;",
        "&lt;",
        "&gt;",
        "#38;",
        "&#x26;",
        "<",
        ">",
        "<b>",
        "</p>",
        "<br/>",
        "＆",
        "ﷺ",
        "\u200d",
        "\ufeff",
        "\x00",
    ]
)
MESSY = st.lists(st.one_of(PIECES, st.text(max_size=4), st.sampled_from(list("ab;# \t\n8"))), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("5&quot; pan", '5" pan'),
        ("&amp;quot;twice&amp;quot;", '"twice"'),
        ("&amp;amp;amp;lt;3", "<3"),
        ("<b>Bold</b> <a href='x'>link</a><br/>end", "Bold link end"),
        ("&lt;b&gt;escaped tag&lt;/b&gt;", "escaped tag"),
        ("I <3 you, a<b and c>d", "I <3 you, a<b and c>d"),
        ("Fish&Chips &notes &unknown;", "Fish&Chips &notes &unknown;"),
        ("  a \t b\u00a0\u3000c\r\n", "a b c"),
        ("a\x00b\u200bc\ufeff", "abc"),
        ("ｆｕｌｌ ﬁne", "full fine"),
        ("cafe\u0301", "caf\u00e9"),
        ("family 👨‍👩‍👧 heart ❤️ flag 🇳🇱", "family 👨‍👩‍👧 heart ❤️ flag 🇳🇱"),
        ("", ""),
    ],
)
def test_known_answers(raw, clean):
    assert normalise(raw) == clean


@given(MESSY, st.integers(1, 60))
def test_idempotent_capped_and_in_normal_form(raw, cap):
    once = normalise(raw, cap)
    assert normalise(once, cap) == once
    assert len(once) <= cap
    assert unicodedata.is_normalized("NFKC", once)
    assert once == " ".join(once.split())
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in once)


@given(st.lists(st.one_of(st.none(), MESSY), max_size=8))
def test_a_column_is_its_texts_one_by_one(texts):
    storable = [None if text is None else text.encode("utf-8", "ignore").decode() for text in texts]
    column, changed, counts = normalise_column(pa.chunked_array([pa.array(storable, pa.string())]), cap=20)
    expected = [None if text is None else normalise(text, 20) for text in storable]
    assert column.to_pylist() == expected
    assert changed.tolist() == [before != after for before, after in zip(storable, expected, strict=True)]
    assert bool(counts) == bool(changed.any())


def test_the_cap_leaves_no_space_at_the_end():
    assert normalise("ab cd", 3) == "ab"


def test_repairs_are_counted_by_row():
    column = pa.chunked_array([["a &amp; b", "a &amp; b"], ["x  y", "fine", None, "z" * 50]])
    _, changed, counts = normalise_column(column, cap=40)
    assert counts == {"html": 2, "space": 1, "capped": 1}
    assert changed.tolist() == [True, True, True, False, False, True]


def test_a_megabyte_is_capped_quickly_whatever_it_holds():
    started = time.perf_counter()
    for unit in ("x", "&amp;", "amp;&", "<b ", "&#3", "\x00", " ", "<a b='"):
        assert len(normalise(unit * (1_000_000 // len(unit)), 100)) <= 100
    # Entities whose digits are entities, 2,000 deep: "8" is "&#56;", its "6" is "&#54;", and so on.
    nested = "8"
    for step in range(2000):
        nested = f"&#{'4' if step % 5 == 0 else '5'}{nested};"
    given_up = normalise(nested)
    assert given_up.startswith("#")  # a bound on the work, not the "8" that 2,000 rounds would find
    assert normalise(given_up) == given_up
    assert time.perf_counter() - started < 5


def test_folding_ignores_case_punctuation_and_order_only():
    assert folded("Red Shoes, Size 5") == folded("size-5 RED shoes")
    assert folded("Red Shoes, Size 5") != folded("Red Shoes, Size 6")
    assert len(np.unique([folded(text) for text in ("a b", "b a", "A, b!")])) == 1
