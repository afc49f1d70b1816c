"""`llmrec similar`: the items nearest to some items."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click

from llmrec.cli.options import EXISTING, FOLDER, MOVED_RANKER, overheard, told
from llmrec.cli.rankers import recommender_of
from llmrec.cli.recommending import known_ids
from llmrec.cli.tables import TABLES, form_of, put, table_options


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--items", required=True, metavar="ID,ID", help="Ids of items of the catalogue, separated by commas.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Similar items for each.")
@click.option("--rules", type=EXISTING, help="YAML file of the shop's rules, as for recommend; block is not used.")
@click.option("--titles", is_flag=True, help="Add the titles of the similar items.")
@MOVED_RANKER
@table_options
def similar(
    folder: Path,
    items: str,
    k: int,
    rules: Path | None,
    titles: bool,
    ranker: Path | None,
    form: str | None,
    out: Path | None,
    quiet: bool,
) -> None:
    """Show the items most similar to given items.

    By the cosine of their vectors.

    \b
    Examples:
      llmrec similar shop/ --items 85123A --titles
      llmrec similar shop/ --items 85123A,71053 --k 20 --out similar.csv
      llmrec similar shop/ --items 85123A --rules rules.yaml
    """
    form = form_of(form, out, TABLES)
    from llmrec.data.frames import to_arrow
    from llmrec.rules.rules import Rules
    from llmrec.store import check_parent

    if out is not None:
        check_parent(out)
    with told(), nullcontext() if quiet else overheard("Note: "):
        ruled = None if rules is None else Rules.from_yaml(rules)
        recommender = recommender_of(folder, ranker)
        asked = known_ids(items, recommender.state.catalogue.ids, "--items")
        answer = recommender.similar_items(asked, k, titles=titles, rules=ruled)
    put(to_arrow(answer, "answer"), form, out)
