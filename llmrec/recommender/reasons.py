"""The part of the public `Recommender` that says why items are recommended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmrec.recommender.explaining import explain
from llmrec.recommender.state import State
from llmrec.rules.rules import Rules


class Explaining:
    """Reads the state and changes nothing."""

    _frame: Any

    @property
    @abstractmethod
    def state(self) -> State:
        """What is known now."""

    def explain(
        self,
        users: Any = None,
        items: Iterable[Any] | None = None,
        k: int = 10,
        events: int = 1,
        filter_viewed: bool = True,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        template: str | Path = "explanation",
        signals: bool = False,
        rules: Rules | None = None,
    ) -> Any:
        """Why items are recommended: which past items and signals raise them, in sentences. Each past item (of many the 100
        latest) is left out of the history with all its events, and the rest is scored as `recommend` scores it (occlusion).

        users, k, filter_viewed, histories, columns, context, rules: as in `recommend`. items: ids to explain; None for what
            `recommend` gives. events: past items to name for each item, at most. template: of the sentences, "explanation" or a
            file like prompts/explanation.txt. signals: add a column for the share of each signal (Shapley values).

        Returns a frame `user_id, item_id, score, rank, because_item_id, contribution, signal, sentence` with the rows of
        `recommend(users, k)`, or with `items` of `recommend(users, len(items), items_to_recommend=items)`, each once for every
        past item named. `contribution` is by how much the score, before rules, is lower without `because_item_id`; `signal`, of
        `llmrec.ranking.signals.SIGNALS`, what this comes from most. Where no single past item raises the score, none is named,
        `contribution` is 0, and `signal` is what the item is ahead of the user's other candidates by, missing where it is not.
        Shares of signals add up to the contribution, or to what the item is ahead. A ShortAnswerWarning says to whom some of
        `items` are not explained. Raises as `recommend`, and TemplateError.
        """
        what = items, k, events, filter_viewed, columns, context, template, signals, rules
        return explain(self.state, self._frame, users, histories, *what)
