"""Train a recommender at length, in one process or several, resumable after a kill, and save it for others.

python training/pretrain.py --output_dir runs/mine
accelerate launch --cpu --num_cpu_threads_per_process 2 training/pretrain.py --output_dir runs/mine
torchrun --nproc_per_node 2 training/pretrain.py --output_dir runs/mine
"""

from __future__ import annotations

import llmrec  # noqa: F401  (before torch: it sets how long threads spin)

# isort: split
import io
import json
import sys
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

import click
import numpy as np
import torch

from llmrec.data.build import build
from llmrec.data.journey import load_journey
from llmrec.encoder.train import TrainSettings
from llmrec.encoder.weights import Weights
from llmrec.errors import LlmrecError
from llmrec.meta.outer import OuterSettings
from llmrec.metrics.report import Result, write_report
from llmrec.pretraining.loop import Pretrained
from llmrec.pretraining.processes import TRACKERS, Processes, described, launch
from llmrec.progress import Stages
from llmrec.recommender.fit import fit_base, fit_rest
from llmrec.recommender.run import Run
from llmrec.recommender.saving import KIND, save_state
from llmrec.recommender.settings import USER_ENCODERS, Settings
from llmrec.store import cache_folder, library_version, load_json, open_folder

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
MANY = click.IntRange(min=1)
PLAIN = Settings()
CHOSEN = "chosen from the data"


