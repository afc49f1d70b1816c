"""One table in many dresses is one table; what a file does not say is found, told, and held to in every row."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from llmrec.data.build import build
from llmrec.data.meanings import column_meanings, folded
from llmrec.data.reading import detect, read
from llmrec.data.table_format import TableFormat, date_order, table_format
from llmrec.errors import DataError, SchemaError

TITLES = ("red mug", "blue lamp; small", "tea, green", 'a "new" rope')
START = datetime(2026, 3, 28, 9, 30)


@pytest.fixture
def shop() -> pd.DataFrame:
    """Forty purchases under the library's names; ids with and without leading zeros."""
    rows = range(40)
    return pd.DataFrame(
        {
            "user_id": [f"{row % 7:03d}" for row in rows],
            "item_id": [f"{row % 4}A" for row in rows],
            "basket_id": [5000 + row // 2 for row in rows],
            "timestamp": [START + timedelta(hours=13 * row) for row in rows],
            "price": [(row * 37 % 100) * 12.5 + 0.25 for row in rows],
            "quantity": [float(1 + row % 3) for row in rows],
            "title": [TITLES[row % 4] for row in rows],
        }
    )


GERMAN = ["Kundennr", "Artikelnr", "Rechnungsnr", "Datum", "Preis", "Menge", "Bezeichnung"]
CHINESE = ["客户编号", "商品编号", "订单号", "下单时间", "单价", "数量", "商品名称"]
FRENCH = ["N° client", "Code article", "N° de commande", "Date", "Prix unitaire (€)", "Quantité", "Libellé"]


def dressed(
    shop: pd.DataFrame, names: list[str], encoding: str, date_format: str, broken: int | None = None, **options
) -> bytes:
    text = shop.set_axis(names, axis=1).to_csv(index=False, date_format=date_format, **options)
    lines = text.split("\n")
    if broken is not None:
        lines.insert(broken - 1, "x")
    return "\n".join(lines).encode(encoding)


def same(table: pa.Table, shop: pd.DataFrame) -> bool:
    for name in shop.columns:
        came = table.column(name).to_pylist()
        if name == "timestamp" and isinstance(came[0], str):
            came = [datetime.fromisoformat(value) for value in came]
        if came != shop[name].tolist():
            return False
    return True


@pytest.mark.parametrize(
    ("names", "encoding", "date_format", "options"),
    [
        (GERMAN, "latin-1", "%d.%m.%Y %H:%M", {"sep": ";", "decimal": ","}),
        (GERMAN, "utf-8-sig", "%d.%m.%Y %H:%M", {"sep": ";", "decimal": ","}),
        (GERMAN, "utf-16", "%d.%m.%Y %H:%M:%S", {"sep": "\t", "decimal": ","}),
        (CHINESE, "gbk", "%Y年%m月%d日 %H:%M", {}),
        (CHINESE, "gb18030", "%Y/%m/%d %H:%M", {"sep": "\t"}),
        (FRENCH, "cp1252", "%d/%m/%Y à %Hh%M", {"sep": ";", "decimal": ","}),
        (
            ["CustomerID", "StockCode", "InvoiceNo", "InvoiceDate", "UnitPrice", "Quantity", "Description"],
            "utf-8",
            "%m/%d/%Y %I:%M %p",
            {"sep": "\t"},
        ),
        (
            [
                "user_id:token",
                "item_id:token",
                "order_id:token",
                "timestamp:float",
                "price:float",
                "quantity:float",
                "title:token_seq",
            ],
            "utf-8",
            "%Y-%m-%dT%H:%M:%SZ",
            {"sep": "|"},
        ),
    ],
)
@pytest.mark.parametrize("broken", [None, 3])
def test_a_table_in_the_dress_of_a_shop_is_read_with_equal_values(
    tmp_path, shop, names, encoding, date_format, options, broken
):
    path = tmp_path / "export.txt"
    path.write_bytes(dressed(shop, names, encoding, date_format, broken, **options))
    found = read(path, on_bad_rows="skip")
    shop["timestamp"] = shop["timestamp"].dt.tz_localize("UTC") if date_format.endswith("Z") else shop["timestamp"]
    assert same(found.table, shop)
    assert [row.line for row in found.broken] == ([] if broken is None else [broken])
    assert found.unread == () and dict(found.format.columns or ())[names[0]] == "user_id"
    assert detect(path) == found.format


def test_a_plain_file_gives_the_same_data_set_by_either_way(tmp_path, shop):
    path = tmp_path / "events.csv"
    shop.assign(Land="UK").to_csv(path, index=False)
    (one, _), (other, _) = build(path), build(read(path).table)
    assert one.users.values == other.users.values and one.catalogue.ids.values == other.catalogue.ids.values
    assert one.catalogue.column("title") == other.catalogue.column("title")
    for name in ("start", "item", "time", "basket"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, values in one.attributes.items():
        np.testing.assert_array_equal(values, other.attributes[name])


def test_rows_that_differ_in_a_column_that_is_not_read_are_two_events(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("Kunde;Artikel;Datum;Filiale\n1;A;2026-04-13;Nord\n1;A;2026-04-13;Nord\n1;A;2026-04-13;Süd\n")
    found = read(path)
    assert found.unread == ("Filiale",) and build(found.table)[0].n_events == 2


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "csv.bz2", "csv.xz", "parquet", "jsonl", "json", "jsonl.gz"])
def test_files_of_many_kinds(tmp_path, shop, ending):
    path = tmp_path / f"events.{ending}"
    shop = shop.assign(user_id=[f"u{user}" for user in shop["user_id"]])
    if ending == "parquet":
        shop.to_parquet(path)
    else:
        if "json" in ending:
            rows = [row | {"timestamp": str(row["timestamp"])} for row in shop.to_dict("records")]
            text = json.dumps(rows) if ending == "json" else "\n".join(json.dumps(row) for row in rows)
        else:
            text = shop.to_csv(index=False, sep="\t" if ending == "tsv" else ",")
        pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}.get(ending.split(".")[-1], bytes)
        path.write_bytes(pack(text.encode()))
    assert same(read(path).table, shop)


