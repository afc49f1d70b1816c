"""Rules as a value: what YAML and dicts may say, and what each mistake is answered with."""

from __future__ import annotations

import json

import pytest
import yaml

from llmrec.errors import DataError
from llmrec.rules import Block, Factor, Freshness, Rules

ALL = """
filters: ["price < 50", in_stock, "category in ['Wine', 'Beer']", not discontinued]
block: {column: seller_id, users: {u1: [i1, i2]}}
at_most: {category: 2, brand: 1}
boost: [{where: on_sale, factor: 1.5}]
bury: [{where: "category == 'Clearance'", factor: 0.5}]
freshness: {column: added_on, half_life_days: 30}
pin: {3: item-9, 1: item-7}
diversity: 0.3
"""


def test_yaml_dicts_and_arguments_say_the_same(tmp_path):
    (tmp_path / "rules.yaml").write_text(ALL)
    read = Rules.from_yaml(tmp_path / "rules.yaml")
    same = Rules(
        filters=["price < 50", "in_stock", "category in ['Wine', 'Beer']", "not discontinued"],
        block=Block("seller_id", (("u1", ("i1", "i2")),)),
        at_most={"category": 2, "brand": 1},
        boost=[Factor("on_sale", 1.5)],
        bury=({"where": "category == 'Clearance'", "factor": 0.5},),
        freshness=Freshness("added_on", 30),
        pin=[(1, "item-7"), (3, "item-9")],
        diversity=0.3,
    )
    assert read == same and hash(read) == hash(same) and {read: 1}[same] == 1
    assert Rules.from_dict(read.to_dict()) == read
    assert Rules.from_dict(yaml.safe_load(yaml.safe_dump(read.to_dict()))) == read
    assert Rules.from_dict(json.loads(json.dumps(read.to_dict()))) == read  # keys of JSON are texts: places too
    assert read != Rules() and Rules.from_dict({}) == Rules() and Rules().to_dict() == {}
    (tmp_path / "none.yaml").write_text("# nothing yet\nfilters:\n")
    assert Rules.from_yaml(tmp_path / "none.yaml") == Rules()


def test_the_example_in_the_docstring_is_read():
    text = "\n".join(line for line in Rules.__doc__.splitlines() if line.startswith("        "))
    assert set(yaml.safe_load(text)) == set(Rules.from_dict(yaml.safe_load(text)).to_dict()) == set(yaml.safe_load(ALL))
    for key in yaml.safe_load(ALL):
        assert f"| `{key}` |" in Rules.__doc__


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"filter": ["a"]}, "rules: 'filter' is no rule; did you mean 'filters'"),
        ({"bost": []}, "did you mean 'boost'"),
        ({"block": {"colum": "x"}}, "block: 'colum' is no part of block; did you mean 'column'"),
        ({"boost": [{"were": "a", "factor": 2}]}, r"boost\[0\]: 'were' is no part of boost; did you mean 'where'"),
        ({"boost": [{"where": "a"}]}, r"boost\[0\]: expected where and factor"),
        ({"boost": [{"where": "a", "factor": 0.5}]}, r"boost\[0\].factor is 0.5; boost takes 1 and more: write it under bury"),
        ({"bury": [{"where": "a", "factor": 2}]}, r"bury\[0\].factor is 2; bury takes numbers above 0, up to 1"),
        ({"bury": [{"where": "a", "factor": 0}]}, r"bury\[0\].factor is 0; expected a number above 0"),
        ({"boost": [{"where": "a", "factor": "2"}]}, "factor is '2'; expected a number"),
        ({"boost": {"where": "a", "factor": 2}}, "boost: expected a list"),
        ({"filters": ["price = 5"]}, r"filters\[0\]: expected a condition .* equality is written =="),
        ({"filters": [True]}, r"filters\[0\]: expected a condition as text, .* put it in quotes"),
        ({"filters": 5}, "filters: expected a list of conditions"),
        ({"at_most": {"brand": 0}}, "at_most.brand is 0; expected at least 1"),
        ({"at_most": {"brand": 1.5}}, "at_most.brand is 1.5; expected a whole number"),
        ({"at_most": ["brand"]}, "at_most: expected a number for each column"),
        ({"at_most": {1: 1}}, "at_most: expected the name of a column, got 1"),
        ({"pin": {0: "a"}}, "pin: the place is 0; expected at least 1"),
        ({"pin": {"first": "a"}}, "pin: the place is 'first'; expected a whole number"),
        ({"pin": {1: "a", 2: "a"}}, "pin: expected each item once"),
        ({"pin": {1: "a", "1": "b"}}, "pin: expected each place once"),
        ({"pin": {1: None}}, r"pin\[1\]\[0\] is None, expected an id"),
        ({"freshness": {"column": "added"}}, "freshness: expected column, a column of dates, and half_life_days"),
        ({"freshness": {"column": "added", "half_life_days": 0}}, "freshness.half_life_days is 0; expected a number above 0"),
        ({"freshness": {"column": "added", "half_life": 3}}, "did you mean 'half_life_days'"),
        ({"diversity": 1.5}, "diversity is 1.5; expected a number from 0, at most 1"),
        ({"diversity": "0.3"}, "diversity is '0.3'"),
        ({"block": {"users": {"u1": "i1"}}}, r"block.users\['u1'\] is the text 'i1', expected a list of ids"),
        ({"block": {"users": ["u1"]}}, "block.users: expected lists of items by user"),
        (["filters"], "rules: expected filters, block"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(values, said, tmp_path):
    with pytest.raises(DataError, match=said):
        Rules.from_dict(values)
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(values))
    if "1" not in values.get("pin", ()) if isinstance(values, dict) else True:
        with pytest.raises(DataError, match=f"rules.yaml: .*{said}"):
            Rules.from_yaml(path)


def test_files_that_are_not_rules_are_named(tmp_path):
    for text, said in (("pin: {1: a, 1: b}", "expected each rule once, got pin.1"), ("a: [", "PyYAML says")):
        (tmp_path / "rules.yaml").write_text(text)
        with pytest.raises(DataError, match=f"rules.yaml: .*{said}"):
            Rules.from_yaml(tmp_path / "rules.yaml")
    with pytest.raises(DataError, match="gone.yaml: expected a YAML file of rules"):
        Rules.from_yaml(tmp_path / "gone.yaml")
