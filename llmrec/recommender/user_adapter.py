"""One user's adapter as a value: made from a history, saved, loaded onto the same base, and used in answers.

LoRA is saved in PEFT's format, so that `peft.PeftModel.from_pretrained` loads it over the folder `body/` of the saved
recommender; a core as safetensors. No event and no id of the user is kept.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmrec.adapters.lora import Adapter
from llmrec.adapters.peft_format import fingerprint, load_adapter, save_adapter
from llmrec.data.dataset import Dataset
from llmrec.data.ids import Ids
from llmrec.data.tasks import Tasks, full_histories
from llmrec.data.user_tables import UserTable
from llmrec.encoder.backbone import Backbone
from llmrec.encoder.threads import threads_for
from llmrec.encoder.users import PromptReading
from llmrec.errors import AdapterError, DataError
from llmrec.meta.adaptable import Adaptable
from llmrec.meta.gate import Choice
from llmrec.meta.user_core import UserCore
from llmrec.recommender.adapting import Adapting
from llmrec.recommender.given import attributes_of
from llmrec.recommender.state import State
from llmrec.store import load_arrays, read_folder, save_arrays, write_folder

KIND = "user adapter"
CORE_FILE = "core.safetensors"


@dataclass(frozen=True, eq=False)
class UserAdapter:
    """The result of `Recommender.adapt`.

    value: LoRA weights, or a core, of U = 1. choice: which of them it is, and its number of steps; with 0 steps it is the
    initialisation. events: of the history that it was adapted to. home: the state that adapted it.
    """

    value: Adapter | UserCore
    choice: Choice
    events: int
    home: Adapting

    def __repr__(self) -> str:
        return f"UserAdapter({self.choice.adapter}, {self.choice.steps} steps on {self.events:,} events)"

    def save_pretrained(self, folder: str | Path) -> None:
        """Save it atomically, with a hash of what it belongs to, see `base_hash`, and of every file."""
        value, body = self.value, self.home.base.model.body

        def write(to: Path) -> None:
            if isinstance(value, Adapter):
                save_adapter(to, value, body)
            else:
                save_arrays(to / CORE_FILE, {name: leaf.cpu().numpy() for name, leaf in vars(value).items()})

        meta = {"choice": asdict(self.choice), "events": self.events, "base": base_hash(self.home)}
        write_folder(folder, write, KIND, meta)

    @classmethod
    def from_pretrained(cls, folder: str | Path, recommender: Any) -> UserAdapter:
        """Load a folder of `save_pretrained`. recommender: the one that adapted it. Raises AdapterError for another one,
        ArtefactError if a byte of the folder has changed since."""
        state: State = recommender.state

        def read(there: Path, meta: dict[str, Any]) -> UserAdapter:
            choice = Choice(**meta["choice"])
            _check_base(meta["base"], state.adapting, str(there))
            value: Adapter | UserCore
            if choice.adapter == "lora":
                value = load_adapter(there, state.model.body)
            else:
                value = UserCore(**{name: torch.from_numpy(array) for name, array in load_arrays(there / CORE_FILE).items()})
            device = state.items.vectors.device
            return cls(value.map(lambda leaf: leaf.to(device)), choice, meta["events"], state.adapting)

        return read_folder(folder, KIND, read)

    def read(self, adapting: Adapting, tasks: Tasks) -> PromptReading:
        """The supports of T tasks under this adapter, without any further step. Raises AdapterError where it belongs to another
        base than that of `adapting`."""
        base = adapting.base
        if any(mine is not other for mine, other in zip(_parts(self.home), _parts(adapting), strict=True)):
            _check_base(base_hash(self.home), adapting, "adapter")
        made = base.prompts(tasks)
        return base.reading(made, _member(adapting, self.choice.adapter).vectors(made, self.value))


def adapt_to(state: State, asked: Ids | None, later: Dataset | None, told: UserTable | None, steps: int | None) -> UserAdapter:
    """The adapter of the one user of `asked`, adapted to all events that are known of that user and those in `later`.

    told: attributes of users, which come before the stored ones. steps: None for the gate's choice. Raises DataError for
    another number of users, and for a user without an event.
    """
    if asked is None or len(asked) != 1:
        got = "none" if asked is None else f"{len(asked):,}"
        raise DataError(f"adapt: expected one user, got {got}; say which by its id as user")
    known = state.known.of(asked)
    if later is not None:
        place = later.users.find(asked.values)
        known, _ = state.known.joined(asked, later.take(place[place >= 0]))
    place = known.users.find(asked.values)
    if place[0] < 0 or not (events := int(np.diff(known.start)[place[0]])):
        raise DataError(f"adapt: user {asked[0]!r} has no event to adapt to; pass a table that has some as histories")
    attributes = attributes_of(state, asked, told)
    tasks, way = replace(full_histories(known, place), user_attributes=attributes), state.adapting
    choice = way.choices(tasks, steps)[0]
    member = _member(way, choice.adapter)
    with threads_for(way.largest_product(tasks, [choice])):
        value, _ = member.adapted(tasks, [choice])
    return UserAdapter(value.detach(), choice, events, way)


def _member(adapting: Adapting, name: str) -> Adaptable:
    """LoRA or the core of a recommender. Raises AdapterError where it was fitted without."""
    member: Adaptable | None = adapting.core if name == "core" else adapting.lora
    if member is None:
        raise AdapterError(f"adapter: the recommender was fitted without {name}; fit with Settings(adapter={name!r})")
    return member


def base_hash(adapting: Adapting) -> str:
    """SHA-256 of what an adapter belongs to: the transformer, and where LoRA and cores start. The items are not in it, for they
    come and go."""
    body, *starts = _parts(adapting)
    digest = hashlib.sha256(fingerprint(body).encode())
    for start in starts:
        digest.update(b"" if start is None else b"".join(leaf.cpu().numpy().tobytes() for leaf in start.leaves()))
    return digest.hexdigest()


def _parts(adapting: Adapting) -> tuple[Backbone, Adapter | None, UserCore | None]:
    lora, core = adapting.lora, adapting.core
    return adapting.base.model.body, None if lora is None else lora.init.adapter, None if core is None else core.start


def _check_base(base: str, adapting: Adapting, what: str) -> None:
    if base != (own := base_hash(adapting)):
        raise AdapterError(
            f"{what}: belongs to the base {base[:12]}…, this one is {own[:12]}…; use it with the recommender that it was "
            "adapted by"
        )


def check_adapter(adapter: Any, steps: int | None) -> None:
    """Raises AdapterError for what is no adapter, and DataError where `steps` are asked for beside one."""
    if adapter is not None and steps is not None:
        raise DataError("steps: expected none beside adapter, which has taken its own; leave one of the two out")
    if adapter is not None and not isinstance(adapter, UserAdapter):
        raise AdapterError(
            f"adapter is {adapter!r}, expected what adapt gives; load a saved one by UserAdapter.from_pretrained(folder, "
            "recommender)"
        )