def test_what_is_said_of_text_is_not_told_of_parquet(tmp_path, shop):
    """The options of the command are for both files, of which one may be Parquet."""
    path = tmp_path / "events.parquet"
    shop.to_parquet(path)
    found = read(path, table_format=TableFormat("cp1252", ";"))
    assert found.format.encoding is None is found.format.separator and "events.parquet is read as Parquet" in found.notes[0]


def test_ids_of_two_files_meet_although_one_has_lost_its_zeros(tmp_path):
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text("Kunde;Artikel;Datum\n1;0108;2026-04-13\n1;12;2026-04-14\n")
    items.write_text("Artikelnr;Artikel;Bestand\n108;rot;5\n12;blau;0\n")
    first, second = read(events), read(items, "items")
    dataset, _ = build(first.table, second.table)
    assert dataset.n_events == 2 and dataset.catalogue.column("title") == ["rot", "blau"]
    assert second.table.column("Bestand").to_pylist() == [5.0, 0.0]


def test_columns_of_items_are_numbers_only_where_every_value_is_one(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("Artikelnr;Titel;Gewicht;Lager;PLZ;Farbe\n1;a;1,5;3;01234;rot\n2;b;0,25;x;80331;blau\n3;c;;4;80331;\n")
    table = read(path, "items").table
    assert table.column("Gewicht").to_pylist() == [1.5, 0.25, None]
    assert table.column("Lager").to_pylist() == ["3", "x", "4"] and table.column("PLZ").to_pylist()[0] == "01234"


def test_what_is_known_of_a_format_is_held_to(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("k;a;d;p\n1;A;03/04/2026;1.234\n")
    known = table_format(date_format="dd/mm/yyyy", decimal="comma", columns=["k=user_id,a=item_id", "d=timestamp", "p=price"])
    row = read(path, table_format=known).table.to_pylist()[0]
    assert (row["timestamp"], row["price"]) == (datetime(2026, 4, 3), 1234.0)
    path.write_text("k;a;d;p\n1;A;13/14/2026;1.234\n1;A;12/14/2026;1.5\n1;A;11/10/2026;1,5\n")
    found = read(path, table_format=known)
    assert found.table.column("timestamp").to_pylist() == [None, None, datetime(2026, 10, 11)]
    assert found.table.column("price").to_pylist() == [1234.0, None, 1.5]
    assert found.steps[1].detail == "p: 2 written with a decimal comma" and found.repairs == (
        f"events: {found.steps[1].detail}",
    )
    detail = found.steps[2].detail
    assert found.losses == (f"events: {detail}",)
    assert "2 are not dates or times, such as '13/14/2026', line 2" in detail and "'1.5', line 3" in detail


def test_a_file_without_names_and_one_with_a_line_for_a_spreadsheet(tmp_path):
    path = tmp_path / "ratings.dat"
    path.write_text("1::1193::5::978300760\n2::661::3::978302109\n")
    table = read(path, table_format=table_format(names="user_id,item_id,rating,timestamp")).table
    assert table.column("item_id").to_pylist() == [1193, 661] and table.column("rating").to_pylist() == [5.0, 3.0]
    path.write_text("sep=;\r\nKunde;Artikel;Datum\r\n1;A;2026-04-13\r\n")
    assert read(path).table.column("user_id").to_pylist() == [1]
    path.write_text("'Kunde';'Artikel';'Datum'\n'1';'A;B';'2026-04-13'\n")
    assert read(path).table.column("item_id").to_pylist() == ["A;B"]


def test_numbers_that_programs_write_with_an_exponent_are_times(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user_id,item_id,timestamp\n1,2,1.7e+12\n1,2,1.700000000123E+12\n")
    assert build(read(path).table)[0].time.tolist() == [1.7e9, 1.700000000123e9]


@pytest.mark.parametrize("given", [{"what": "item"}, {"on_bad_rows": "ignore"}])
def test_an_argument_that_there_is_not_is_refused_by_name(tmp_path, given):
    path = tmp_path / "x.csv"
    path.write_text("user_id,item_id,timestamp\n1,2,2026-04-13\n")
    with pytest.raises(DataError, match=f"{next(iter(given))} is .*, expected one of"):
        read(path, **given)


# ---------------------------------------------------------------------------------------- meanings


@pytest.mark.parametrize(
    ("ours", "names"),
    [
        (
            "user_id",
            "Kundennr|Kunden-Nr.|KundenNummer|Kunden_ID|Kundin|client_id|N° client|Numéro de client|"
            "ID Cliente|Código de cliente|usuario|客户编号|用户ID|会员号|CustomerID|userId|reviewerID|"
            "user_id:token|Cust. No.|KäuferID|Kaeufer-Nr",
        ),
        (
            "item_id",
            "Artikelnr|Artikelnummer|Artikel-Code|ProduktID|Code article|Référence produit|id_producto|"
            "Artículo|商品|商品编号|产品ID|movieId|asin|StockCode|sku|EAN|item_id:token|Produkte",
        ),
        (
            "timestamp",
            "Datum|Bestelldatum|Zeitstempel|Date de commande|Horodatage|fecha|Fecha de compra|下单时间|日期|"
            "InvoiceDate|unixReviewTime|timestamp:float|datetime",
        ),
    ],
)
def test_names_of_columns_in_five_languages(ours, names):
    rest = {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp"}
    for name in names.split("|"):
        columns = [name if meaning == ours else other for meaning, other in rest.items()]
        assert (name, ours) in column_meanings(columns, "events").pairs, name


@pytest.mark.parametrize(
    ("names", "meanings"),
    [
        ("Preis (EUR)|Menge|Rechnungs-Nr|Bezeichnung|Warengruppe", "price|quantity|basket_id|title|category"),
        ("Prix unitaire|Quantité|N° de facture|Désignation|Catégorie", "price|quantity|basket_id|title|category"),
        ("Precio|Cantidad|Número de pedido|Descripción|Categoría", "price|quantity|basket_id|title|category"),
        ("价格|数量|订单编号|商品名称|类别", "price|quantity|basket_id|title|category"),
        ("Gesamtpreis|Gewicht|Lieferdatum|Kundenname|Umsatz", ""),
    ],
)
def test_other_columns_in_five_languages(names, meanings):
    found = column_meanings(["user_id", "item_id", "timestamp", *names.split("|")], "events").pairs[3:]
    assert "|".join(ours for _, ours in found) == meanings


def test_a_noun_beside_its_id_is_the_title_and_text_is_one_where_there_is_none():
    assert dict(column_meanings(["商品", "商品编号", "用户", "日期"], "events").pairs)["商品"] == "title"
    assert dict(column_meanings(["Artikelnr", "Artikel", "Beschreibung"], "items").pairs) == {
        "Artikelnr": "item_id",
        "Artikel": "title",
        "Beschreibung": "text",
    }
    found = column_meanings(["sku", "Description"], "items")
    assert dict(found.pairs)["Description"] == "title" and "read as title" in found.notes[0]


def test_a_name_in_events_may_be_that_of_a_customer_and_is_not_read(tmp_path):
    found = column_meanings(["Kundennr", "Name", "Artikelnr", "Datum"], "events")
    assert found.unread == ("Name",)
    path = tmp_path / "x.csv"
    path.write_text("Kundennr,Name,Artikelnr,Datum\n1,Ann,A,2026-04-13\n1,Ann,B,2026-04-14\n")
    assert build(read(path).table)[0].catalogue.column("title") == ["item A", "item B"]
    path.write_text(
        "用户,店铺name,商品,日期\n1,x,A,2026-04-13\n1,x,B,2026-04-14\n", encoding="utf-8"
    )  # `build` reads a to z alone
    assert build(read(path).table)[0].catalogue.column("title") == ["item A", "item B"]
    shopify = ["Name", "Email", "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku"]
    ours = {"Email": "user_id", "Lineitem sku": "item_id", "Lineitem name": "title", "Lineitem price": "price"}
    pairs = dict(column_meanings(shopify, "events").pairs)
    assert ours.items() <= pairs.items() and "Name" not in pairs


def test_a_user_is_known_by_an_id_rather_than_by_an_address():
    for names, ours in (("id|email", "id"), ("email|id", "id"), ("Kundennr|email|id", "Kundennr"), ("email|age", "email")):
        assert column_meanings(names.split("|"), "users").pairs == ((ours, "user_id"),)


def test_the_title_of_a_review_is_not_that_of_the_item():
    columns = ["user_id", "parent_asin", "timestamp", "rating", "title", "text", "verified_purchase"]
    found = column_meanings(columns, "events")
    assert {"title", "text"} <= set(found.unread)


def test_a_meaning_that_is_needed_is_asked_for_with_the_candidates():
    with pytest.raises(SchemaError, match="Perhaps it is 'Kundnr'.*--columns \"Kundnr=user_id\""):
        column_meanings(["Kundnr", "Artikel", "Datum"], "events")
    with pytest.raises(SchemaError, match="columns not understood: 'a'.*--item-columns \"NAME IN THE FILE=title\""):
        column_meanings(["sku", "a"], "items")
    assert column_meanings(["a", "b", "c"], "events", (("a", "user_id"), ("b", "item_id"), ("c", "timestamp"))).unread == ()
    with pytest.raises(SchemaError, match="names 'user_id' twice"):
        column_meanings(["a", "b", "c"], "events", (("a", "user_id"), ("b", "user_id")))


def test_folding_of_names():
    assert folded("N° de Client") == "nclient" and folded("Straße [m]") == "strasse"
    assert folded("Preis pro Stück in EUR") == "preisstuck" and folded("(id)") == "id"


# ---------------------------------------------------------------------------------------- what a person types


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("dmy", "dmy"),
        ("dd.mm.yyyy", "dmy"),
        ("DD/MM/YYYY hh:mm", "dmy"),
        ("TT.MM.JJJJ", "dmy"),
        ("jj/mm/aaaa", "dmy"),
        ("%d/%m/%Y %H:%M", "dmy"),
        ("mm/dd/yy", "mdy"),
        ("%m/%d/%y", "mdy"),
        ("yy-mm-dd", "ymd"),
    ],
)
def test_an_order_of_day_month_and_year_as_people_write_it(text, order):
    assert date_order(text) == order


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"date_format": "yyyy"}, "dmy, mdy or ymd"),
        ({"decimal": "x"}, "comma or point"),
        ({"separator": "ab"}, "one character"),
        ({"encoding": "utf-9"}, "one that Python knows"),
        ({"columns": ["Kundennr"]}, "NAME IN THE FILE=NAME IN THE LIBRARY"),
        ({"skip_rows": -1}, "from 0 on"),
    ],
)
def test_a_wrong_word_for_a_format_is_explained(options, said):
    with pytest.raises(DataError, match=said):
        table_format(**options)


