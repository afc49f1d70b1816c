"""What the README says is so: its code runs, its tree is the tree, its links and commands are there."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import zipfile
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pytest

import tables
from llmrec import LoraSettings, OuterSettings, Recommender, SceneRecommender, Scenes, Settings, TrainSettings, Weights
from llmrec.ranking.ranker import RankerSettings
from llmrec.scenes.learning import LearnSettings, MixSettings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# By hand, not out of a report.
WRITTEN = re.sub(r"<!-- (\w+):begin -->.*?<!-- \1:end -->", "", README, flags=re.DOTALL)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", WRITTEN, re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------------------------------- the code


def write(path: Path, names: list[str], rows: list[tuple]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


@pytest.fixture
def shop(tmp_path, tiny_folders, monkeypatch):
    """A folder with the files that the README names. The blocks are run as they stand: only the defaults are made small, the
    weights to be those of a tiny transformer and the training to be moments long."""
    small = Settings(
        user_encoder="pretrained",
        layers=None,
        train=TrainSettings(max_steps=3, batch_size=8, max_slots=16),
        lora=LoraSettings(r=2, lora_alpha=4.0, inner_steps=2, meta_batch_size=4),
        outer=OuterSettings(episodes=2),
        counts_ranker=RankerSettings(hidden=2, max_steps=5),
        blend=RankerSettings(hidden=2, max_steps=5),
        ranking_tasks=20,
    )
    monkeypatch.setattr(Weights, "packaged", staticmethod(lambda: Weights.folder(tiny_folders["bert"])))
    monkeypatch.setattr(Recommender.__init__, "__defaults__", (None, small, 0, None))
    monkeypatch.setenv("LLMREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng, items = np.random.default_rng(0), ["mug", "tent", "lamp", "soap", "rope", "pan", "bowl", "sock", "pen", "kite"]
    events = [
        (user, items[i], f"2026-0{1 + n // 9}-{1 + n % 9:02}")
        for user in ("ann", "bob")
        for n, i in enumerate(rng.permutation(5))
    ]
    write(
        Path("items.csv"),
        ["item_id", "title", "category", "price"],
        [(item, f"large {item}", f"part {n % 4}", 5 + n) for n, item in enumerate(items)],
    )
    write(Path("events.csv"), ["user_id", "item_id", "timestamp"], events)


def test_the_quickstart_runs_and_so_does_saving(shop, capsys):
    quickstart, in_a_shop, _, saving = blocks("python")
    assert len(quickstart.strip().splitlines()) <= 10
    names: dict = {}
    exec(quickstart, names)
    told = capsys.readouterr().out
    assert re.search(r"^0 +ann +\w+ ", told, re.MULTILINE)
    assert "popular (no history)" not in told  # a label that says that an answer is not personal
    exec(in_a_shop, names)
    first, *others = capsys.readouterr().out.splitlines()[1:]
    assert " cup " in first and "pinned" in first and not any(re.match(r"\d+ +ann +lamp ", line) for line in others)
    assert Path("lists.parquet").is_file()
    answer = names["rec"].recommend(["new"], k=5)
    exec(saving, names)
    loaded = names["rec"].recommend(histories=names["trip"], k=5)
    assert loaded.to_dict() == answer.to_dict()


@pytest.mark.slow
def test_the_quickstart_runs_from_the_wheel_outside_the_checkout(shop, wheel, tmp_path):
    """In an interpreter of its own that takes llmrec from the unpacked wheel, with the small defaults of `shop`."""
    small = Recommender.__init__.__defaults__[1]
    kinds = {type(value) for value in (small, *vars(small).values()) if is_dataclass(value)}
    code = [
        f"import sys; sys.path.insert(0, {str(tmp_path / 'wheel')!r})",
        "import llmrec; print(llmrec.__file__)",
        *(f"from {kind.__module__} import {kind.__name__}" for kind in kinds),
        f"from llmrec import Recommender, Weights; weights = Weights.folder({Weights.packaged().location!r})",
        "Weights.packaged = staticmethod(lambda: weights)",
        f"Recommender.__init__.__defaults__ = (None, {small!r}, 0, None)",
        blocks("python")[0],
    ]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "wheel")
    command = [sys.executable, "-I", "-W", "error", "-c", "\n".join(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "wheel"))
    assert re.search(r"^0 +ann +\w+ ", done.stdout, re.MULTILINE)


@pytest.fixture
def shops(shop, monkeypatch):
    """Beside them two known shops and a new one, whose few customers all like a half of it."""
    small = LearnSettings(sizes=(8,), draws=1, queries=40, mix=MixSettings(bends=2, steps=10))
    monkeypatch.setattr(Scenes.__init__, "__defaults__", (None, small, 0, None, None))
    rng = np.random.default_rng(1)
    for name, letter, users in (("beauty", "b", 70), ("health", "h", 70), ("new", "n", 16)):
        titles = [f"{'red' if item % 2 else 'blue'} {'mug' if item % 3 else 'lamp'}" for item in range(24)]
        write(
            Path(f"{name}_items.csv"), ["item_id", "title"], [(f"{letter}{item}", title) for item, title in enumerate(titles)]
        )
        events = [
            (f"{letter}{user}", f"{letter}{item}", f"2026-01-{1 + day:02}")
            for user in range(users)
            for day, item in enumerate(rng.choice(12, 5, replace=False) * 2 + user % 2)
        ]
        file = "first_customers.csv" if name == "new" else f"{name}_events.csv"
        write(Path(file), ["user_id", "item_id", "timestamp"], events)


def test_a_new_shop_opens_and_is_adapted(shops, capsys):
    names: dict = {}
    exec(blocks("python")[2], names)
    told = capsys.readouterr().out
    assert len(re.findall(r"^\d +eve +n\d+ .* zero steps$", told, re.MULTILINE)) == 5
    assert len(re.findall(r"(True|False)$", told, re.MULTILINE)) == 5  # a row for zero steps and each design
    loaded = SceneRecommender.from_pretrained("new_shop")
    expected = names["shop"].recommend(histories=names["clicks"], k=5)
    assert loaded.recommend(histories=names["clicks"], k=5).to_dict() == expected.to_dict()


# ---------------------------------------------------------------------------------------- the tree, links and commands


def test_links_lead_somewhere():
    for file in ("README.md", "README.zh.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "training/RESULTS.md"):
        page = ROOT / file
        links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        assert [link for link in links if not link.startswith("https://") and not (page.parent / link).exists()] == [], file


def commands(text: str) -> str:
    return "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("file", ["README.md", "README.zh.md", "CONTRIBUTING.md"])
def test_commands_are_those_of_the_makefile_and_the_packages(file):
    makefile, project = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "pyproject.toml"))
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for extras in re.findall(r"'\.\[([\w,]+)\]'", text):
        assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras.split(","))
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert set(re.findall(r"[\w-]+==[\w.]+", text)) <= set(pins)
    for script, given in re.findall(r"^python (training/\w+\.py)(.*)$", commands(text), re.MULTILINE):
        source = (ROOT / script).read_text(encoding="utf-8")
        assert all(f'"--{option}"' in source for option in re.findall(r"--(\w+)", given.split("#")[0])), script


def test_sizes_that_are_told_are_those_that_make_tells():
    assert "0.4 GB to download, 2 GB on disk" in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "about 0.4 GB to download and 2 GB on disk" in " ".join(WRITTEN.split())


def test_it_is_short_and_names_no_machine():
    assert len(README.encode()) <= 12 * 1024
    assert not re.search(r"/(home|root|tmp|Users|work)/", README)


def test_the_figures_are_those_of_the_reports():
    """What `training/tables.py` would write is what is there."""
    results = (ROOT / "training" / "RESULTS.md").read_text(encoding="utf-8")
    assert tables.written(results) == results
    assert tables.readme(README) == README
    architecture = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert tables.architecture(architecture) == architecture
    demo = (ROOT / "docs" / "demo.md").read_text(encoding="utf-8")
    assert tables.demonstration(demo) == demo


def test_the_chinese_quickstart_runs(shop, capsys):
    text = (ROOT / "README.zh.md").read_text(encoding="utf-8")
    (quickstart,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(quickstart, names)
    assert re.search(r"^0 +ann +\w+ ", capsys.readouterr().out, re.MULTILINE)
    assert Path("mine", "manifest.json").exists()
