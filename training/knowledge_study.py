"""Item knowledge for young items: what frozen states of a language model add to texts, first buyers, popularity and MiniLM.

python training/knowledge_study.py --data FOLDER --model smollm2/ --category beauty --output knowledge-beauty.json

Items first sold after a cut at 75% of the events are ranked before each purchase of one. Weights of the blends are learned on
an earlier cut. `studies.new_items.knowing` has the blends; the primary cell is purchases of items with 1 to 3 earlier buyers.
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
from pathlib import Path

import click
import numpy as np

from benchmarks.item_cold import CATEGORIES
from llmrec.errors import LlmrecError
from llmrec.language.knowledge import item_states
from llmrec.progress import Stages
from studies.categories.controls import text_vectors
from studies.new_items import knowing, study
from studies.new_items.replay import Replay, World, replay, world
from studies.options import model_option
from studies.reporting import print_gains, print_tables, save_report


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--data", type=click.Path(path_type=Path), default=Path("data"), help="Folder with the files.")
@model_option
@click.option("--category", type=click.Choice(CATEGORIES), default="beauty")
@click.option("--template", default="knowledge", help="Of the task `knowledge`: a name or a file.")
@click.option("--power", type=float, default=0.5, help="Each component is divided by its spread to this power.")
@click.option("--seed", type=click.IntRange(0), default=0)
@click.option("--output", type=click.Path(path_type=Path), help="JSON report to be written.")
def main(data: Path, model: str, category: str, template: str, power: float, seed: int, output: Path | None) -> None:
    """Blend scores of young items with and without item knowledge."""
    name, stages = f"knowledge-{category}", Stages()
    try:
        with stages("data", category):
            worlds = [world(data, category, part) for part in ("validation", "test")]
            catalogue = worlds[0].whole.catalogue
        with stages("item knowledge", f"{len(catalogue.ids):,} items"):
            states, text = item_states(model, catalogue.table.select(["title"]), template), text_vectors(catalogue)

        def described(here: World) -> tuple[World, Replay, dict[str, np.ndarray]]:
            warm = np.bincount(here.train.item, minlength=here.train.n_items) > 0
            return here, replay(here), {"MiniLM": text, "item knowledge": knowing.principal(states, warm, power)}

        with stages("blend", "learned on an earlier cut"):
            earlier, here = described(worlds[0]), described(worlds[1])
            rows = knowing.rows(name, here[1], knowing.answered(earlier, here), seed)
        print_tables(rows, name, (study.METRIC,), ())
        print_gains(rows)
        primary = {"setting": "k = 1-3", "metric": study.METRIC}
        told = {"benchmark": name, "ours": knowing.KNOWLEDGE, "primary": primary, "aims": [], "seeds": [seed]}
        save_report(output, rows, told | {"template": template, "power": power})
    except LlmrecError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
