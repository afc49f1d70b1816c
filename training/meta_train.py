"""Meta-learn an initialisation on a trained base, in one process or several, resumable after a kill, and save it for others.

python training/pretrain.py --output_dir runs/mine
python training/meta_train.py --base runs/mine/recommender --output_dir runs/meta --algorithm maml++ --inner_steps 3 --r 4
torchrun --nproc_per_node 2 training/meta_train.py --base runs/mine/recommender --output_dir runs/meta
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import io
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import click
import numpy as np
import torch

from llmrec.adapters.lora import Adapter, init_lora
from llmrec.data.build import build
from llmrec.data.journey import load_journey
from llmrec.errors import DataError, LlmrecError
from llmrec.meta.adaptable import Base
from llmrec.meta.algorithms import Recipe, fomaml, maml, maml_pp
from llmrec.meta.outer import OuterSettings
from llmrec.meta.resumable import Learned
from llmrec.metrics.report import Result, write_report
from llmrec.pretraining.processes import TRACKERS, Processes, described, launch
from llmrec.progress import Stages
from llmrec.recommender.fit import with_initialisation
from llmrec.recommender.meta_learning import learn_to_adapt
from llmrec.recommender.run import Run
from llmrec.recommender.saving import load_state, save_state
from llmrec.recommender.settings import LoraSettings
from llmrec.recommender.splitting import split_users
from llmrec.recommender.state import State

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
MANY = click.IntRange(min=1)
ALGORITHMS: dict[str, Callable[..., Recipe[Adapter]]] = {"fomaml": fomaml, "maml": maml, "maml++": maml_pp}


def run(
    base: Path,
    tables: tuple[Path, Path] | None,
    algorithm: str,
    lora: LoraSettings,
    outer: OuterSettings,
    seed: int,
    out: Path,
    save_steps: int,
    processes: Processes,
) -> None:
    """The initialisation by all processes; then, by the main one, its gate and blend, the saved recommender and the report."""
    told = sys.stderr if processes.main else io.StringIO()
    stages = Stages(told)
    with stages("load", str(base)):
        state = load_state(base, processes.device)
    state = replace(state, settings=replace(state.settings, lora=lora, outer=outer))
    with stages("read and clean", "the Complete Journey data (84.51°)" if tables is None else str(tables[0])) as say:
        events, items = tables or load_journey()
        dataset, _ = build(events, items, seed=state.seed, negative=state.settings.signed.negative)
        say(f"{dataset.n_events:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
    if list(dataset.catalogue.ids.values) != list(state.catalogue.ids.values):
        raise DataError(
            f"items: expected the {len(state.catalogue):,} that {base} was trained on, got {dataset.n_items:,} others; give "
            "the tables that it was trained on, so that the users kept out of its base are known"
        )
    split = split_users(dataset, np.arange(dataset.n_users), state.settings, np.random.default_rng(state.seed))
    generator = torch.Generator().manual_seed(seed)
    start = init_lora(
        state.model.body.linear_paths(lora.n_adapted_blocks), lora.r, lora.lora_alpha / lora.r, generator, lora.b_std
    )
    begin, settings = ALGORITHMS[algorithm](start, lora.inner_steps, lora.inner_lr, outer)
    if algorithm == "maml++":  # published with second derivatives, which cost about twice the time
        settings = replace(settings, first_order=outer.first_order)
    plan, rng = replace(state.settings, outer=settings), np.random.default_rng(seed)
    kept, begin = Run(out, processes, save_episodes=save_steps), begin.to(processes.device)
    frozen = Base(state.model, state.items, plan.episode)
    learned = learn_to_adapt(frozen, dataset, split.meta, plan, rng, seed, stages, kept, begin)
    processes.close()
    if not processes.main:
        return
    made = with_initialisation(state, dataset, split, learned.init, np.random.default_rng((seed, settings.episodes)), stages)
    with stages("save", str(out / "recommender")):
        save_state(out / "recommender", made, histories=False)
    _report(out / "report.json", made, learned, algorithm, seed, processes)
    click.echo(f"{out / 'recommender'}: load it with Recommender.from_pretrained; {out / 'report.json'}")


def _report(file: Path, state: State, learned: Learned[Adapter], algorithm: str, seed: int, processes: Processes) -> None:
    parts = {"first 20 episodes": learned.losses[:20], "last 20 episodes": learned.losses[-20:]}
    rows = [
        Result(
            "meta_train", f"{algorithm}, {k} steps", "ours", where, "loss", float(loss), None, None, "", len(part), seed, None
        )
        for where, part in parts.items()
        for k, loss in enumerate(np.mean(part, 0))
    ]
    gate = None if state.gate is None else state.gate.to_dict()
    extra = {"lora": asdict(state.settings.lora), "outer": asdict(state.settings.outer), "gate": gate}
    write_report(file, rows, extra | {"processes": processes.share.world, "threads": torch.get_num_threads()})


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True})
@click.option("--base", type=FOLDER, required=True, help="A saved recommender, as training/pretrain.py leaves one.")
@click.option("--output_dir", type=FOLDER, default=Path("runs/meta"), help="For checkpoints, recommender and report.")
@click.option("--events", type=FILE, help="The events that the base was trained on; the users kept out of it teach here.")
@click.option("--items", type=FILE, help="The items that go with them.")
@click.option("--algorithm", type=click.Choice(list(ALGORITHMS)), default="maml++", help="See llmrec/meta/algorithms.py.")
@click.option("--first_order/--second_order", default=True, help="Of maml++: whether inner gradients count as constants.")
@click.option("--inner_steps", type=MANY, default=LoraSettings().inner_steps, help="Inner steps.")
@click.option("--inner_lr", type=float, default=LoraSettings().inner_lr, help="Learning rate at which the inner loop starts.")
@click.option(
    "--r",
    "r",
    type=MANY,
    default=LoraSettings().r,
    help="Rank of the LoRA update; its scaling is lora_alpha / r, with lora_alpha = 2 r.",
)
@click.option("--episodes", type=MANY, default=OuterSettings().episodes, help="Outer steps.")
@click.option(
    "--meta_batch_size", type=MANY, default=LoraSettings().meta_batch_size, help="Users in an episode, over ALL processes."
)
@click.option("--learning_rate", type=float, default=OuterSettings().learning_rate, help="Of the outer loop's Adam.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all draws.")
@click.option("--save_steps", type=MANY, default=20, help="Episodes between two checkpoints.")
@click.option("--report_to", type=click.Choice(["none", *TRACKERS]), default="none", help="Tracker of the query losses.")
@click.option("--cpu", is_flag=True, help="Stay on the CPU where there is a GPU.")
def main(
    base: Path,
    output_dir: Path,
    events: Path | None,
    items: Path | None,
    algorithm: str,
    first_order: bool,
    inner_steps: int,
    inner_lr: float,
    r: int,
    episodes: int,
    meta_batch_size: int,
    learning_rate: float,
    seed: int,
    save_steps: int,
    report_to: str,
    cpu: bool,
) -> None:
    """Meta-learn the initialisation of a saved recommender anew: where every shopper's adapter starts, and its step sizes.

    The base stays as it is. The users that were kept out of its training teach, as they do in `fit`; so give the tables that it
    was trained on (none for the packaged grocery data). A new gate and blend are learned on top, and the whole is saved. Give
    the same command again after a kill: it goes on from the last checkpoint.

    \b
    One process:             python training/meta_train.py --base runs/mine/recommender --output_dir runs/meta
    Two processes on a CPU:  torchrun --nproc_per_node 2 training/meta_train.py --base runs/mine/recommender ...
    A GPU:                   accelerate launch training/meta_train.py --base runs/mine/recommender ...
    """
    if (events is None) != (items is None):
        raise click.UsageError("--events and --items go together: events say who bought what, items say what it is.")
    lora = replace(
        LoraSettings(), r=r, lora_alpha=2.0 * r, inner_steps=inner_steps, inner_lr=inner_lr, meta_batch_size=meta_batch_size
    )
    outer = replace(OuterSettings(), episodes=episodes, learning_rate=learning_rate, first_order=first_order)
    try:
        processes = launch(cpu, report_to, output_dir, {**asdict(outer), "algorithm": algorithm, "seed": seed})
        if processes.main:
            click.echo("\n".join(described(processes)), err=True)
        tables = (events, items) if events is not None and items is not None else None
        run(base, tables, algorithm, lora, outer, seed, output_dir, save_steps, processes)
    except LlmrecError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