def test_words_for_a_format():
    assert table_format(separator="tab", decimal="comma", columns=["a, b=user_id,c=item_id"]) == TableFormat(
        separator="\t", decimal=",", columns=(("a, b", "user_id"), ("c", "item_id"))
    )


def test_a_file_with_tabs_that_quotes_nothing_may_have_quotes_in_texts(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('user_id\titem_id\ttimestamp\ttitle\n1\t2\t1700000000\t"new" mug\n1\t3\t1700000000\t12" disk\n')
    assert read(path).table.column("title").to_pylist() == ['"new" mug', '12" disk']
    path.write_text('user_id\titem_id\ttimestamp\ttitle\n1\t2\t1700000000\t"a\ttab"\n1\t3\t1700000000\t12" disk\n')
    assert read(path).table.column("title").to_pylist() == ["a\ttab", '12" disk']


def test_damage_of_an_earlier_export_is_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("user_id,item_id,timestamp,title\n1,2,1700000000,GrÃ¶ÃŸe\n1,2,1700000000,Gr\ufffdße\n", encoding="utf-8")
    notes = " ".join(read(path).notes)
    assert "'GrÃ¶ÃŸe' look as if they had been encoded twice (line 2)" in notes and "lost in an earlier export" in notes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5.-", 5.0),
        ("CHF 5,–", 5.0),
        ("5-", -5.0),
        ("1.234,50-", -1234.5),
        ("1'234,50", 1234.5),
        ("1\u202f234,5 €", 1234.5),
        ("-€ 3,25", -3.25),
        ("+7", 7.0),
        ("0,500", 0.5),
        (",5", 0.5),
        ("1,2,3", None),
        ("1.23.456", None),
        ("--", None),
        ("1-2", None),
        ("12 34", None),
    ],
)
def test_numbers_as_people_write_them(tmp_path, text, value):
    path = tmp_path / "x.csv"
    path.write_text(f"user_id;item_id;timestamp;price\n1;2;2026-04-13;{text}\n1;2;2026-04-13;2,75\n", encoding="utf-8")
    assert read(path).table.column("price").to_pylist() == [value, 2.75]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("13.04.2026", datetime(2026, 4, 13)),
        ("3.4.2026 8:05", datetime(2026, 4, 3, 8, 5)),
        ("03. 04. 2026, 08:05:06 Uhr", datetime(2026, 4, 3, 8, 5, 6)),
        ("03/04/2026 12:05 AM", datetime(2026, 4, 3, 0, 5)),
        ("03-04-2026 12:05 p.m.", datetime(2026, 4, 3, 12, 5)),
        ("03.04.2026T08:05:06.250Z", datetime(2026, 4, 3, 8, 5, 6, 250_000)),
        ("03.04.2026 08:05 +02:00", datetime(2026, 4, 3, 6, 5)),
        ("2026-04-03T08:05:00-05:00", datetime(2026, 4, 3, 13, 5)),
        ("2026年4月3日 下午3:05", datetime(2026, 4, 3, 15, 5)),
        ("3. März 2026", datetime(2026, 3, 3)),
        ("1er août 2026 à 8h05", datetime(2026, 8, 1, 8, 5)),
        ("3 de enero de 2026", datetime(2026, 1, 3)),
        ("April 3rd, 2026 1:05 PM", datetime(2026, 4, 3, 13, 5)),
        ("20260403", datetime(2026, 4, 3)),
        ("31.04.2026", None),
        ("03.04.2026 25:00", None),
        ("03.04.2026 13:00 PM", None),
        ("3 Foo 2026", None),
        ("03.04/2026", None),
    ],
)
def test_dates_as_people_write_them(tmp_path, text, value):
    path = tmp_path / "x.csv"
    path.write_text(f'user_id;item_id;timestamp\n1;2;"{text}"\n1;2;31.12.2026\n', encoding="utf-8")
    assert read(path).table.column("timestamp").to_pylist() == [value, datetime(2026, 12, 31)]


