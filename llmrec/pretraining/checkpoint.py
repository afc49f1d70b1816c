"""Checkpoints of base training: weights, AdamW's moments and the moving average as safetensors, the rest as JSON.

Whatever the next step depends on is here or in what the caller gives again, which `identity` holds against what was given then.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.encoder.model import SlotModel
from llmrec.encoder.train import Training, TrainSettings, trainable
from llmrec.errors import ArtefactError
from llmrec.store import is_there, load_arrays, read_folder, save_arrays, write_folder

KIND = "training"
ARRAYS = "training.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of a parameter
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Effort:
    """What went into the steps so far. seconds: wall-clock time. processes, threads: of the last save; bits depend on both."""

    seconds: float = 0.0
    processes: int = 1
    threads: int = 1


def identity(model: SlotModel, dataset: Dataset, users: np.ndarray, settings: TrainSettings, seed: int) -> dict[str, Any]:
    """What makes a run this run and no other, as flat JSON: settings, seed, counts and SHA-256 of data, texts and words."""
    table = model.body.model.get_input_embeddings().weight  # never trained, so it tells the pretrained weights apart
    events = [np.asarray(users, np.int64), dataset.start, dataset.item, dataset.time, dataset.basket]
    events += [dataset.attributes[name] for name in sorted(dataset.attributes)]
    if dataset.user_attributes is not None:
        events.append(dataset.user_attributes.codes)
    if dataset.catalogue.attributes is not None:
        events.append(dataset.catalogue.attributes.codes)
    events += [] if dataset.sample_weight is None else [dataset.sample_weight]  # other weights of event types are another loss
    return json.loads(
        json.dumps(
            {
                **asdict(settings),
                "seed": seed,
                "users": len(users),
                "items": dataset.n_items,
                "events": dataset.n_events,
                "catalogue": _text_digest(dataset.catalogue),
                "data": digest(*events),
                "texts": digest(model.text.cpu().numpy()),  # which tell the text model and its template apart
                "weights": digest(table.detach().cpu().numpy(), model.prefix_ids.cpu().numpy()),
            }
        )
    )


def saved(path: Path) -> bool:
    """Whether a training was saved at `path`, also when a crash left it under the name of the older save."""
    return is_there(path)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. Raises ArtefactError where another one holds it.

    The system lets go when a process dies, however it dies. A launcher that is killed with -9 leaves its workers running: then
    the same command would save over them. (On Windows nothing is held.)
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".running").open("a") as file:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ArtefactError(
                    f"{folder}: another process is training into it, perhaps a worker whose launcher was killed; wait for it "
                    "or end it, or give another folder"
                ) from error
        yield


def save(path: Path, training: Training, run: Mapping[str, Any], effort: Effort) -> None:
    """Save atomically; an older save at `path` is replaced. run: its `identity`."""
    arrays = {f"model.{name}": value for name, value in training.model.state_dict().items()}
    for name, parameter in trainable(training.model):
        moments = training.optimiser.state.get(parameter, {})
        arrays |= {f"adamw.{key}.{name}": value for key, value in moments.items()}
    arrays |= {f"average.{name}": value for name, value in (training.ema or {}).items()}
    dtype = next(name for name, value in DTYPES.items() if value == training.dtype)
    meta = {"run": dict(run), "warm": training.warmup, "dtype": dtype, **asdict(effort)}

    def write(to: Path) -> None:
        plain = {name: value.detach().cpu().numpy() for name, value in arrays.items()}
        save_arrays(to / ARRAYS, plain | {"losses": np.array(training.losses, np.float64)})

    write_folder(path, write, KIND, meta)


def restore(path: Path, training: Training, run: Mapping[str, Any]) -> Effort:
    """Put a saved training into a fresh one of the same run, and say what has gone into it.

    Raises ArtefactError when a byte has changed since, and when it is a save of another run: the message names what differs.
    """
    meta, kept = read_folder(path, KIND, lambda folder, meta: (meta, load_arrays(folder / ARRAYS)))
    same_run(path, meta["run"], run)
    arrays = {name: torch.from_numpy(values) for name, values in kept.items()}
    model, weights = training.model, _under(arrays, "model.")
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if shapes != wanted:
        name = min(name for name in shapes.keys() | wanted.keys() if shapes.get(name) != wanted.get(name))
        raise ArtefactError(
            f"{path}: weight {name!r} was {shapes.get(name, 'not there')} and is {wanted.get(name, 'not there')}: a run cannot "
            "resume with another transformer; use the original one, or another folder for a new run"
        )
    model.load_state_dict(weights)
    for name, parameter in trainable(model):
        moments = {key: arrays[f"adamw.{key}.{name}"] for key in MOMENTS if f"adamw.{key}.{name}" in arrays}
        if moments:
            on = {key: value.to(parameter.device) for key, value in moments.items() if key != "step"}  # AdamW counts on the CPU
            training.optimiser.state[parameter] = {"step": moments["step"], **on}
        if training.ema is not None:
            training.ema[name] = arrays[f"average.{name}"].to(parameter.device)
    training.losses[:] = arrays["losses"].tolist()
    training.dtype, training.warmup = DTYPES[meta["dtype"]], meta["warm"]
    return Effort(meta["seconds"], meta["processes"], meta["threads"])


def same_run(path: Path, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises ArtefactError, naming what differs, where what was saved at `path` is of another run than the one now."""
    for name in [*now, *sorted(then.keys() - now.keys())]:  # settings and counts first: they say more than a hash
        if then.get(name) != now.get(name):
            raise ArtefactError(
                f"{path}: a run started with {name} = {then.get(name)!r} cannot resume with {name} = {now.get(name)!r}; "
                "use the original value, or another folder for a new run"
            )


def _under(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def _text_digest(catalogue: Catalogue) -> str:
    """Of all columns, since a template may read any of them into the texts of the items."""
    columns = [name + "\n" + "\n".join(map(str, catalogue.column(name))) for name in catalogue.table.column_names]
    return digest(np.frombuffer("\n".join(columns).encode(), np.uint8))


def digest(*arrays: np.ndarray) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the arrays' bytes, one after the other."""
    found = hashlib.sha256()
    for values in arrays:
        found.update(np.ascontiguousarray(values).data)
    return found.hexdigest()[:16]
