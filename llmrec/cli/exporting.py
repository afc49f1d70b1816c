"""`llmrec export`: item vectors, lists of similar items and the text encoder, for other programs."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import click

from llmrec.cli.options import FOLDER, MOVED_RANKER, FilePath, overheard, told
from llmrec.cli.rankers import recommender_of
from llmrec.data.report import counted


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FilePath(file_okay=False, path_type=Path), required=True, help="Folder for the files.")
@click.option("--vectors", is_flag=True, help="Item vectors, as Parquet: item_id, vector (a list of float32).")
@click.option("--lists", is_flag=True, help="The most similar items of each item, as Parquet.")
@click.option("--encoder", is_flag=True, help="The text encoder, for sentence_transformers, and the items' text vectors.")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="Length of the lists.")
@MOVED_RANKER
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--quiet", is_flag=True, help="Print nothing.")
def export(
    folder: Path,
    out: Path,
    vectors: bool,
    lists: bool,
    encoder: bool,
    k: int,
    ranker: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Export item vectors, similar items and the text encoder. Without --vectors, --lists or --encoder: all three.

    \b
    Examples:
      llmrec export shop/ --out out/
      llmrec export shop/ --out out/ --lists --k 50
      python -c "from sentence_transformers import SentenceTransformer as S; print(S('out/encoder').encode(['red mug']))"
    """
    from llmrec.recommender.exporting import ENCODER, KIND, SIMILAR, TEXTS, VECTORS
    from llmrec.store import check_target

    check_target(out, KIND)
    if not (vectors or lists or encoder):
        vectors = lists = encoder = True
    with told(), overheard() if not quiet and not as_json else nullcontext():
        recommender = recommender_of(folder, ranker)
        recommender.export(out, vectors, lists, encoder, k)
    items = counted(recommender.state.n_offered, "item")
    files = {VECTORS: f"vectors of {items}"} if vectors else {}
    files |= {SIMILAR: f"the {k} most similar items of each of {items}"} if lists else {}
    if encoder:
        files |= {f"{ENCODER}/": "the text encoder, for SentenceTransformer", TEXTS: f"texts of {items} by that encoder"}
    if as_json:
        click.echo(json.dumps({"folder": str(out), "files": list(files)}, indent=1))
    elif not quiet:
        click.echo("\n".join(f"{out / name}: {what}" for name, what in files.items()))
