"""The public Recommender: the only mutable object, which changes by replacing its frozen state."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from llmrec.data.build import build, check_some_known
from llmrec.data.clean import Cleaning, CleaningReport, Step
from llmrec.data.dataset import Dataset
from llmrec.data.frames import empty_frame, frame_kind, to_native
from llmrec.data.known import as_observed
from llmrec.data.merge import check_kinds
from llmrec.data.numbers import check_number, check_seed, check_whole
from llmrec.data.report import losses
from llmrec.data.requests import allowed_items, check_count, checked_steps, warn_if_short
from llmrec.data.user_tables import UserTable, fit_user_table
from llmrec.encoder.threads import spinning_note
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, ShortHistoriesError
from llmrec.hub import fetched
from llmrec.index.forks import check_process
from llmrec.metrics.report import Result
from llmrec.pretraining.callbacks import TrainerCallback, checked_callbacks
from llmrec.progress import Stages
from llmrec.ranking.rankers import CandidateRanker, checked_ranker
from llmrec.recommender.answer import Request, answer_under_rules, as_table
from llmrec.recommender.cold_items import warn_if_not_learned
from llmrec.recommender.evaluate import evaluate
from llmrec.recommender.everybody import BATCH_SIZE, recommend_all
from llmrec.recommender.fit import fit
from llmrec.recommender.given import (
    asked_by,
    attributes_of,
    check_for_tables,
    check_parts,
    context_of,
    events_of,
    events_to_evaluate,
    user_table,
    warn_of_ratings,
)
from llmrec.recommender.holding_out import hold_out
from llmrec.recommender.portable import Portable
from llmrec.recommender.predicting import Predicting
from llmrec.recommender.reasons import Explaining
from llmrec.recommender.run import Run, checkpoint_folder
from llmrec.recommender.saving import load_state
from llmrec.recommender.settings import Settings, check_ranges
from llmrec.recommender.settings_file import changed
from llmrec.recommender.shared import Shared
from llmrec.recommender.similar import similar
from llmrec.recommender.state import State
from llmrec.recommender.upkeep import Upkeep
from llmrec.recommender.user_adapter import UserAdapter, check_adapter
from llmrec.rules.answers import pins_shown, shortage, warn_of_rules
from llmrec.rules.rules import Rules, checked_rules
from llmrec.store import cache_folder


class Recommender(Upkeep, Portable, Explaining, Predicting, Shared):
    """Learns from events, and recommends to known users and to new users with a history.

    weights: pretrained transformer; `Weights.packaged()` when None. settings: how to train. seed: of everything random. ranker:
    any object with `score(tasks, candidates)`, such as `LLMRanker`, which reranks the first 20 items of each answer; `fit`
    learns its weight on validation users, 0 where it does not help.
    report: the cleaning report of `fit`; None before it, for a `Dataset`, and after loading. held_out: the users that the last
    `fit` held out of training; None without any, and after loading. Copies, also deep ones, are independent.

    >>> recommender = Recommender().fit(events, items)                        # doctest: +SKIP
    >>> recommender.recommend(["ann"], k=10)                                  # doctest: +SKIP
    >>> recommender.recommend(histories=clicks_of_new_people)     # doctest: +SKIP
    """

    def __init__(
        self,
        weights: Weights | None = None,
        settings: Settings = Settings(),  # noqa: B008 (frozen)
        seed: int = 0,
        ranker: CandidateRanker | None = None,
    ):
        check_parts(weights, settings, seed)
        self.weights, self.settings, self.seed, self.ranker = weights, settings, seed, checked_ranker(ranker)
        self.report: CleaningReport | None = None
        self.held_out: Dataset | None = None
        self._state: State | None = None
        self._frame: Any = None  # an empty frame of the type that answers are given in
        self._writing = threading.Lock()  # changes come one after the other; answers never wait

    def __repr__(self) -> str:
        if (state := self._state) is None:
            return "Recommender(not fitted)"
        known, version = state.histories, f", version {state.version}" if state.version else ""
        items = len(state.catalogue) - len(state.catalogue.ids.gone)
        return f"Recommender({known.n_users:,} known users, {known.n_events:,} events, {items:,} items{version})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_writing"}  # a lock cannot be copied

    def __setstate__(self, copied: dict[str, Any]) -> None:
        self.__dict__.update(copied)
        self._writing = threading.Lock()

    def fit(
        self,
        data: Any,
        items: Any = None,
        columns: dict[str, str] | None = None,
        item_columns: dict[str, str] | None = None,
        cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
        event_weights: dict[str, float] | None = None,
        minutes: float | None = None,
        verbose: bool = True,
        output_dir: str | Path | None = None,
        users: Any = None,
        context: Sequence[str] = (),
        held_out_users: int | Literal["auto"] = 0,
        callbacks: Sequence[TrainerCallback] = (),
        item_attributes: Sequence[str] = (),
    ) -> Recommender:
        """Train on a `Dataset`, or on a table of events (and one of items), which is cleaned first; see `report`.

        columns, item_columns: the tables' names -> the library's, where the known aliases do not cover them; "" leaves one out.
        event_weights: event type -> sample weight of such events, such as `{"view": 0.1, "cart": 0.5}`; 1 for types not
            named, 0 for negative types of `Settings(signed=...)`. It applies in training and in the counts over training users:
            popularity, co-occurrence, repurchases, EASE and Markov. Histories keep every event. Use 0, or a column `weight` of
            0 or below, for dislikes: such an event never counts for its item, which `filter_viewed` leaves out for that user.
        minutes: shorten training to about so many minutes on this machine, after timing a few steps; the line `estimate` says
            what was shortened. Preparing, counting and ranking come on top. None for full training.
        users: a table of `user_id` and attributes, such as age band, country or segment: text, flags and few whole numbers are
            read as levels, other numbers by their size. Values and users may be missing. Users without events are then
            ranked by attributes, see `recommend`; their rows are kept, and training does not use them.
        context: columns of the events that are known at request time, such as device or page, and "hour" and "weekday" (in
            UTC, of the timestamp, if no column has that name); pass their values to `recommend(context=...)`.
        item_attributes: columns of `items` that are read in addition to the title, such as ["brand", "category", "price"],
            also of items without events and of those from `add_items`. They may have missing values, and hold lists of words
            or vectors of one length. `predict` reads them, too.
        held_out_users: how many users, drawn from those with more than `horizon` baskets, are not trained on but kept in
            `held_out` for `evaluate_held_out`; `observe(recommender.held_out)` makes them known. "auto": a tenth of all,
            20 to 1,000, at most a fifth of the eligible; 0 if those are < 100.
        callbacks: called at every step of base training and every episode of meta-learning, which they may end, such as
            `EarlyStoppingCallback`; see `llmrec.pretraining.callbacks`.
        verbose: False shows neither stages nor bars; the logger `llmrec` still gets the stages at level INFO.
        output_dir: folder for checkpoints; None for no checkpoints. Killed training resumes from the last checkpoint if called
            with the same data, settings, seed, `minutes` and folder, and gives the same bytes with the same number of threads.
            For new training pass a new folder, or remove it. Save the recommender itself elsewhere, by `save_pretrained`.
        Without `basket_id`, events with whole days as timestamps are shuffled within each day, by the seed; see `build`.
        Raises SchemaError and DataError for tables, DataError for unusable settings and for training that
        diverges, WeightsError for weights, ArtefactError for an `output_dir` with checkpoints of other data, settings, seed or
        `minutes`, or that another process trains into. A DataLossWarning names each step of cleaning that drops
        more than a fifth of the events.
        Returns itself.
        """
        check_ranges(self.settings)
        if minutes is not None:
            check_number("minutes", minutes, 0, above=True)
        run = Run(checkpoint_folder(output_dir), callbacks=checked_callbacks(callbacks))
        stages = Stages(verbose=verbose)
        if note := spinning_note():
            stages.say(note)
        if isinstance(data, Dataset):
            check_for_tables(context=context, item_attributes=item_attributes, event_weights=event_weights)
            dataset, report, frame = data, None, pa.table({})
        else:
            with stages("clean") as say:
                read = columns, item_columns, cleaning, self.seed, event_weights, context, item_attributes
                dataset, report = build(data, items, *read, negative=self.settings.signed.negative)
                say(f"{dataset.n_events:,} events of {dataset.n_users:,} users with {dataset.n_items:,} items")
            for note in report.notes:
                stages.say(note)
            frame, self.report = to_native(pa.table({}), data), report  # there to be read also where training fails
        people = None if dataset.user_attributes is None else UserTable(dataset.users, dataset.user_attributes)
        dataset, held, said_of_held = hold_out(dataset, held_out_users, self.settings, self.seed)
        if said_of_held:
            stages.say(said_of_held)
        if users is not None:
            people, notes = fit_user_table(dataset, users, columns)
            dataset = replace(dataset, user_attributes=people.of(dataset.users))
            for note in notes:
                stages.say(note)
            if report is not None:
                report = self.report = replace(report, notes=(*report.notes, *notes))
        check_process()
        said = ", ".join(f"{name}={value!r}" for name, value in changed(self.settings, Settings()).items())
        stages.say(f"settings: {said or 'the defaults'}; seed {self.seed}; threads: {torch.get_num_threads()}")
        try:
            weights, cache = self.weights or Weights.packaged(), cache_folder()
            state = fit(dataset, weights, self.settings, self.seed, stages, cache, minutes, run, self.ranker)
        except ShortHistoriesError as error:
            lost = losses(report.steps) if report else ()
            raise ShortHistoriesError(". ".join([str(error), *lost])) from error
        people = state.people if people is None else people
        warn_if_not_learned(state.settings, state.retrieval.counts.buyers is not None)
        state = replace(state, trained=dataset.n_users, frame=frame_kind(frame), people=people)
        with self._writing:
            self.report, self._frame, self._state, self.held_out, self._folder = report, frame, state, held, None
        return self

    @property
    def state(self) -> State:
        """The current state, as a frozen value. Raises DataError before `fit` or `from_pretrained`."""
        if self._state is None:
            raise DataError("nothing is fitted yet: call fit(events, items) or Recommender.from_pretrained(folder) first")
        return self._state

    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        filter_viewed: bool = True,
        items_to_recommend: Iterable[Any] | None = None,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        steps: int | Literal["auto"] = "auto",
        titles: bool = False,
        ranker: CandidateRanker | None = None,
        context: Mapping[str, Any] | None = None,
        rules: Rules | None = None,
        adapter: UserAdapter | None = None,
        avoid_disliked: bool = False,
    ) -> Any:
        """The k best items for known users, or for the users of a table of `histories` or of user attributes, who may be new.

        users: a list of ids or, after `fit(users=...)`, a table of `user_id` and attributes. Users without events are then
            ranked by attributes (`source` is "attributes (no history)"); users without either get popular items. Missing
            values are taken from the fitted table. With `histories` the table gives attributes of their users, and
            its other users get no answer.
        histories: a table of events, such as the few clicks of new users. The stored events of known users are added, as if the
            table had been observed first (except for popularity, which only `observe` changes); an event in both counts once.
            The table is not stored. Users with ids of another type than the known ones count as new.

        filter_viewed: leave out items already in the user's history. items_to_recommend: ids that may be recommended (in stock,
            in a scene); hidden ones among them are left out, see `hide_items`.
        columns: names in `histories`, as in `fit`. steps: adapter steps on each history, 0 or more, the same for
            all users; with "auto" the gate chooses the number. With `Settings(adapter="auto")` a number means LoRA's gradient
            steps, or core steps if the gate chose only the core. titles: add the column `title` of the items.
        ranker: any object with `score(tasks, candidates)`, which ranks the candidates in place of the fitted rankers; see
            docs/write_your_own_ranker.md.
        context: of the request, such as {"device": "mobile", "hour": 20}: some or all of the fitted names. Popularity does not
            depend on it. An IgnoredInputWarning names a value that was not learned.
        rules: of the shop, such as `Rules(filters=["price < 50"], at_most={"brand": 1})`; see `llmrec.rules.Rules`.
        adapter: from `adapt` or `UserAdapter.from_pretrained`; every history is read with it, without further steps.
        avoid_disliked: multiply the odds of each candidate by the probability that it is liked, see `predict`.

        Returns a frame `user_id, item_id, score, rank, source, steps` in the type of `histories`, or of what was fitted; users
        in the order given, best first. `source` names the candidate sources, or the fallback for a user without history;
        `steps` is the number of steps of the user's adapter, 0 where the gate chose none. A ShortAnswerWarning says
        which users get fewer than k items and why. A MissingHistoriesWarning says that users are unknown because the model was
        saved without histories; a DataLossWarning says why more than a fifth of the events of `histories`
        cannot be used. Raises UnknownItemError for an id in `items_to_recommend` that is not in
        the catalogue, and for `histories` whose item ids are all of another type than its ids; DataError for `users` of
        another type than the known ones, and for a `ranker` without `score` or whose scores are not finite numbers, one for
        each candidate; ForkError in a forked process.
        """
        check_count(k)
        how = checked_steps(steps)
        check_adapter(adapter, how)
        ranker, state = checked_ranker(ranker), self.state
        allowed = None if items_to_recommend is None else allowed_items(state.catalogue, items_to_recommend)
        asked = asked_by(state, users, histories, columns, self._frame, "recommend", labels=avoid_disliked)
        here = context_of(state, context)
        check_process()
        request = Request(
            k, filter_viewed, allowed, how, ranker, here, checked_rules(rules), adapter=adapter, avoid_disliked=avoid_disliked
        )
        found, request = answer_under_rules(state, asked.known, asked.users, asked.attributes, request)
        warn_of_rules(state.catalogue, request.applied, k, asked.users, pins_shown(found.asker, found.item, request.applied))
        short = shortage(found.asker, asked.users, k, request.applied)
        warn_if_short(found.asker, asked.users, k, filter_viewed, allowed is not None, short, hidden=state.n_hidden)
        return to_native(as_table(found, asked.users, state.catalogue, titles), asked.frame)

    def recommend_all(
        self,
        path: str | Path,
        k: int = 10,
        filter_viewed: bool = True,
        items_to_recommend: Iterable[Any] | None = None,
        histories: Any = None,
        columns: dict[str, str] | None = None,
        steps: int | Literal["auto"] = "auto",
        titles: bool = False,
        context: Mapping[str, Any] | None = None,
        batch_size: int = BATCH_SIZE,
        verbose: bool = True,
        rules: Rules | None = None,
    ) -> int:
        """Write the answers of `recommend` for all known users, or for all users of `histories`, to a file, batch by batch.

        path: ends in .parquet, .csv, .json or .jsonl. The file appears when it is complete; an older one stays until then.
        batch_size: users per batch. Memory grows with it, not with the number of answers. verbose: show a bar.
        Everything else is as in `recommend`. Known users are those with events, in the order of `fit` and `observe`, and then
        those with attributes only. Returns the number of rows.
        Raises and warns as `recommend`; also DataError without known users and for another ending, ArtefactError for a path
        that cannot be written to.
        """
        check_count(k)
        state, how = self.state, checked_steps(steps)
        allowed = None if items_to_recommend is None else allowed_items(state.catalogue, items_to_recommend)
        here = context_of(state, context)
        request = Request(k, filter_viewed, allowed, how, context=here, rules=checked_rules(rules))
        return recommend_all(state, path, request, histories, columns, titles, batch_size, verbose)

    def observe(self, events: Any, columns: dict[str, str] | None = None) -> CleaningReport:
        """Add events to the histories of known or new users; the next answer takes them into account.

        Like events of `fit`, they count in popularity (baskets that hold the item, by sample weight), which gives the answer to
        users without a history and the popular candidates. The rankers and their features stay as fitted.
        A cold item, without events in `fit`, is ranked by its first buyers if `fit` learned how (`Settings.cold_items`): its
        vector moves towards their other purchases, and co-occurrence, their number and recent sales count; so do users who
        skipped it, whose events with it all have sample weight 0, such as dislikes, or impressions with
        `event_weights={"skip": 0}`; see `llmrec.ranking.first_buyers` and `vector_prior`. A known event (the same user, item,
        time and type) is left out, so an event delivered twice counts once; a model saved without histories cannot tell which
        events it was fitted on. The average time does not grow with the stored events of other users. Returns the cleaning
        report. Raises UnknownItemError when no event has an item of the catalogue.
        """
        with self._writing:
            state = self.state
            later, report, _ = events_of(state, events, columns)
            check_some_known(later, report)
            warn_of_ratings(state, later, "observe")
            check_kinds(state.known.first.users, later.users)
            histories, fresh = state.known.joined(later.users, as_observed(later))
            step = Step("already known", "events", later.n_events, later.n_events - fresh.n_events)
            if fresh.n_events:
                before = state.known.of(later.users)
                retrieval = state.retrieval.after(before, histories, fresh)
                self._state = state.after(state.known.with_histories(histories), retrieval)
        return replace(report, steps=(*report.steps, step))

    def similar_items(self, items: Iterable[Any], k: int = 10, titles: bool = False, rules: Rules | None = None) -> Any:
        """The k items nearest to each of `items` by the cosine of their vectors. The vector of a cold item moves towards the
        purchases of its first buyers if `fit` learned how far, see `Settings.cold_items` and `llmrec.ranking.vector_prior`.

        titles: add the column `title` of the similar items. rules: of the shop, see `llmrec.rules.Rules`; `block` is not used.
        Returns a frame `item_id, similar_item_id, score, rank` in the type of the fitted table, without rows if the catalogue
        holds no other item. With rules a ShortAnswerWarning says which item gets fewer than k, and why.
        Raises UnknownItemError for an id that is not in the catalogue, DataError for a `k` that is not a whole number from 1
        on.
        """
        check_count(k)
        return to_native(similar(self.state, items, k, titles, checked_rules(rules)), self._frame)

    def evaluate(
        self, events: Any, known: int = 1, columns: dict[str, str] | None = None, seed: int = 0, users: Any = None
    ) -> list[Result]:
        """Rank the next `horizon` baskets of held-out users, given the first `known`: rows of NDCG@10, Recall@10 and AUC for
        llmrec, zero steps, popularity and most frequent, with 95% bootstrap intervals, paired for differences.

        `llmrec.evaluation.evaluate_held_out` also compares with item kNN and EASE, which it fits on the training users. In
        both, popularity ignores events observed since `fit`, hidden items are ranked like all others, and removed ones are not
        ranked.
        events: histories of held-out users; a TrainedUsersWarning says how many were training users, as far as ids are known.
        known: 0 measures by attributes alone, against popularity; needs `fit(users=...)`. seed: of the bootstrap. users: a
            table of attributes, as in `recommend`. Raises DataError where no history is long enough.
        """
        check_whole("known", known, 0)
        check_seed(seed)
        state = self.state
        held = events_to_evaluate(state, events, columns)
        told = None if users is None else user_table(state, users, columns)
        held = replace(held, user_attributes=attributes_of(state, held.users, told))
        check_process()
        return evaluate(state.as_fitted, held, known, np.random.default_rng(seed))

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        seed: int = 0,
        device: str = "cpu",
        revision: str | None = None,
        token: str | None = None,
        ranker: CandidateRanker | str | Path | None = None,
    ) -> Recommender:
        """Load a folder of `save_pretrained` onto `device`, and its index too if faiss supports that device.

        folder: on this machine or, if there is none, a name on the Hugging Face hub such as "name/shop", with its revision;
            see `llmrec.hub.fetched`. ranker: the object that it was fitted with, or the path of its language model's weights, a
            folder or a GGUF file; None for the path at `fit`.
        Answers keep their frame type from before saving; without that library they are pyarrow tables. Raises
        ArtefactError if a byte has changed since, DataError for a device that is not available, and for another ranker
        WeightsError, TemplateError or ArtefactError.
        """
        check_process()
        here = fetched(folder, revision, token)
        state = load_state(here, device, ranker)
        recommender = cls(None, state.settings, seed, state.own_ranker)
        recommender._state, recommender._frame, recommender._folder = state, empty_frame(state.frame), here
        return recommender
