"""Whatever dress a table is written in, it is read with equal values or refused: never with other values."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.data.reading import read
from llmrec.errors import LlmrecError

NAMES = {
    "en": ("CustomerID", "StockCode", "InvoiceDate", "UnitPrice", "Quantity", "Product name"),
    "de": ("Kundennr", "Artikelnummer", "Bestelldatum", "Preis (EUR)", "Menge", "Bezeichnung"),
    "fr": ("N° client", "Référence article", "Date de commande", "Prix unitaire", "Quantité", "Libellé"),
    "es": ("Código de cliente", "id_producto", "fecha", "Precio", "cantidad", "Nombre del producto"),
    "zh": ("客户编号", "商品编号", "下单时间", "单价", "数量", "商品名称"),
}
WORDS = {
    "en": ("red mug", '12" disk', "tea, green", "lamp; small", "a|b", "it's", "£5 card"),
    "de": ("Größe M", "Tür", "Äpfel; süß", "Öl, 5 l", "Maß", "Straße", "Übertopf"),
    "fr": ("café crème", "été", "l’œuf", "pâte à tarte", "garçon", "où", "Noël"),
    "es": ("año", "camión", "niña, azul", "¿qué?", "café", "jamón"),
    "zh": ("红色茶杯", "蓝色的大花瓶", "茶", "不锈钢保温杯", "儿童玩具，木制", "T恤衫"),
    "ru": ("красная кружка", "лампа", "ёлка"),
    "pl": ("żółty kubek", "łóżko", "świeca"),
    "tw": ("紅色茶杯", "不鏽鋼保溫杯", "兒童玩具"),
    "kr": ("빨간 머그컵", "파란 꽃병", "어린이 장난감"),
    "jp": ("赤いマグカップ", "青い花瓶です", "おもちゃ"),
}
ENCODINGS = {
    "en": ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "cp850"),
    "de": ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "cp850", "mac_roman", "iso8859_15"),
    "fr": ("utf-8", "cp1252", "utf-16", "mac_roman", "iso8859_15"),
    "es": ("utf-8", "latin-1", "cp1252", "utf-16", "cp850", "mac_roman"),
    "zh": ("utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-be"),
    "ru": ("utf-8", "cp1251", "koi8_r", "cp866", "iso8859_5"),
    "pl": ("utf-8", "cp1250", "iso8859_2"),
    "tw": ("utf-8", "big5"),
    "kr": ("utf-8", "euc_kr"),
    "jp": ("utf-8", "shift_jis", "euc_jp"),
}
DATES = {
    "iso": "%Y-%m-%d %H:%M:%S",
    "iso day": "%Y-%m-%d",
    "dmy.": "%d.%m.%Y %H:%M",
    "dmy/": "%d/%m/%Y",
    "dmy-": "%d-%m-%y %H:%M:%S",
    "mdy/": "%m/%d/%Y %I:%M %p",
    "mdy two digits": "%m/%d/%y",
    "ymd/": "%Y/%m/%d %H:%M",
    "ymd two digits": "%y.%m.%d",
    "chinese": "%Y年%m月%d日 %H:%M",
    "named": "%d %b %Y %H:%M",
    "named us": "%B %d, %Y",
    "digits": "%Y%m%d",
}
LOCALES = {
    "plain": (".", ""),
    "us": (".", ","),
    "de": (",", "."),
    "fr": (",", "\u00a0"),
    "ch": (".", "'"),
    "se": (",", " "),
    "comma": (",", ""),
}


@dataclass(frozen=True)
class Dress:
    """How a table is written."""

    words: str
    names: str
    encoding: str
    separator: str
    date: str
    locale: str
    decimals: int
    newline: str
    quoting: int


@st.composite
def dresses(draw):
    words = draw(st.sampled_from(sorted(WORDS)))
    return Dress(
        words,
        words if words in NAMES else "en",
        draw(st.sampled_from(ENCODINGS[words])),
        draw(st.sampled_from([",", ";", "\t", "|"])),
        draw(st.sampled_from(sorted(DATES))),
        draw(st.sampled_from(sorted(LOCALES))),
        draw(st.integers(0, 3)),
        draw(st.sampled_from(["\n", "\r\n", "\r"])),
        draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])),
    )


IDS = st.one_of(
    st.integers(0, 10**6).map(str),
    st.integers(0, 999).map(lambda number: f"{number:05d}"),
    st.sampled_from(["A1", "85123A", "x-7", "1e5", "12.0", "NA1", "true", "2024-01-05", "1,5"]),
)
ROWS = st.lists(
    st.tuples(
        IDS,
        IDS,
        st.integers(0, 20_000_000).map(lambda minute: datetime(1990, 1, 1) + timedelta(minutes=minute)),
        st.one_of(st.integers(0, 10**9), st.integers(0, 10_000)),
        st.one_of(st.integers(1, 20), st.integers(1, 10**6)),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=8,
)


def number(value: int, decimals: int, locale: str) -> str:
    """`value` / 10**decimals as a locale writes it."""
    sign, apart = LOCALES[locale]
    text = f"{value / 10**decimals:,.{decimals}f}"
    return text.replace(",", "\0").replace(".", sign).replace("\0", apart)


def written(dress: Dress, rows: list) -> tuple[bytes, list[dict]]:
    """The bytes of the file, and the values that it holds."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=dress.separator, lineterminator=dress.newline, quoting=dress.quoting)
    writer.writerow(NAMES[dress.names])
    true = []
    for user, item, time, price, quantity, word in rows:
        text = time.strftime(DATES[dress.date])
        title = WORDS[dress.words][word % len(WORDS[dress.words])]
        cost, count = number(price, dress.decimals, dress.locale), number(quantity, 0, dress.locale)
        writer.writerow([user, item, text, cost, count, title])
        true.append(
            {
                "user_id": user,
                "item_id": item,
                "timestamp": datetime.strptime(text, DATES[dress.date]),
                "price": round(price / 10**dress.decimals, dress.decimals),
                "quantity": float(quantity),
                "title": title,
            }
        )
    return file.getvalue().encode(dress.encoding, errors="strict"), true


