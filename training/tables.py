"""Write the tables and figures of training/RESULTS.md, README.md and docs/, out of the reports.

llmrec demo && cp runs/demo/report.json training/results/demo.json && python training/tables.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.named import NAMES
from llmrec.demo import story
from llmrec.metrics.report import Result, read_rows, table
from pages import costs, gains, overview
from pages.demonstration import tables
from pages.overview import RECIPE
from pages.tree import tree
from studies.adaptation.readme import readme as adaptation

ROOT = Path(__file__).resolve().parents[1]
# Reports that are no benchmark's.
OTHERS = frozenset(
    {
        "demo",
        "ablations",
        "adaptation",
        "attributes",
        "recognition",
        "scenes",
        "scenes-categories",
        "busy",
        "answers",
        "path",
        "ratios",
    }
    | {"packed", "explanations", "attacks", "language_adapters"}
)
ERRORS = ("mae", "rmse")  # metrics of which less is better
RESULTS = ROOT / "training" / "results"
SETTINGS = ("default", "best", "cold_items")  # folders of RESULTS with reports of `Recommender`
RECIPES = "Methods called llmrec are of the recipe of 2026-11-22, see above. "


def demo(report: Path) -> str:
    """The lines for a report of the demonstration, or of its ablations."""
    extra = json.loads(report.read_text(encoding="utf-8"))
    recall, latency = extra["candidate_recall"], extra["milliseconds_per_adapted_user"]
    lines = [
        f"Seed {extra['seed']}, {extra['seconds'] / 60:.1f} minutes on {extra['threads']} CPU threads. Primary cell, "
        f"{extra['primary']}.",
        "",
        tables(read_rows(report)),
        "",
        f"Candidate recall at one known basket: {recall['all']:.3f}. One user is adapted in {latency['alone']:.1f} ms alone, "
        f"in {latency['batched']:.1f} ms within a batch of 64.",
    ]
    return "\n".join(lines)


def benchmark(report: Path) -> str:
    """The lines for a benchmark: the table of its primary metric, in which `Recommender` with the settings of SETTINGS stands
    where it was measured, and its primary cell in words."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    name, metric = extra["benchmark"], extra["primary"]["metric"]
    sign = -1 if metric in ERRORS else 1
    ours = extra.get("ours", RECIPE)
    seeds = len(extra["seeds"].get(ours, []) if isinstance(extra["seeds"], dict) else extra["seeds"])
    missed = [aim for aim in extra["aims"] if aim["reached"] is False]
    reached = sum(aim["reached"] is True for aim in extra["aims"])
    what = f"{metric}{', lower is better' * (sign < 0)}, {seeds} seed{'s' * (seeds != 1)}"
    model = extra.get("language_model")
    aims = f"Aims reached: {reached} of {len(extra['aims'])}"
    aims += "." if not missed else "; missed: " + ", ".join(_missed(aim, metric) for aim in missed) + "."
    told = f" (items described by their attributes and by states of {model} as well)" if model else ""
    lines = [
        f"**{name}**{told}, {what}. {_primary(rows, extra, sign, ours)} "
        + (RECIPES if ours == RECIPE and name in NAMES else "")
        + (aims if extra["aims"] else "")
        + _published(extra.get("published", {})),
        *(["Under 500 users, exploratory: " + ", ".join(extra["exploratory"]) + "."] if extra.get("exploratory") else []),
        "",
        table([*rows, *_by_settings(report)], name, metric, higher_is_better=sign > 0),
        *_beside(rows, name, metric),
    ]
    return "\n".join(lines)


def _beside(rows: Sequence[Result], name: str, metric: str) -> list[str]:
    """Second tables of a benchmark, of the metrics that it has: the order within each user where rows of all users are ranked
    together, and hit@1."""
    heads = {f"user {metric}": f"the mean of each user's own {metric}", "hit@1": "hit@1"}
    there = {row.metric for row in rows}
    return [line for one in heads if one in there for line in ("", f"**{name}**, {heads[one]}:", "", table(rows, name, one))]