def run(
    tables: tuple[Path, Path] | None,
    weights: Weights,
    settings: Settings,
    seed: int,
    out: Path,
    save_steps: int,
    processes: Processes,
    event_weights: dict[str, float],
) -> None:
    """The base by all processes; then, by the main one, all that is above it, the saved recommender and the report.

    These are the two halves of `Recommender(weights, settings, seed).fit`, which in one process makes the same recommender of
    the same tables, and goes on from the same checkpoints.
    """
    told = sys.stderr if processes.main else io.StringIO()
    stages = Stages(told)
    with stages("read and clean", "the Complete Journey data (84.51°)" if tables is None else str(tables[0])) as say:
        events, items = tables or load_journey()
        dataset, _ = build(events, items, seed=seed, event_weights=event_weights, negative=settings.signed.negative)
        say(f"{dataset.n_events:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
    base = fit_base(dataset, weights, settings, seed, stages, cache_folder(), run=Run(out, processes, save_steps))
    done, settings = base.done, base.settings
    steps, taught = settings.train.max_steps, len(base.split.base)
    if done.operations:
        print(scaling(done.operations, steps, done.seconds, processes.share.world), file=told)
    processes.close()
    if not processes.main:
        return
    if done.resumed == steps and _complete(out, settings, seed):
        click.echo(f"{out / 'recommender'} is there and complete: nothing to do")
        return
    state = fit_rest(dataset, base, seed, stages, Run(out))
    with stages("save", str(out / "recommender")):
        save_state(out / "recommender", state, histories=False)
    extra = {
        "settings": asdict(settings),
        "seed": seed,
        "data": {"users": dataset.n_users, "items": dataset.n_items, "events": dataset.n_events, "taught": taught},
        "processes": processes.share.world,
        "gflop_per_step": done.operations * processes.share.world / 1e9 or None,  # unknown where no step was left to take
        "threads": torch.get_num_threads(),
        "device": processes.device,
        "versions": {name: metadata.version(name) for name in ("torch", "transformers", "accelerate", "numpy")}
        | {"llmrec": library_version()},
        "stages": [stage._asdict() for stage in stages.done],
    }
    write_report(out / "report.json", _rows(done, taught, seed), extra)
    click.echo(f"{out / 'recommender'}: load it with Recommender.from_pretrained; {out / 'report.json'}")


def scaling(operations: int, steps: int, seconds: float, world: int) -> str:
    """How much arithmetic the base is, at what speed it was done here, and what it would take elsewhere."""
    whole = operations * world * steps
    return (
        f"arithmetic: {operations * world / 1e9:,.1f} GFLOP a step, {whole / 1e12:,.1f} TFLOP in all, "
        f"{whole / max(seconds, 1e-9) / 1e9:,.0f} GFLOP/s here. A device scales as its matrix products do (`llmrec doctor` "
        f"says how fast they are here): at 20 TFLOP/s, a share of what a GPU does, all of it would take {whole / 2e13:,.1f} s"
    )


def _rows(done: Pretrained, users: int, seed: int) -> list[Result]:
    parts = {"first 10 steps": (done.losses[:10], None), "last 10 steps": (done.losses[-10:], done.seconds)}
    return [
        Result("pretrain", "llmrec", "ours", where, "loss", float(np.mean(losses)), None, None, "", users, seed, seconds)
        for where, (losses, seconds) in parts.items()
    ]


def _complete(out: Path, settings: Settings, seed: int) -> bool:
    """Whether an earlier run of the same settings came to its end; its report is written last."""
    if not ((out / "report.json").is_file() and (out / "recommender").is_dir()):
        return False
    report = load_json(out / "report.json")
    if (report["settings"], report["seed"]) != (json.loads(json.dumps(asdict(settings))), seed):
        return False
    open_folder(out / "recommender", KIND)  # every byte is as it was saved
    return True


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True})
@click.option("--output_dir", type=FOLDER, default=Path("runs/pretrain"), help="For checkpoints, recommender and report.")
@click.option("--events", type=FILE, help="Your events, CSV or Parquet: user_id, item_id, timestamp, and what else you have.")
@click.option("--items", type=FILE, help="Your items, CSV or Parquet: item_id, title, and text or category if you have them.")
@click.option(
    "--event_weight",
    type=(str, float),
    multiple=True,
    metavar="TYPE NUMBER",
    help="What events of a type count, such as view 0.1.",
)
@click.option("--model_name_or_path", help="A folder with a BERT, Llama, Mistral or Qwen2 model.  [default: packaged MiniLM]")
@click.option("--user_encoder", type=click.Choice(USER_ENCODERS), default=PLAIN.user_encoder, help="What reads histories.")
@click.option("--num_layers", type=MANY, default=PLAIN.layers, help="Blocks of it, with --user_encoder pretrained.")
@click.option("--max_steps", type=MANY, show_default=CHOSEN, help="Optimiser steps of the base.")
@click.option("--batch_size", type=MANY, default=PLAIN.train.batch_size, help="Windows in a step, over ALL processes.")
@click.option("--learning_rate", type=float, show_default=CHOSEN, help="Of AdamW, for matrices; biases keep their own.")
@click.option(
    "--ema_decay",
    type=click.FloatRange(0, 1, max_open=True),
    show_default=CHOSEN,
    help="Decay of the weights' moving average.",
)
@click.option("--episodes", type=MANY, default=PLAIN.outer.episodes, help="Of meta-learning, after the base.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of all draws.")
@click.option("--save_steps", type=MANY, default=50, help="Steps between two checkpoints.")
@click.option("--report_to", type=click.Choice(["none", *TRACKERS]), default="none", help="Tracker of loss, rate and speed.")
@click.option("--cpu", is_flag=True, help="Stay on the CPU where there is a GPU.")
def main(
    output_dir: Path,
    events: Path | None,
    items: Path | None,
    event_weight: tuple[tuple[str, float], ...],
    model_name_or_path: str | None,
    user_encoder: str,
    num_layers: int,
    max_steps: int,  # AUTO, as are learning_rate and ema_decay, where the option is not given
    batch_size: int,
    learning_rate: float,
    ema_decay: float,
    episodes: int,
    seed: int,
    save_steps: int,
    report_to: str,
    cpu: bool,
) -> None:
    """Train a recommender and save it, so that another person can load it with Recommender.from_pretrained.

    Without files it trains on a grocery data set that is installed. Give the same command again after a kill: it goes on from
    the last checkpoint and, on a CPU, ends at the same weights, bit for bit. After the end the same command does nothing.

    \b
    One process:             python training/pretrain.py --output_dir runs/mine
    A CPU, by accelerate:    accelerate launch --cpu --num_cpu_threads_per_process 2 training/pretrain.py ...
    Two processes on a CPU:  torchrun --nproc_per_node 2 training/pretrain.py ...     (accelerate would start one)
    Two GPUs:                accelerate launch --num_processes 2 training/pretrain.py ...

    A step's batch is divided among the processes: their number changes the time it takes, not what is learned. Options have
    the names of TrainSettings, and elsewhere those of transformers' TrainingArguments.
    """
    if (events is None) != (items is None):
        raise click.UsageError("--events and --items go together: events say who bought what, items say what it is.")
    settings = replace(
        PLAIN,
        user_encoder=user_encoder,
        layers=num_layers,
        train=replace(
            TrainSettings(), max_steps=max_steps, batch_size=batch_size, learning_rate=learning_rate, ema_decay=ema_decay
        ),
        outer=replace(OuterSettings(), episodes=episodes),
    )
    try:
        weights = Weights.folder(model_name_or_path) if model_name_or_path else Weights.packaged()
        given = {name: CHOSEN if value is None else value for name, value in asdict(settings.train).items()}
        config = {**given, "seed": seed}
        processes = launch(cpu, report_to, output_dir, config)
        if processes.main:
            click.echo("\n".join(described(processes)), err=True)
        settings = replace(settings, device=processes.device)
        tables = (events, items) if events is not None and items is not None else None
        run(tables, weights, settings, seed, output_dir, save_steps, processes, dict(event_weight))
    except LlmrecError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
