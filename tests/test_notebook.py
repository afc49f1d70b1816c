"""The notebooks run from top to bottom, and what is stored in each is a whole run that shows nothing of a machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
FILES = (
    "01_a_new_shopper.ipynb",
    "02_a_new_scene.ipynb",
    "03_your_own_data.ipynb",
    "04_meta_learning_from_scratch.ipynb",
    "05_prompts_and_language_models.ipynb",
)
RANKERS = "counts_ranker=RankerSettings(max_steps=2), blend=RankerSettings(max_steps=2)"
IMPORTED = "from llmrec import CoreSettings\nfrom llmrec.ranking.ranker import RankerSettings\n\n"
# What is trained for less time in the test than in the stored run; what the test compares does not depend on it.
LESS = {
    "01_a_new_shopper.ipynb": {
        "settings = Settings(": f"{IMPORTED}settings = Settings(",
        "households[400:700]": "households[400:460]",
        "max_steps=100, batch_size=24": "max_steps=2, batch_size=8",
        "episodes=24": "episodes=2",
        "ranking_tasks=600": f"ranking_tasks=60, core=CoreSettings(episodes=2), {RANKERS}",
    },
    "02_a_new_scene.ipynb": {
        "queries=150, mix=MixSettings(bends=8, steps=80)": "queries=40, mix=MixSettings(bends=2, steps=10)"
    },
    "03_your_own_data.ipynb": {},
    "04_meta_learning_from_scratch.ipynb": {
        "outer_steps=600": "outer_steps=200",
        "little = Settings(": f"{IMPORTED}little = Settings(",
        "ranking_tasks=50": f"ranking_tasks=50, {RANKERS}",
    },
    "05_prompts_and_language_models.ipynb": {
        "asked(measure, most=50)": "asked(measure, most=4)",
        "asked(choose, most=20)": "asked(choose, most=3)",
        "most=24, others=4": "most=2, others=4",
        "max_steps=24": "max_steps=2",
        "initialisation(joint, steps=3, rate=0.3)": "initialisation(joint, steps=1, rate=0.3)",
        "opened(genre, later, most=16, others=4)": "opened(genre, later, most=16, others=1)",
        "opened(NEW, measure, most=50, others=9)": "opened(NEW, measure, most=4, others=3)",
    },
}
MACHINE = re.compile(r"/(home|root|tmp|Users|work|usr|opt|var)/|[A-Z]:\\\\|site-packages|Traceback")


@pytest.fixture(params=FILES)
def name(request) -> str:
    return request.param


@pytest.fixture
def notebook(name) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / name, as_version=4)


def test_every_notebook_is_asked_about():
    assert sorted(file.name for file in FOLDER.glob("*.ipynb")) == list(FILES)


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text", "") + str(output.get("data", {}).get("text/plain", "")) for output in outputs)


def test_the_stored_outputs_are_of_one_whole_run(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(output.output_type != "error" for cell in code for output in cell.outputs)
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs)
    assert not MACHINE.search(nbformat.writes(notebook))
    assert MACHINE.search('"/home/somebody/x"')  # the probe sees


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of what runs a kernel, not of the library: that runs in a process of its own
def test_the_notebook_runs_and_tells_what_is_stored(name, notebook, tmp_path, monkeypatch, request):
    for variable in ("LLMREC_CACHE", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    if name == FILES[4]:
        (tmp_path / "llmrec_cache").symlink_to(request.getfixturevalue("smollm2"))
    monkeypatch.delenv("LLMREC_EXPORT", raising=False)
    again = nbformat.from_dict(notebook)
    for cell in again.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    for more, less in LESS[name].items():
        assert sum(more in cell.source for cell in again.cells) == 1
        for cell in again.cells:
            cell.source = cell.source.replace(more, less)
    again.cells.append(nbformat.v4.new_code_cell("import sys\nprint(sys.executable)"))
    NotebookClient(again, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = printed(again)
    assert told.strip().endswith(sys.executable)  # it was this Python that ran
    dict(zip(FILES, (shopper, scene, own_data, from_scratch, language_model), strict=True))[name](printed(notebook), told)


# What the stories say does not depend on the machine's rounding.


def shopper(stored: str, told: str) -> None:
    """Who the newcomer is, what it bought, and that feedback is used."""
    for line in (
        "631 items, 400 households",
        "same list as with histories: True",
        "same list after loading: True",
        "version of the state: 1",
    ):
        assert line in told
    first = next(line for line in stored.splitlines() if line.startswith("first trip: "))
    assert first in told
    assert told.count("popular (no history)") >= 10
    assert len(re.findall(r"(no difference from|better than|worse than) \w+", told)) == 3


def own_data(stored: str, told: str) -> None:
    """What is wrong with the export, who is asked about, and that the shop is saved."""
    for line in (
        "rows of cancelled orders",
        "rows that are there twice",
        "no goods: POSTAGE, MANUAL",
        "64 items",
        "first basket: ",
    ):
        assert next(text for text in stored.splitlines() if line in text) in told
    assert "same list after loading: True" in told
    assert len(re.findall(r"(no difference from|better than|worse than) \w+", told)) == 3


def scene(stored: str, told: str) -> None:
    """Which households are tested, and that a scene is a value."""
    for line in ("631 items, 2465 households", "same scores after loading: True", "day one is as it was: True"):
        assert line in told
    first = next(line for line in stored.splitlines() if "households to ask; this one took" in line)
    assert first in told
    assert len(re.findall(r"(is better than|is worse than|no difference can be seen)", told)) == 3


def from_scratch(stored: str, told: str) -> None:
    """Who is measured, that the gradient is the formula, and that a person's own ratings help."""
    for line in (
        "943 people, 1,662 films, 99,985 ratings; mean 3.56",
        "autograd is the formula: True",
        "first order is the gradient at the query: True",
        "first order is the exact gradient: False",
        "132 people are measured",
        " 8 ratings: MAML is better than zero steps",
        "16 ratings: MAML is better than zero steps",
        " 8 ratings: MAML is better than somebody else's support",
        "16 ratings: llmrec is better than plain factorisation",
    ):
        assert line in stored and line in told
    assert len(re.findall(r"is (no difference from|better than|worse than) \w+", told)) == 24


