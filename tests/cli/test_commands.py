"""Laws of all commands: help with an example, `--config`, `--json` and `--quiet`, and one line for a mistake; `similar`,
`evaluate` and `recommend --all` on a small shop."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from llmrec import Recommender, Weights, doctor
from llmrec.cli import main
from llmrec.cli.evaluating import readable
from llmrec.cli.options import FormatOptions
from llmrec.cli.prompting import prompt
from llmrec.data.table_format import TableFormat
from llmrec.screen import Screen

PATHS = {  # what to type after the name so that a path, and nothing else, is wrong
    "check": ["gone.csv"],
    "fit": ["gone.csv", "--out", "shop"],
    "recommend": ["gone", "--all", "--out", "x.csv"],
    "predict": ["gone", "--users", "1"],
    "similar": ["gone", "--items", "1"],
    "evaluate": ["gone", "gone.csv"],
    "adapt": ["gone", "--user", "1", "--out", "adapter"],
    "open": ["gone", "--items", "gone.csv", "--out", "scene"],
    "export": ["gone", "--out", "out"],
    "demo": ["--events", "gone.csv", "--items", "gone.csv"],
    "doctor": ["--config", "gone.yaml"],
    "weights": ["gone.gguf", "--out", "folder", "--quiet"],
    "prompt show": ["gone/x.jinja"],
    "prompt check": ["gone.jinja"],
    "prompt render": ["item", "--items", "gone.csv"],
}
COMMAND = {name: one for name, one in main.commands.items() if name != "prompt"}
COMMAND |= {f"prompt {name}": one for name, one in prompt.commands.items()}
COMMANDS = sorted(COMMAND)
WORDS = ("red mug", "blue lamp", "green rope", "small tent", "large soap")
WHEN = 1_700_000_000


def run(*words: str | Path, code: int = 0) -> Result:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = str(words[0]).split() if words[0] in COMMAND else [str(words[0])]
        result = CliRunner().invoke(main, [*named, *map(str, words[1:])])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def events(users: range, known: int = 8) -> pd.DataFrame:
    """Even users take the first ten items, odd ones the others."""
    rows = []
    for user in users:
        for day, item in enumerate(np.random.default_rng(user).permutation(10)[:known]):
            rows.append((user, f"i{item + 10 * (user % 2):03}", WHEN + 86_400 * day + user))
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.fixture(scope="module")
def shop(tiny_folders, tiny_settings, tmp_path_factory) -> Path:
    """A folder with a fitted shop of 24 users with 20 items, `shop`, and events of six others, `held_out.csv`."""
    folder = tmp_path_factory.mktemp("cli")
    items = pd.DataFrame({"item_id": [f"i{i:03}" for i in range(20)], "title": [WORDS[i % 5] for i in range(20)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMREC_CACHE", str(folder / "cache"))
        recommender = Recommender(Weights.folder(tiny_folders["bert"]), tiny_settings)
        recommender.fit(events(range(24)), items, verbose=False).save_pretrained(folder / "shop", histories=True)
    events(range(100, 106)).to_csv(folder / "held_out.csv", index=False)
    return folder


# ---------------------------------------------------------------------------------------- all commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example_and_has_the_common_options(name):
    shown = run(name, "--help").stdout
    assert f"  llmrec {name}" in shown.split("Options:")[0]  # an example
    for option in ("--config FILE.yaml", "--quiet", "--json"):
        assert option in shown


@pytest.mark.parametrize("name", ["similar", "evaluate", "predict"])
def test_a_table_that_is_no_list_for_users_makes_no_run_file(name, tmp_path):
    held = tmp_path / "held_out.csv"
    held.touch()
    words = {"similar": ["--items", "1"], "evaluate": [held], "predict": ["--users", "1"]}[name]
    assert "trec" not in run(name, "--help").stdout
    assert "'trec' is not one of" in run(name, tmp_path, *words, "--format", "trec", code=2).stderr
    assert "expected a name that ends in .txt" in run(name, tmp_path, *words, "--out", "x.trec", code=2).stderr


def test_a_user_who_is_not_known_is_told(shop):
    told = run("recommend", shop / "shop", "--users", "3,999", "--k", "2").stderr
    assert told.startswith("Warning: 1 of 2 users are not known (999) and get popular items")
    assert run("recommend", shop / "shop", "--users", "3", "--k", "2").stderr == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recommend", "SHOP", "--users", "1", "--context", "device=x"], "name the columns by --context of `llmrec fit`"),
        (
            ["recommend", "SHOP", "--attributes", "FILE"],
            "Error: Attributes are read by a model that was fitted with some, by `llmrec",
        ),
        (["predict", "SHOP", "--users", "1"], "in the file of `llmrec fit --settings`, as `signed: {positive: [like]"),
        (["predict", "SHOP"], "give either --users, known by id, or --histories"),
        (["adapt", "SHOP", "--user", "999", "--out", "new"], "give a file that has some by --histories"),
        (["open", "SHOP", "--out", "new"], "train with `llmrec fit --scene COLUMN`"),
        (["evaluate", "SHOP", "FILE", "--known", "0"], "without user attributes, see `llmrec fit --users`, users"),
    ],
)
def test_a_remedy_is_something_to_type(shop, words, said):
    given = [word.replace("SHOP", str(shop / "shop")).replace("FILE", str(shop / "held_out.csv")) for word in words]
    assert said in run(*given, code=2).stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_wrong_path_is_one_line_and_exit_code_2(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(name, *PATHS[name], code=2)
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("Error: ") and "gone" in result.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_may_stand_in_a_file_and_what_is_typed_wins(name, tmp_path, monkeypatch):
    command, seen = COMMAND[name], []
    monkeypatch.setattr(command, "callback", lambda **given: seen.append(given))
    typed, lines = [], []
    one_of_each: dict[str, click.Parameter] = {}  # --json stands for --format json
    for param in command.params:
        if param.name != "config":
            one_of_each.setdefault(str(param.name), param)
    for param in one_of_each.values():
        key = param.name if isinstance(param, click.Argument) else param.opts[-1].removeprefix("--")
        kind = param.type
        if isinstance(kind, click.Path):
            value = str(tmp_path) if kind.dir_okay else __file__
        elif getattr(param, "is_flag", False):
            value = "true"
        else:
            value = kind.choices[0] if isinstance(kind, click.Choice) else "3"
        lines.append(f"{key}: {value}")
        if isinstance(param, click.Argument):
            typed.append(value)
        else:
            typed += [f"--{key}"] + ([] if getattr(param, "is_flag", False) else [value])
    file = tmp_path / "options.yaml"
    file.write_text("\n".join(lines))
    run(name, *typed)
    run(name, "--config", file)
    assert seen[0] == seen[1] and len(seen[0]) >= 2
    if "k" in seen[0]:
        run(name, "--config", file, "--k", 5)
        assert seen[2] == seen[0] | {"k": 5}
    lines[0] = f"{lines[0].split(':')[0]}x: 1"
    file.write_text("\n".join(lines))
    said = run(name, "--config", file, code=2).stderr
    assert f"{file}: '{lines[0].split(':')[0]}' is no option of `" in said and "did you mean" in said
    assert len(said.splitlines()) == 1 and len(seen) <= 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("k: many", "k: 'many' is not a valid integer"),
        ("k: 1.5", "k: '1.5' is not a valid integer"),
        ("k: 0", "k: 0 is not in the range x>=1"),
        ("k: [1, 2]", "k: expected one value, got ['1', '2']"),
        ("k:", "k: expected text, a number, true or false, got ''"),
        ("titles: perhaps", "titles: 'perhaps' is not a valid boolean"),
        ("users: {a: b}", "users: expected text"),
        ("format: xls", "format: 'xls' is not one of"),
        ("on-bad-rows: few\non_bad_rows: few", "on_bad_rows is given twice"),
        ("k: 1\nk: 2", "expected each option once, got k in lines 1 and 2"),
        ("config: x.yaml", "'config' is no option of `"),
        ("- k", "expected options, such as `quiet: true`, got ['k']"),
        ("k: [", "expected YAML"),
        ("histories: gone.csv", "histories: Path 'gone.csv' does not exist"),
    ],
)
def test_what_is_wrong_in_a_file_of_options_is_named_with_the_file(tmp_path, text, said):
    file = tmp_path / "options.yaml"
    file.write_text(text)
    result = run("recommend", tmp_path, "--config", file, code=2)
    assert result.stderr.startswith(f"Error: {file}: {said}") and len(result.stderr.splitlines()) == 1


def test_ids_in_a_file_of_options_stay_as_they_are_written(tmp_path, monkeypatch):
    seen: list[dict] = []
    monkeypatch.setattr(main.commands["recommend"], "callback", lambda **given: seen.append(given))
    file = tmp_path / "options.yaml"
    file.write_text(f"folder: {tmp_path}\nusers: [007, 1e3, no]\njson: true\nquiet: false\n")
    run("recommend", "--config", file)
    assert seen[0]["users"] == "007,1e3,no" and seen[0]["form"] == "json" and seen[0]["quiet"] is False
    run("recommend", "--config", file, "--format", "csv")
    assert seen[1]["form"] == "csv"


def test_a_quiet_doctor_tells_problems_alone(monkeypatch):
    facts = doctor.report(seconds=0.0)
    for problems in ([], ["faiss is not installed"]):
        monkeypatch.setattr(doctor, "report", lambda facts=facts | {"problems": problems}: facts)
        assert run("doctor", "--quiet", code=len(problems)).stdout == "".join(f"{line}\n" for line in problems)


# ---------------------------------------------------------------------------------------- commands on a shop


def test_recommend_all_writes_what_recommend_answers(shop, tmp_path):
    whole = Recommender.from_pretrained(shop / "shop")
    for name, read in (("x.parquet", pd.read_parquet), ("x.csv", pd.read_csv), ("x.json", pd.read_json)):
        result = run("recommend", shop / "shop", "--all", "--k", 3, "--titles", "--out", tmp_path / name)
        assert "24 users, " in result.stderr and "72 rows in" in result.stderr and result.stdout == ""
        wanted = whole.recommend(list(range(24)), k=3, titles=True)
        pd.testing.assert_frame_equal(read(tmp_path / name), wanted, check_dtype=False)
    assert run("recommend", shop / "shop", "--all", "--out", tmp_path / "y.csv", "--quiet").output == ""
    run("recommend", shop / "shop", "--histories", shop / "held_out.csv", "--out", tmp_path / "z.jsonl", "--quiet")
    found = pd.read_json(tmp_path / "z.jsonl", lines=True)
    pd.testing.assert_frame_equal(found, whole.recommend(histories=shop / "held_out.csv"), check_dtype=False)


@pytest.mark.parametrize(
    "words",
    [
        ["--all"],
        *(["--all", "--out", f"x.{end}"] for end in ("txt", "trec", "xyz")),
        ["--all", "--format", "csv", "--out", "x"],
    ],
)
def test_all_users_go_to_a_file(shop, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run("recommend", shop / "shop", *words, code=2).stderr
    assert "--all writes a file, without --adapter: say --out lists.parquet" in said and not list(tmp_path.iterdir())


def test_similar_items_are_those_of_the_library(shop, tmp_path):
    whole = Recommender.from_pretrained(shop / "shop")
    wanted = whole.similar_items(["i003", "i012"], k=4, titles=True)
    rows = json.loads(run("similar", shop / "shop", "--items", "i003,i012,i003", "--k", 4, "--titles", "--json").stdout)
    pd.testing.assert_frame_equal(pd.DataFrame(rows), wanted, check_dtype=False)
    shown = run("similar", shop / "shop", "--items", "i003").stdout.splitlines()
    assert shown[0].split() == ["item_id", "similar_item_id", "score", "rank"] and len(shown) == 11
    run("similar", shop / "shop", "--items", "i003", "--out", tmp_path / "x.csv")
    assert len(pd.read_csv(tmp_path / "x.csv")) == 10
    assert "items ['gone'] are not in the catalogue" in run("similar", shop / "shop", "--items", "gone", code=2).stderr
    assert "is not the catalogue's 'i003', but looks like it" in run("similar", shop / "shop", "--items", "I003", code=2).stderr
    assert "--items is empty" in run("similar", shop / "shop", "--items", ",", code=2).stderr
    assert "Missing option '--items'" in run("similar", shop / "shop", code=2).stderr


def test_evaluate_shows_the_figures_of_the_library(shop, tmp_path):
    whole = Recommender.from_pretrained(shop / "shop")
    wanted = whole.evaluate(shop / "held_out.csv", known=2)
    shown = run("evaluate", shop / "shop", shop / "held_out.csv", "--known", 2).stdout
    assert shown.startswith("6 users; known: 2 baskets; to be found: the items of the next 3 baskets\n")
    for row in wanted:
        sign = "+" if row.versus else ""
        text = f"{row.value:{sign}.4f} [{row.low:{sign}.4f}, {row.high:{sign}.4f}]"
        assert any(line.startswith(row.versus or row.method) and text in line for line in shown.splitlines())
    narrow = readable(wanted, 2, 3, Screen(80))
    assert max(map(len, narrow.splitlines())) <= 80 < max(map(len, shown.splitlines()))
    assert sorted(narrow.split()) == sorted(shown.split())
    rows = json.loads(run("evaluate", shop / "shop", shop / "held_out.csv", "--known", 2, "--json").stdout)
    assert [row["value"] for row in rows] == pytest.approx([row.value for row in wanted])
    run("evaluate", shop / "shop", shop / "held_out.csv", "--out", tmp_path / "x.csv")
    assert set(pd.read_csv(tmp_path / "x.csv")["metric"]) == {"ndcg@10", "recall@10", "auc"}


def test_evaluate_says_who_was_trained_on_and_whose_histories_are_too_short(shop, tmp_path):
    events(range(4)).to_csv(tmp_path / "trained.csv", sep=";", index=False)
    said = run("evaluate", shop / "shop", tmp_path / "trained.csv").stderr
    assert "Warning: evaluate: 4 of 4 users were training users" in said
    said = run("evaluate", shop / "shop", tmp_path / "trained.csv", "--known", 50, code=2).stderr
    assert "no user has 50 + 3 baskets" in said


def test_a_table_may_be_on_the_hub(shop, data_hub, tmp_path):
    data_hub.put("datasets/me/clicks", {"held_out.csv": (shop / "held_out.csv").read_bytes()})
    wanted = run("recommend", shop / "shop", "--histories", shop / "held_out.csv", "--json", "--quiet").stdout
    for address in ("hf://datasets/me/clicks", "hf://datasets/me/clicks/held_out.csv", "hf://datasets/me/clicks?split=train"):
        assert run("recommend", shop / "shop", "--histories", address, "--json", "--quiet").stdout == wanted
        typed = shlex.split(run("check", address, "--quiet").stdout)
        assert typed[:3] == ["llmrec", "fit", address]
    said = run("check", "hf://datasets/me/none", code=2).stderr
    assert said.startswith("Error: events: 'hf://datasets/me/none': no data set") and len(said.splitlines()) == 1


def test_a_later_file_that_leaves_its_dates_open_is_read_as_those_of_the_shop(shop, tmp_path):
    clicks, kept = tmp_path / "clicks.csv", tmp_path / "kept"
    rows = [f"new,i{item:03},0{1 + item}/0{8 - item}/2026" for item in range(6)]
    clicks.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    recommender = Recommender.from_pretrained(shop / "shop")
    recommender.keep_format(TableFormat(separator=";", date_order="dmy"))
    recommender.save_pretrained(kept, histories=True)
    assert Recommender.from_pretrained(kept).state.table_format == TableFormat(date_order="dmy")  # a separator is of one file
    asked = ["--histories", clicks, "--json"]
    answers = {order: run("recommend", kept, *asked, "--date-format", order) for order in ("dmy", "mdy")}
    assert answers["dmy"].stdout != answers["mdy"].stdout and "as in the shop" not in answers["mdy"].stderr
    found = run("recommend", kept, *asked)
    assert found.stdout == answers["dmy"].stdout
    assert "Note: events: timestamp: '01/08/2026' is read as dmy, as in the shop's other files" in found.stderr
    evaluated = run("adapt", kept, "--user", "new", "--histories", clicks, "--out", tmp_path / "adapter")
    assert "as in the shop's other files" in evaluated.stderr
    assert "Say --date-format dmy or mdy" in run("recommend", shop / "shop", *asked, code=2).stderr  # it knows of none


def test_the_command_to_go_on_with_reads_the_file_as_it_was_read(shop, tmp_path):
    clicks = tmp_path / "clicks.csv"
    clicks.write_text("Wer,item_id,timestamp\nnew,i001,03/04/2026\nnew,i002,05/04/2026\n")
    said = ["--columns", "Wer=user_id", "--date-format", "dmy"]
    asked = ["--user", "new", "--histories", clicks, *said, "--out", tmp_path / "adapter", "--quiet"]
    typed = shlex.split(run("adapt", shop / "shop", *asked).stdout)
    assert json.loads(run(*typed[1:], "--k", 1, "--json").stdout)[0]["user_id"] == "new"
    both = FormatOptions(columns=("Wer=user_id",), item_columns=("Nr=item_id",), on_duplicate="first", date_format="dmy")
    assert sorted(both.event_words()) == sorted(said)  # `recommend` has no option for items
