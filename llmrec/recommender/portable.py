"""The part of the public `Recommender` that gives others something to use: one user's adapter, and files for other programs."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

from llmrec.data.requests import as_ids, checked_steps
from llmrec.encoder.weights import Weights
from llmrec.index.forks import check_process
from llmrec.recommender.exporting import export
from llmrec.recommender.given import events_of, user_table, warn_if_lost
from llmrec.recommender.state import State
from llmrec.recommender.user_adapter import UserAdapter, adapt_to


class Portable:
    """Reads the state and changes nothing."""

    weights: Weights | None

    @property
    @abstractmethod
    def state(self) -> State:
        """What is known now."""

    def adapt(
        self,
        user: Any = None,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        steps: int | Literal["auto"] = "auto",
        attributes: Any = None,
    ) -> UserAdapter:
        """The adapter of one user, as `recommend` adapts it for an answer; `UserAdapter.save_pretrained` writes it.

        user: an id; None if `histories` has only one user. histories, columns, steps: as in `recommend`. attributes: a
        table of `user_id` and attributes. Raises DataError for a user without events, and for several users.
        """
        taken = checked_steps(steps)
        state, later, asked = self.state, None, None if user is None else as_ids([user], "user")
        if histories is not None:
            later, report, named = events_of(state, histories, columns)
            warn_if_lost(report)
            asked = named if asked is None else asked
        told = None if attributes is None else user_table(state, attributes, columns)
        check_process()
        return adapt_to(state, asked, later, told, taken)

    def export(self, folder: str | Path, vectors: bool = True, lists: bool = True, encoder: bool = True, k: int = 10) -> None:
        """Write item vectors, the `k` most similar items of each as `lists`, and the text encoder, for other programs: Parquet
        files, and a folder that `sentence_transformers` loads; see `llmrec.recommender.exporting`.

        The encoder is that of `weights`. Raises WeightsError if the recommender was fitted with another one, ArtefactError
        for a folder with other contents than an older export.
        """
        export(self.state, folder, self.weights or Weights.packaged(), vectors, lists, encoder, k)
