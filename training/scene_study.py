"""Study what a few users of a new scene are worth, and write its report.

python training/scene_study.py --data FOLDER --output training/results/scenes.json

Each catalogue of Amazon reviews is left out in turn, then each product category of the Complete Journey, then the Christmas of
Online Retail. What everybody who asks got is kept under --runs scene by scene, so that a study goes on where it was stopped;
the report is made of all that is there. With --gradient a scene's adapter by gradient steps, and what it is held against, are
measured and kept beside the others. The primary cell and the aims stand in `studies.scenes.study`; --tried asks users
of validation and nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from llmrec.errors import DataError, LlmrecError
from llmrec.metrics.report import Result, table, write_report
from llmrec.progress import Stages
from llmrec.scenes.learning import LearnSettings
from llmrec.store import cache_folder, load_arrays, load_json, save_arrays, save_json
from studies.scenes import gradient, places, study

GRADIENT = "gradient"
KINDS = ("catalogues", "categories", "seasons")
PARTS = 8  # scenes made within each known catalogue; a category is one already


def load(kind: str, data: Path, beside: tuple[str, ...], cache: Path, tried: bool) -> dict[str, places.Place]:
    """All scenes of a kind."""
    if kind == "catalogues":
        return places.catalogues(data, beside or places.CATALOGUES, cache, tried)
    return places.categories(cache, tried) if kind == "categories" else places.seasons(data, cache, tried)


def keep(folder: Path, found: study.Found) -> None:
    """The values of one scene: float32 (seeds, users) by size and method, in an order that `kept` knows."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [(size, method) for size, methods in found.values.items() for method in methods]
    arrays = {str(place): np.stack(found.values[size][method]) for place, (size, method) in enumerate(names)}
    save_arrays(folder / "values.safetensors", arrays)
    save_json(folder / "names.json", {"names": names, "chosen": found.chosen})


def kept(folder: Path) -> study.Found:
    """What `keep` wrote."""
    found, said = study.Found(), load_json(folder / "names.json")
    arrays = load_arrays(folder / "values.safetensors")
    for place, (size, method) in enumerate(said["names"]):
        for values in arrays[str(place)]:
            found.add(size, method, values)
    found.chosen += said["chosen"]
    return found


def measure(there: dict[str, places.Place], name: str, sizes: Sequence[int], seeds: int, stages: Stages) -> study.Found:
    """Adapters by gradient steps, and all that they are held against, in one scene."""
    settings = gradient.GradientSettings()
    return gradient.study(gradient.learn(there, name, settings, stages), sizes, range(seeds), settings, stages)


def merged(one: study.Found, other: study.Found) -> study.Found:
    """What both hold of one scene."""
    both = study.Found(chosen=[*one.chosen, *other.chosen])
    for found in (one, other):
        for size, methods in found.values.items():
            both.values.setdefault(size, {}).update(methods)
    return both


def aims(rows: list[Result]) -> list[dict]:
    """In every cell ours, the best control, and their ratio."""
    found = []
    for setting in dict.fromkeys(row.setting for row in rows):
        ours = [row for row in rows if row.setting == setting and row.method == study.OURS and not row.versus]
        if ours:
            best = study.best_control(rows, setting)
            ratio = ours[0].value / max(best.value, 1e-12)
            found.append({"setting": setting, "ours": ours[0].value, "best": best.method, "its": best.value, "ratio": ratio})
    return found


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), show_default=True, help="Folder with the files.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="One kind of scene alone.  [default: all]")
@click.option("--scene", "only", multiple=True, help="Scenes that are left out; may be given several times.  [default: all]")
@click.option("--with", "beside", multiple=True, help="Catalogues that there are at all.  [default: all five]")
@click.option("--users", "sizes", type=click.IntRange(4), multiple=True, help="Support users.  [default: 16, 64, 256]")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Draws of support users.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs") / "scenes", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path), help="Where text vectors are kept.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
@click.option("--gradient", "by_steps", is_flag=True, help="Measure adapters by gradient steps and their controls.")
@click.option("--tried", is_flag=True, help="Ask users of validation; nothing of the others is read.")
@click.option("--report", is_flag=True, help="Measure nothing; report what has been measured.")
def main(
    data: Path,
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    beside: tuple[str, ...],
    sizes: tuple[int, ...],
    seeds: int,
    runs: Path,
    cache: Path | None,
    output: Path | None,
    by_steps: bool,
    tried: bool,
    report: bool,
) -> None:
    """Leave every scene out once, or some, and report all that have been."""
    stages, part = Stages(), "tried" if tried else "test"
    try:
        for kind in () if report else kinds or KINDS:
            with stages("data", kind):
                there = load(kind, data, beside, cache or cache_folder(), tried)
            settings = LearnSettings(parts=PARTS if kind == "catalogues" else 0)
            for name in only or ([places.CHRISTMAS] if kind == "seasons" else there):
                if name not in there:
                    raise DataError(f"--scene: expected {', '.join(there)}, got {name!r}; give its --kind too")
                label = "".join(letter if letter.isalnum() else "-" for letter in name)
                folder = runs / part / (f"{GRADIENT}/{kind}/{label}" if by_steps else f"{kind}/{label}")
                if (folder / "names.json").is_file():
                    continue
                if by_steps:
                    keep(folder, measure(there, name, sizes or (*settings.sizes, 1024), seeds, stages))
                    continue
                with stages("learn", f"all but {name}"):
                    left = study.leave_out(there, name, settings, 0)
                keep(folder, study.study(left, sizes or settings.sizes, range(seeds), settings, stages))
        rows, ratios, chosen, users = together(runs / part, kinds or KINDS)
        for line in ratios:
            against = f"{line['best']} {line['its']:.4f}, x {line['ratio']:.3f}"
            click.echo(f"{line['setting']}: {line['ours']:.4f}, {against}")
        if output is not None:
            notes = {
                "primary": study.PRIMARY,
                "aims": study.AIMS,
                "part": part,
                "ratios": ratios,
                "chosen": chosen,
                "data ratio": users,
            }
            write_report(output, rows, notes)
            click.echo(f"\nwritten: {output}")
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


def together(runs: Path, kinds: Sequence[str]) -> tuple[list[Result], list[dict], list[dict], list[dict]]:
    """Rows of all scenes measured so far, ours against the best control of every cell, what `choose` did and gradient steps
    came to, and how many users a full fine-tuning is worth; shows tables."""
    rows: list[Result] = []
    chosen: list[dict] = []
    ratio: list[dict] = []
    for kind in kinds:
        found: dict[str, study.Found] = {}
        for path in sorted([*(runs / kind).glob("*/names.json"), *(runs / GRADIENT / kind).glob("*/names.json")]):
            name = path.parent.name
            found[name] = merged(found.get(name, study.Found()), kept(path.parent))
        if found:
            mine = study.report(found, np.random.default_rng(0), f"scenes, {kind}")
            mine += gradient.across(found, np.random.default_rng(0), f"scenes, {kind}")
            click.echo(f"{table(mine, f'scenes, {kind}', study.METRIC)}\n")
            rows += mine
            chosen += [line for one in found.values() for line in one.chosen]
            ratio += gradient.data_ratio(found)
    return rows, aims(rows), chosen, ratio


if __name__ == "__main__":
    main()