def attacks(report: Path) -> str:
    """The lines for attacks in titles."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    head = (
        f"**attacks** in the title of one of {extra['among']} candidates ({extra['category']}, {rows[0].n} validation users, "
        f"{extra['model']}): places that the attacked item gains over its own title, above 0 where the attack pays."
    )
    kinds = list(dict.fromkeys(row.setting for row in rows))
    methods = list(dict.fromkeys(row.method for row in rows))
    cells = {(row.method, row.setting): f"{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]" for row in rows}
    lines = [f"| attack | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    lines += [f"| {kind} | {' | '.join(cells[method, kind] for method in methods)} |" for kind in kinds]
    return "\n".join([head, "", *lines])


def _by_settings(report: Path) -> list[Result]:
    """What `Recommender(settings).fit` came to on the benchmark of a report, and `Scenes` where a shop is opened."""
    there = [RESULTS / folder / report.name for folder in SETTINGS]
    found = [row for one in there if one != report and one.exists() for row in read_rows(one)]
    return [row for row in found if row.method.startswith(("Recommender, ", "Scenes, ")) and not row.versus]


def recognition(report: Path) -> str:
    """The lines for the recognition of new scenes: windows of 100 events."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    setting, metric = extra["primary"]
    size = setting.rpartition(", ")[2]
    shown = [
        replace(row, setting=row.setting.removesuffix(f", {size}"))
        for row in rows
        if row.metric == metric and row.setting.endswith(f", {size}") and not row.versus
    ]
    told = f"Primary cell, declared before test: {setting}, `signature, directed`."
    few = [
        name.removesuffix(f", {size}")
        for name, cell in extra["cells"].items()
        if cell["exploratory"] and name.endswith(f", {size}")
    ]
    told += f"\nUnder 500 users, exploratory: {', '.join(few)}." if few else ""
    head = f"**recognition** of new scenes, {metric}, windows of {size}, {extra['seeds']} seeds. {told}"
    return "\n".join([head, "", table(shown, "recognition", metric, digits=3)])


SCENES = {  # kind -> settings that are shown, and the methods, best known first
    "scenes, catalogues": ("64 users", "256 users"),
    "scenes, categories": ("64 users", "256 users"),
    "scenes, seasons": ("64 users", "256 users"),
}


def scenes(report: Path) -> str:
    """The lines for new scenes: each left out, with 64 and 256 users of it."""
    extra, rows = json.loads(report.read_text(encoding="utf-8")), read_rows(report)
    setting, metric = extra["primary"]
    gap = {line["setting"]: line for line in extra["ratios"]}
    here = gap[setting]
    aims = ", ".join(f"{factor} at {size} users" for size, factor in extra["aims"].items())
    asked = [
        (gap[name]["ratio"], factor)
        for size, factor in extra["aims"].items()
        for name in gap
        if name.endswith(f", {size} users")
    ]
    reached = sum(ratio >= factor for ratio, factor in asked)
    head = (
        f"**new scenes**, {metric}, 3 draws of support users. Primary cell, declared before test: {setting}, llmrec, chosen "
        f"{here['ours']:.4f} against {here['its']:.4f} of the best control, {here['best']}: x {here['ratio']:.3f}. Aims, times "
        f"the best control: {aims}; reached in {reached} of {len(asked)} cells, means among them. `both` are popularity and "
        "co-occurrence of the support users; `llmrec, bias and company` is zero steps with both, a control here."
    )
    left = {kind: sorted({r.setting.rpartition(", ")[0] for r in rows if r.benchmark == kind}) for kind in SCENES}
    places = "; ".join(", ".join(name for name in names if not name.startswith("mean of")) for names in left.values())
    head += f" Left out, each in turn: {places}. {_one_size_to_another(rows)}"
    head += f"{_users_needed(extra['data ratio'])}{_forgotten(extra['chosen'])}"
    tables = []
    for kind, sizes in SCENES.items():
        mine = [row for row in rows if row.benchmark == kind and not row.versus]
        several = [row for row in mine if row.setting.startswith("mean of")] or mine
        shown = [row for row in several if row.setting.endswith(sizes)]
        tables.append(table(shown, kind, metric))
    return "\n\n".join([head, *tables])


def _one_size_to_another(rows: list[Result]) -> str:
    """Ours with 64 users less one adapter for all scenes with 256, in the mean over catalogues."""
    found = []
    for row in rows:
        several = row.benchmark == "scenes, catalogues" and row.setting.startswith("mean of")
        if several and row.versus == "joint, 256 users" and row.setting.endswith(", 64 users"):
            found.append((row, "joint with 256"))
        if several and row.versus and row.setting.endswith("64 users against 256"):
            found.append((row, "joint LoRA with 256"))
    said = [
        f"{row.method} with 64 users less {other}: {row.value:+.4f} [{row.low:+.4f}, {row.high:+.4f}]" for row, other in found
    ]
    return f"Catalogues: {'; '.join(said)}. " if said else ""


def _users_needed(lines: list[dict]) -> str:
    """How many support users do as well as full fine-tuning on the whole scene."""
    ours = [line for line in lines if line["method"] == "llmrec, chosen"]
    if not ours:
        return ""
    said = [
        f"{line['place']} {line['needed'] or 'more than ' + str(max(line['sizes']))} of {line['all users']:,}"
        for line in ours
        if line["goal"] > line["start"]
    ]
    no_mark = [line["place"] for line in ours if line["goal"] <= line["start"]]
    found = f"Users with whom `llmrec, chosen` does as well as full fine-tuning of the reader on all: {', '.join(said)}"
    found += f"; no mark, for it fell below its own start: {', '.join(no_mark)}" if no_mark else ""
    return f"{found}. "


