"""The part of the public `Recommender` that says why items are recommended."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmrec.data.frames import to_native
from llmrec.data.numbers import check_whole
from llmrec.data.requests import allowed_items, check_count, warn_if_short
from llmrec.index.forks import check_process
from llmrec.recommender.answer import Request
from llmrec.recommender.explaining import as_explanations, explained, warn_if_left
from llmrec.recommender.given import asked_by, context_of
from llmrec.recommender.sentences import load_sentences
from llmrec.recommender.state import State
from llmrec.rules.answers import pins_shown, shortage, warn_of_rules
from llmrec.rules.rules import Rules, checked_rules


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
        """Explain recommendations: which past items and signals raise them, in sentences. Each past item (at most the latest
        100) is left out of the history with all its events, and the rest is scored as by `recommend` (occlusion).

        users, k, filter_viewed, histories, columns, context, rules: as in `recommend`. items: ids to explain; None for the
            answer of `recommend`. events: past items to name for each item, at most. template: of the sentences, "explanation"
            or a file like prompts/explanation.jinja. signals: add a column for the share of each signal (Shapley values).

        Returns a frame `user_id, item_id, score, rank, because_item_id, contribution, signal, sentence` with the rows of
        `recommend(users, k)`, or with `items` of `recommend(users, len(items), items_to_recommend=items)`, each once for every
        past item named. `contribution` is the drop of the rankers' score without `because_item_id`; `signal`, of
        `llmrec.ranking.signals.SIGNALS`, causes most of it. If no single past item raises the score, none is named,
        `contribution` is 0, and `signal` gives most of the item's lead over the user's other candidates, missing without a
        lead. Shares of signals add up to the contribution, or to this lead. A ShortAnswerWarning says for which users some of
        `items` are not explained. Raises as `recommend`, and TemplateError.
        """
        check_count(k)
        check_whole("events", events, 1)
        state, words = self.state, load_sentences(template)
        allowed = None if items is None else allowed_items(state.catalogue, items, "items")
        asked = asked_by(state, users, histories, columns, self._frame, "explain")
        here = context_of(state, context)
        check_process()
        count = k if allowed is None else int(allowed.sum())
        request = Request(count, filter_viewed, allowed, context=here, rules=checked_rules(rules))
        found, request, told = explained(state, asked.known, asked.users, asked.attributes, request, events)
        if allowed is None:
            short = shortage(found.asker, asked.users, request.k, request.applied)
            warn_if_short(found.asker, asked.users, k, filter_viewed, False, short, hidden=state.n_hidden)
        else:
            warn_if_left(state, found, asked.users, request, allowed)
        shown = pins_shown(found.asker, found.item, request.applied)
        warn_of_rules(state.catalogue, request.applied, request.k, asked.users, shown)
        return to_native(as_explanations(found, told, asked.users, state.catalogue, words, signals), asked.frame)
