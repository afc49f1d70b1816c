"""The model card of a fit, in the Hugging Face format, out of the values of its report."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from llmrec.data.report import counted
from llmrec.evaluation.controls import HUGE, LARGE, LARGEST, MOST
from llmrec.evaluation.summary import ITEMS, OURS, baskets, gaps_by_setting, known, label, means_by_setting, ordered
from llmrec.evaluation.verdict import listed, standing
from llmrec.metrics.bootstrap import Interval
from llmrec.metrics.report import Result

MARK = "<!-- Written by llmrec fit, which writes it anew: remove this line to keep what you change. -->"
CONSTANTS = ("neighbours", "shrink", "include_self", "ridge", "repeat")  # of the controls, as their functions name them


def model_card(report: Mapping[str, Any], name: str, figure: bool) -> str:
    """The text of a README.md.

    report: as `report.json` holds it. name: of the folder. figure: whether there is `report.png`.
    """
    rows = [Result(**row) for row in report["results"]]
    parts = [
        _front_matter(report, name, rows),
        f"{MARK}\n\n# {name}\n\n{_summary(report)}",
        f"## Data\n\n{_data(report)}",
        f"## Training\n\n{_training(report)}",
        f"## Evaluation\n\n{_evaluation(report, rows, figure)}",
        f"## Limits\n\n{_limits(report)}",
        f"## How to use\n\n{_use(name)}",
        f"## Versions\n\n{_versions(report)}",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(report: Mapping[str, Any], name: str, rows: Sequence[Result]) -> str:
    """YAML; texts are quoted as in JSON, which is YAML too."""
    lines = ["library_name: llmrec", "tags:", "- recommendation", "- recommender-system", "- cold-start"]
    lines += ["# license: for you to choose, as the data are yours"]
    lines += [f"base_model: {report['base_model']}"] if report["base_model"] else []
    told = report["evaluation"]
    if told is not None:
        lines += ["metrics:", *(f"- {metric}" for metric in told["metrics"]), "model-index:", f"- name: {_quoted(name)}"]
        lines += ["  results:", "  - task:", "      type: recommendation", "    dataset:"]
        source = ", ".join(report["files"]) or "own data"
        lines += [f"      name: {_quoted(source)}", "      type: own-data", "    metrics:"]
        for row in rows:
            if row.method == OURS and not row.versus and row.metric == "ndcg@10":
                what = _quoted(f"NDCG@10, {row.setting}")
                lines += ["    - type: ndcg@10", f"      name: {what}", f"      value: {row.value:.4f}"]
    return "\n".join(["---", *lines, "---"])


def _summary(report: Mapping[str, Any]) -> str:
    first = (
        "A recommender by llmrec: a transformer reads item texts and the history of a user, FAISS retrieves candidates, and "
        "small rankers order them."
    )
    verdict = "\n".join(f"- {one}" for one in report["verdict"])
    if not verdict:
        return f"{first} It was not evaluated."
    return f"{first} On users who were held out of training, by NDCG@10:\n\n{verdict}"


def _data(report: Mapping[str, Any]) -> str:
    data = report["data"]
    files = f"From {listed(report['files'])}. " if report["files"] else ""
    when = f" from {data['first_event']} to {data['last_event']}" if data["first_event"] and data["last_event"] else ""
    lines = [
        f"{files}{data['events']:,} events of {data['users']:,} users{when}, with a median of {data['baskets_of_a_user']:g} "
        f"baskets a user. {data['items']:,} items, of which {data['items_with_events']:,} have events of users who were "
        "trained on."
    ]
    lossy = [step for step in report["cleaning"] if step["rows_dropped"] or step["rows_changed"]]
    if lossy:
        cells = [
            [step["table"], step["step"], f"{step['rows_in']:,}", f"{step['rows_dropped']:,}", f"{step['rows_changed']:,}"]
            for step in ({"step": one["name"], **one} for one in lossy)
        ]
        lines += [
            "Cleaning, where it left out or changed rows:",
            _table(["table", "step", "rows in", "left out", "changed"], cells),
        ]
    return "\n\n".join(lines)


def _training(report: Mapping[str, Any]) -> str:
    data, settings = report["data"], report["settings"]
    train = settings["train"]
    took = "" if report["seconds"] is None else f" Everything, evaluation included, took {report['seconds'] / 60:.1f} minutes."
    weights = f" Item texts are read by {report['base_model']}." if report["base_model"] else ""
    if more := data.get("item_attributes"):
        weights += f" Beside their texts it reads {listed(more)} of items."
    return (
        f"Trained on {data['trained_users']:,} users: {train['max_steps']:,} steps of {train['batch_size']:,} windows, prompts "
        f"of at most {train['max_slots']:,} events, the next {baskets(train['horizon'])} as target; {_adapter(settings)}. "
        f"Histories are read by the {settings['user_encoder']} transformer.{weights} Seed {report['seed']}, "
        f"{counted(report['threads'], 'thread')}."
        f"{took} All settings are in `report.json` and, to train with again, in `settings.json`."
    )


def _adapter(settings: Mapping[str, Any]) -> str:
    episodes = {
        "lora": f"LoRA's initialisation was meta-learned in {settings['outer']['episodes']:,} episodes",
        "core": f"the cores' prior was meta-learned in {settings['core']['episodes']:,} episodes",
    }
    return " and ".join(episodes.values()) if settings["adapter"] == "auto" else episodes[settings["adapter"]]


def _evaluation(report: Mapping[str, Any], rows: Sequence[Result], figure: bool) -> str:
    told = report["evaluation"]
    if told is None:
        return "Not evaluated: too few users to hold some out, or evaluation was switched off."
    counts = listed([f"{one['users']:,} users with {one['known']} known" for one in told["settings"]])
    ranked = "All items are ranked, and separately only items new to the user."
    if "all" not in told["items"]:
        ranked = (
            f"Users rarely take an item twice ({told['repeat_share']:.1%} of the relevant ones), so no method ranks items of "
            "the known baskets."
        )
    steps = "" if told["adapters_take_steps"] else " The gate takes no step of an adapter here, so zero steps are the same."
    parts = [
        f"{told['held_out_users']:,} users were drawn at random and not trained on. Their first baskets are known, and "
        f"items of the next {baskets(told['horizon'])} are relevant: {counts}. {ranked} The controls are fitted on the "
        f"{told['trained_users']:,} training users. Constants are chosen on a tenth of these, {MOST} at most; "
        f"those of EASE are fixed from {LARGE:,} items on, those of item kNN from {HUGE:,} on. Here: {_constants(told)}. "
        f"Intervals: {told['interval']}.{steps}"
    ]
    for which in told["items"]:
        parts += [f"### {ITEMS[which]}", "NDCG@10 (0 to 1, more is better):", _means(rows, which)]
        parts += ["llmrec minus each other method; below zero the other is better:", _gaps(rows, which)]
    parts += ["![NDCG@10 by known baskets](report.png)"] if figure else []
    return "\n\n".join([*parts, "Recall@10 and AUC are in `report.json`."])


def _constants(told: Mapping[str, Any]) -> str:
    said = []
    for name, kinds in told["controls"].items():
        for kind, constants in kinds.items():
            some = ", ".join(f"{key} {value:g}" for key, value in constants.items() if key in CONSTANTS)
            said.append(f"{told['methods'][name]} ({ITEMS[kind].lower()}): {some}")
    few = f"; EASE is of the {LARGEST:,} most purchased items" if told["ease_items"] == LARGEST else ""
    return "; ".join(said) + few


def _means(rows: Sequence[Result], which: str) -> str:
    means = means_by_setting(rows, which)
    best = {setting: max(one.value for one in part.values()) for setting, part in means.items()}
    body = []
    for method in ordered(means):
        cells = [_mean(part[method], part[method].value == best[setting]) for setting, part in means.items()]
        body.append([label(method), *cells])
    return _table(["method", *map(_after, means)], body)


def _gaps(rows: Sequence[Result], which: str) -> str:
    gaps = gaps_by_setting(rows, which)
    methods = [name for name in ordered(means_by_setting(rows, which)) if name != OURS]
    words = {"ahead of": "above", "level with": "level", "behind": "**below**"}
    body = [
        [f"minus {label(method)}", *(f"{_signed(part[method])} {words[standing(part[method])]}" for part in gaps.values())]
        for method in methods
    ]
    return _table(["llmrec", *map(_after, gaps)], body)


def _limits(report: Mapping[str, Any]) -> str:
    lines = [
        "These figures are offline: no user saw these lists. Users could not choose items that they were never shown, so "
        "such figures favour popular items.",
        "Intervals cover users, for this one training; another seed changes the figures, too.",
        f"If there is a folder `histories/` beside this card, it holds the events of {report['data']['users']:,} users: keep "
        "it as private as the tables it came from, or save again without it, by `recommender.save_pretrained(folder)`. This "
        "card and `report.json` hold only counts.",
    ]
    if report["evaluation"] is not None:
        most = max(one["known"] for one in report["evaluation"]["settings"])
        lines.insert(0, f"Nothing was measured on users with more than {most} known baskets.")
    return "\n".join(f"- {line}" for line in lines)


def _use(name: str) -> str:
    return (
        "```python\nfrom llmrec import Recommender\n\n"
        f"recommender = Recommender.from_pretrained({_quoted(name)})\n"
        "recommender.recommend(histories=events_of_new_people, k=10, titles=True)\n```\n\n"
        f"```sh\nllmrec recommend {shlex.quote(name)} --histories events.csv --titles\n```"
    )


def _versions(report: Mapping[str, Any]) -> str:
    commit = f" ({report['commit'][:12]})" if report["commit"] else ""
    others = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    return f"llmrec {report['llmrec']}{commit}, {others}. Written {report['created']}."


def _mean(one: Interval, best: bool) -> str:
    value = f"**{one.value:.4f}**" if best else f"{one.value:.4f}"
    return f"{value} [{one.low:.4f}, {one.high:.4f}]"


def _signed(one: Interval) -> str:
    return f"{one.value:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"


def _after(setting: str) -> str:
    count = known(setting)
    return "1 basket known" if count == 1 else f"{count} baskets known"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