def _forgotten(notes: list[dict]) -> str:
    """How much worse known scenes are foretold after training on a new one, at worst."""
    worst: dict[str, float] = {}
    for line in notes:
        if "forgetting" in line:
            worst[line["method"]] = max(worst.get(line["method"], -1.0), line["forgetting"])
    if not worst:
        return ""
    said = ", ".join(f"{method} {value:+.1%}" for method, value in worst.items())
    return f"Forgetting, the change of the loss on known scenes at worst (aim: under 1%): {said}; adapters kept apart: none."


def _primary(rows: list[Result], extra: dict, sign: int, ours: str) -> str:
    setting, metric = extra["primary"]["setting"], extra["primary"]["metric"]
    here = [row for row in rows if row.setting == setting and row.metric == metric]
    means = {row.method: row for row in here if not row.versus}
    controls = [row for row in means.values() if row.role == "control"]
    others = [row for row in controls if not row.method.startswith(RECIPE)] or controls  # else the library without a part
    gaps = {row.versus: row for row in here if row.method == ours and row.versus}
    best = max(others, key=lambda row: sign * row.value)
    rival = max((row for row in others if row.method in gaps), key=lambda row: sign * row.value, default=None)
    if rival is None:
        return f"Primary cell, declared before test: {setting}."
    gap, which = gaps[rival.method], "the best control" if rival is best else "a control"
    return (
        f"Primary cell, declared before test: {setting}, {ours} {means[ours].value:.4f} against {rival.value:.4f} of {which}, "
        f"{rival.method}: {gap.value:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}], n = {gap.n:,}."
    )


def _missed(aim: dict, metric: str) -> str:
    metric = aim.get("metric", metric)
    told = f"{aim['setting']} {metric} {aim['value']:.4f} of {aim['wanted']:.4f}"
    return f"{told} (ahead in the mean alone)" if aim["value"] >= aim["wanted"] and metric not in ERRORS else told


def _published(found: dict[str, dict[str, float]]) -> str:
    """What others published of the same protocol."""
    said = [
        f"{setting}: " + ", ".join(f"{name} {value:.4f}" for name, value in each.items()) for setting, each in found.items()
    ]
    return f" Published, {'; '.join(said)}." if said else ""


def put(text: str, place: str, block: str) -> str:
    """`text` with a block between its marks."""
    begin, end = f"<!-- {place}:begin -->", f"<!-- {place}:end -->"
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def written(text: str) -> str:
    """The page with the tables of all reports in their places."""
    text = put(text, "demo", demo(RESULTS / "demo.json"))
    text = put(text, "ablations", demo(RESULTS / "ablations.json"))
    blocks = [benchmark(path) for path in reports()]
    blocks = [adaptation(RESULTS / "adaptation.json"), *blocks, recognition(RESULTS / "recognition.json")]
    blocks += [scenes(RESULTS / "scenes.json"), attacks(RESULTS / "attacks.json"), costs.lines(RESULTS)]
    return put(text, "benchmarks", "\n\n".join(blocks))


def reports() -> list[Path]:
    """The benchmarks' reports; of the default alone where nothing else was measured."""
    found = {path.name: path for folder in (RESULTS / "default", RESULTS) for path in folder.glob("*.json")}
    return [found[name] for name in sorted(found) if Path(name).stem not in OTHERS]


def readme(text: str) -> str:
    """The README with its table of results."""
    return put(text, "results", overview.table(RESULTS / "default"))


def demonstration(text: str) -> str:
    """docs/demo.md with what the demonstration printed, and the lists of one household."""
    told = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    acts = [f"Act {number}. {act['title']}\n" + "\n".join(act["lines"]) for number, act in enumerate(told["acts"].values())]
    text = put(text, "acts", "```\n{}\n```".format("\n\n".join(acts)))
    return put(text, "list", f"```\n{story.text(told['story'])}\n```")


def architecture(text: str) -> str:
    """ARCHITECTURE.md with its file tree."""
    return put(text, "tree", f"```\n{tree(ROOT)}\n```")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Write the tables, the figures and the file tree into RESULTS.md, README.md, docs/ and ARCHITECTURE.md."""
    pages = {
        ROOT / "training" / "RESULTS.md": written,
        ROOT / "README.md": readme,
        ROOT / "ARCHITECTURE.md": architecture,
        ROOT / "docs" / "demo.md": demonstration,
    }
    for page, filled in pages.items():
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
    overview.draw(RESULTS / "default", ROOT / "docs" / "results.png")
    gains.draw(RESULTS, ROOT / "docs" / "adapting.png")
    print(f"The pages and figures are those of demo.json and {', '.join(path.name for path in reports())}")


if __name__ == "__main__":
    main()