def seconds(value: object) -> datetime:
    """A time as `read` gives it: a datetime, or text that `build` reads."""
    if isinstance(value, datetime):
        return value
    text = str(value)
    return datetime.strptime(text, "%Y%m%d") if text.isdigit() else datetime.fromisoformat(text)


def as_read(table: pa.Table) -> list[dict]:
    """The rows as `written` says them."""
    rows = table.select(["user_id", "item_id", "timestamp", "price", "quantity", "title"]).to_pylist()
    kept = []
    for row in rows:
        ids = {name: f"{row[name]:.1f}" if isinstance(row[name], float) else str(row[name]) for name in ("user_id", "item_id")}
        kept.append(row | ids | {"timestamp": seconds(row["timestamp"])})
    return kept


def check(path, dress: Dress, rows: list) -> bool:
    """Whether the table was read; a wrong value is an AssertionError."""
    try:
        data, true = written(dress, rows)
    except UnicodeEncodeError:
        return False
    path.write_bytes(data)
    try:
        table = read(path).table
    except LlmrecError as error:
        assert "--" in str(error) or "save" in str(error) or "export" in str(error).lower(), error
        return False
    assert as_read(table) == true
    return True


@pytest.mark.slow
def test_a_table_in_any_dress_is_read_with_equal_values_or_refused(tmp_path):
    was_read = []

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(dress=dresses(), rows=ROWS)
    def each(dress, rows):
        was_read.append(check(tmp_path / "export.csv", dress, rows))

    each()
    assert sum(was_read) > len(was_read) / 3  # about half are; a reader that refuses every table is none