@pytest.mark.parametrize(("order", "month"), [("dmy", 4), ("mdy", 3)])
def test_dates_that_are_open_are_read_as_in_the_shops_other_files(tmp_path, order, month):
    path, kept = tmp_path / "clicks.csv", TableFormat(date_order=order)
    path.write_text("user_id,item_id,timestamp\nann,1,03/04/2026\nbob,2,04/03/2026\n")
    with pytest.raises(DataError, match="Say --date-format dmy or mdy"):
        read(path)
    found, other = read(path, shop=kept), {"dmy": "mdy", "mdy": "dmy"}[order]
    assert found.table["timestamp"][0].as_py().month == month
    said = (
        f"events: timestamp: '03/04/2026' is read as {order}, as in the shop's other files; say --date-format {other} otherwise"
    )
    assert found.assumed == (said,) and said in found.notes
    for given in ("dmy", "mdy"):  # what is said wins
        told = read(path, table_format=TableFormat(date_order=given), shop=kept)
        assert told.table["timestamp"][0].as_py().month == {"dmy": 4, "mdy": 3}[given] and not told.assumed
    with pytest.raises(DataError, match="Say --date-format dmy or mdy"):
        read(path, shop=TableFormat(date_order="ymd"))  # in which these are no dates
    path.write_text("user_id,item_id,timestamp\nann,1,03/04/2026\nbob,2,14/03/2026\n")  # tells by itself
    assert read(path, shop=kept).table["timestamp"][0].as_py().month == 4 and not read(path, shop=kept).assumed


@pytest.mark.parametrize(("decimal", "price"), [(",", 1.234), (".", 1234.0)])
def test_numbers_that_are_open_are_read_as_in_the_shops_other_files(tmp_path, decimal, price):
    path, kept = tmp_path / "clicks.csv", TableFormat(decimal=decimal)
    path.write_text("user_id;item_id;timestamp;price\nann;1;2026-03-04;1,234\nbob;2;2026-03-04;7\n")
    with pytest.raises(DataError, match="Say --decimal comma or --decimal point"):
        read(path)
    found = read(path, shop=kept)
    assert found.table["price"].to_pylist() == [price, 7.0] and "'1,234' is read with a decimal" in found.assumed[0]
    for given in ",.":
        told = read(path, table_format=TableFormat(decimal=given), shop=kept)
        assert told.table["price"][0].as_py() == {",": 1.234, ".": 1234.0}[given] and not told.assumed
    path.write_text("user_id;item_id;timestamp;price\nann;1;2026-03-04;1,234\nbob;2;2026-03-04;0,5\n")  # tells by itself
    assert read(path, shop=kept).table["price"].to_pylist() == [1.234, 0.5] and not read(path, shop=kept).assumed