def language_model(stored: str, told: str) -> None:
    """Which films, what a template makes of a history, that a second one is measured, and that 16 people teach."""
    for line in (
        "942 people, 1,662 films, 55,370 likes; 10.3 tokens a title",
        "Items that a shopper took, one after another:\n- ",
        "Films, and whether one person loved them, yes or no.\n",
        "16 people teach",
    ):
        assert line in stored and line in told
    first, second = (text[text.index("loved them, yes or no.\n") :].splitlines()[1:4] for text in (stored, told))
    assert first == second
    assert len(re.findall(r" is (no different from|better than|worse than) \w+", told)) == 9


def test_a_file_of_ones_own_is_read_in_place_of_the_made_one(tmp_path, monkeypatch):
    """The first two cells of the third notebook, with the path in the environment."""
    cells = [cell.source for cell in nbformat.read(FOLDER / FILES[2], as_version=4).cells if cell.cell_type == "code"]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    monkeypatch.delenv("LLMREC_EXPORT", raising=False)
    cells[0] = cells[0].replace("customers=250", "customers=10")
    exec(cells[0], names)
    made = Path("export.csv").read_text(encoding="utf-8")
    Path("export.csv").unlink()
    Path("mine.csv").write_text("\n".join(made.splitlines()[:40]) + "\n", encoding="utf-8")
    monkeypatch.setenv("LLMREC_EXPORT", "mine.csv")
    exec(cells[0] + "\n" + cells[1], names)
    assert len(names["orders"]) == 39 and not Path("export.csv").exists()
