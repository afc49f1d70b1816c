"""`Scenes`: learn from the tables of known shops, departments, countries or seasons, and open new ones.

Axis convention: `N` items of a catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llmrec.data.build import build, read_catalogue
from llmrec.data.clean import Cleaning, CleaningReport
from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.frames import empty_frame, frame_kind, to_native
from llmrec.data.numbers import check_seed
from llmrec.data.requests import as_ids
from llmrec.encoder.backbone import load_text
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, LlmrecError
from llmrec.hub import fetched, push
from llmrec.index.forks import check_process
from llmrec.progress import Stages
from llmrec.prompts import load_template
from llmrec.ranking.rankers import CandidateRanker, checked_ranker
from llmrec.recommender.kept_scenes import KIND, SCENES
from llmrec.recommender.recommender import Recommender
from llmrec.recommender.saved_reranker import warn_if_own
from llmrec.recommender.saving import save_state
from llmrec.recommender.shared import warn_if_users_go
from llmrec.recommender.templates import template_facts
from llmrec.scenes.columns import check_column, event_names, is_of_events, with_scene
from llmrec.scenes.known_folder import read_known
from llmrec.scenes.learned import Learned
from llmrec.scenes.learning import LearnSettings, check_ranges, learn, learn_with_left_out
from llmrec.scenes.new import SceneRecommender
from llmrec.scenes.opening import zero_shot as open_scene
from llmrec.scenes.ranked import RankedShelf
from llmrec.scenes.ranker_weights import checked_plan, learn_ranker
from llmrec.scenes.readers import ByRecommender, ByTexts, check_reader
from llmrec.scenes.saving import learned_arrays, ranker_facts, write_learned
from llmrec.scenes.shelf import SceneItems
from llmrec.scenes.tables import TEMPLATE, check_enough, fitting_sizes, known_worlds, labels, named_tables, shown
from llmrec.store import write_folder

PARTS = 8  # scenes made within each known catalogue; a part of one is a scene already


@dataclass(frozen=True)
class Known:
    """What `Scenes` keeps.

    learned: what known scenes teach. names: theirs. repeat_purchases: whether users buy the same items again.
    encoder: hash of the text encoder's weights, or of the recommender that reads for the scenes.
    column: of the items or the events, which tells the scenes of one catalogue apart; None for catalogues.
    catalogue, shelf: that catalogue; None after loading. of_events: whether `column` is of the events. ranker: of one's own,
    that `learned` has weights of; None where it is left out.
    """

    learned: Learned
    names: tuple[str, ...]
    repeat_purchases: bool
    encoder: str
    column: str | None = None
    catalogue: Catalogue | None = None
    shelf: SceneItems | None = None
    of_events: bool = False
    ranker: CandidateRanker | None = None


class Scenes:
    """Learns from known shops, departments, countries or seasons how to start a new one, and opens new ones.

    weights: encoder of item texts; None for that of the recommender, or `Weights.packaged()`. settings: how to learn; None for
    `LearnSettings()`, with parts of each catalogue as additional scenes if the scenes are whole catalogues and there is no
    recommender. seed: of everything random.
    recommender: a fitted one, which encodes items and histories: its item vectors, its index and candidates, and the score of
    its ranker are used. A new scene ranks like it (`recommend` with the scene's items as `items_to_recommend`) until it is
    adapted to first customers; items unknown to the recommender are read by text alone. In learning, the recommender treats
    the items of a known category as unknown, but uses all it knows about a known country. To try a scene as a new one, hold
    its events out of the recommender's `fit` too. None encodes histories by the texts of their items.
    ranker: any object with `score(tasks, candidates)`, such as `LLMRanker`, which reranks the first 20 items of each answer;
    None for that of the recommender, if it has one. `fit` learns weights for new scenes, without and with first customers, 0
    where it does not help. An `LLMRanker` with a plan gets an adapter, learned from choices in known scenes; in a new scene
    `adapt` takes gradient steps on the choices of first customers, if such steps helped in known scenes.

    >>> known = Scenes().fit({"beauty": (events, items), "health": (events_2, items_2)})      # doctest: +SKIP
    >>> shop = known.open(items_of_a_new_shop)                                                # doctest: +SKIP
    >>> shop = shop.adapt(events_of_its_first_customers)                                      # doctest: +SKIP
    >>> shop.recommend(histories=clicks, k=5)                                                 # doctest: +SKIP
    """

    def __init__(
        self,
        weights: Weights | None = None,
        settings: LearnSettings | None = None,
        seed: int = 0,
        recommender: Recommender | None = None,
        ranker: CandidateRanker | None = None,
    ):
        if weights is not None and not isinstance(weights, Weights):
            raise DataError(
                f"weights is {weights!r}, expected a Weights; say Weights.folder(path) for a folder on this machine, "
                "Weights.hub(name) for a name on the Hugging Face hub, or leave it out for the packaged MiniLM"
            )
        if settings is not None and not isinstance(settings, LearnSettings):
            raise DataError(
                f"settings is a {type(settings).__name__}, expected a llmrec.scenes.learning.LearnSettings; leave it out for "
                "the default"
            )
        if recommender is not None and not isinstance(recommender, Recommender):
            raise DataError(
                f"recommender is {recommender!r}, expected a fitted Recommender; leave it out to read by texts alone"
            )
        check_seed(seed)
        self.weights = weights
        self.settings = settings
        self.recommender = recommender
        self.ranker = checked_plan(checked_ranker(ranker))
        self.seed = seed
        self.reports: dict[str, CleaningReport] = {}
        self._known: Known | None = None
        self._frame: Any = None  # an empty frame of the type that answers are given in

    def __repr__(self) -> str:
        if self._known is None:
            return "Scenes(not fitted)"
        return f"Scenes({len(self._known.names):,} known scenes: {shown(np.array(self._known.names))})"

    def fit(
        self,
        data: Any,
        items: Any = None,
        scene: str | None = None,
        holdout: Iterable[Any] = (),
        repeat_purchases: bool = False,
        columns: dict[str, str] | None = None,
        item_columns: dict[str, str] | None = None,
        cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
        verbose: bool = True,
    ) -> Scenes:
        """Learn from all users of two or more known scenes, each of which is treated as new in turn.

        data: a dict of separate catalogues, name -> (events, items); or, with `scene`, events over one
            catalogue. A `Dataset` may replace the tables.
        items: of the one catalogue. scene: the column that tells its scenes apart. A column of the items, such as "category":
            each value is the scene of its items, and histories may have items of the whole catalogue. A column of the events,
            such as "country", "season" or "campaign" (of a `Dataset`, "scene"): each value is the scene of its events, all
            items may be recommended in it, and a customer may be in several.
        holdout: values held out of learning, so that `open` can try one as new. Scenes with fewer than 20 items or 66 customers
            with two visits are left out anyway. The smallest scene limits support sizes: hold it out to learn larger ones.
        repeat_purchases: whether users buy the same items again (groceries), so that these may be recommended.
        columns, item_columns, cleaning: as in `Recommender.fit`, for all tables alike; `reports` has the cleaning reports, by
            the name of the catalogue, or of the column. verbose: as in `Recommender.fit`.

        Raises SchemaError for a missing column (such as `title`) and for a `scene` that both tables have, DataError
        if fewer than two scenes can be learned from or customers made no choice for a ranker's plan, WeightsError for
        weights, AdapterError for a plan that does not fit the model. Returns itself.
        """
        holdout = as_ids(holdout, "holdout").values  # read twice, and may come as a generator
        tables = named_tables(data, items, holdout) if scene is None else {scene: (data, items)}
        names = () if scene is None else event_names(data, items, columns)
        of_events = scene is not None and is_of_events(names, items, scene)
        if scene is not None and of_events:
            columns = with_scene(columns, scene)
        settings = self.settings or LearnSettings(parts=PARTS if scene is None and self.recommender is None else 0)
        check_ranges(settings)
        stages, reports, datasets = Stages(verbose=verbose), {}, {}
        with stages("clean") as say:
            for name, (events, its_items) in tables.items():
                try:
                    datasets[name], reports[name] = self._read(events, its_items, columns, item_columns, cleaning)
                except LlmrecError as error:
                    error.add_note(f"while reading the tables of {name!r}")
                    raise
            say(f"{sum(one.n_events for one in datasets.values()):,} events over {len(datasets)} catalogues")
        if scene is not None:
            check_column(datasets[scene].catalogue.table.column_names, names, scene, of_events)
        reads = self._reader(repeat_purchases)
        datasets = {name: reads.in_its_terms(dataset) for name, dataset in datasets.items()}
        if scene is not None:
            check_enough(datasets[scene], scene, of_events, holdout, settings)
        with stages("encode", f"{sum(one.n_items for one in datasets.values()):,} item texts"):
            shelves = {name: reads(dataset.catalogue) for name, dataset in datasets.items()}
        worlds, small = known_worlds(datasets, shelves, scene, of_events, holdout, repeat_purchases, settings)
        settings = replace(settings, sizes=fitting_sizes(worlds, settings))
        told = f"{len(worlds)} scenes ({', '.join(worlds)}), supports of {', '.join(map(str, settings.sizes))} customers"
        told += f"; too small to learn from: {', '.join(small)}" if small else ""
        ranker, drawn = self.ranker, np.random.default_rng(self.seed)
        ranker = self.recommender.state.own_ranker if ranker is None and self.recommender is not None else ranker
        with stages("learn", told):
            every = list(worlds.values())
            learned, left_out = (
                (learn(every, drawn, settings), ()) if ranker is None else learn_with_left_out(every, drawn, settings)
            )
        if ranker is not None:
            ranker, learned = learn_ranker(ranker, every, learned, left_out, settings, self.seed, stages)
        known = Known(learned, tuple(worlds), repeat_purchases, reads.encoder, scene, of_events=of_events, ranker=ranker)
        if scene is not None:
            known = replace(known, catalogue=datasets[scene].catalogue, shelf=shelves[scene])
        first = next(iter(tables.values()))[0]
        self._frame = pa.table({}) if isinstance(first, Dataset) else to_native(pa.table({}), first)
        self._known, self.reports = known, {name: report for name, report in reports.items() if report is not None}
        return self

    @property
    def known(self) -> Known:
        """What was learned, as a frozen value. Raises DataError before `fit` or `from_pretrained`."""
        if self._known is None:
            raise DataError("nothing is known yet: call fit(...) or Scenes.from_pretrained(folder) first")
        return self._known

    @property
    def validation_gains(self) -> Any:
        """Gain of every design over zero steps in known scenes that were held out: a frame `customers, design, gain, spread`,
        in nats per event; spread: how far the gain in one more scene may lie from it."""
        learned = self.known.learned
        table = {
            "customers": np.repeat(learned.sizes, len(learned.designs)),
            "design": [one.name for one in learned.designs] * len(learned.sizes),
            "gain": learned.gain.ravel(),
            "spread": learned.spread.ravel(),
        }
        return to_native(pa.table(table), self._frame)

    def open(
        self,
        items: Any = None,
        scene: Any = None,
        item_columns: dict[str, str] | None = None,
        cleaning: Cleaning = Cleaning(),  # noqa: B008  (frozen)
    ) -> SceneRecommender:
        """Open a new scene from the texts of its items alone: zero steps.

        items: table of `item_id, title`, and `category` and `text` if you have them; all items that histories may have.
        scene: with scenes of one catalogue, the new value of their column. For a column of the items, it selects the items to
            recommend from `items` or, without these, from the fitted catalogue, which after loading is that of the
            recommender. For a column of the events any value, such as a country without customers yet.

        Raises DataError for a scene that was learned from, and for one without items; WeightsError if the item texts would be
        encoded differently than in `fit`.
        """
        known = self.known
        if items is None and scene is None:
            raise DataError(
                "open needs items (a table of the new scene's titles), or scene (a value left out of fit), got neither"
            )
        if scene is not None:
            _check_new(known, scene)
        reader = self.recommender
        if items is not None:
            catalogue, frame = read_catalogue(items, item_columns, cleaning)[0], to_native(pa.table({}), items)
        elif known.catalogue is not None:
            catalogue, frame = known.catalogue, self._frame
        elif known.column is not None and reader is not None:
            catalogue, frame = reader.state.catalogue, self._frame
        else:
            raise DataError(
                "items: expected a table, got None: no catalogue is kept when known scenes are saved; pass the items"
            )
        shelf = known.shelf
        if shelf is None or catalogue is not known.catalogue:
            reads = self._reader(known.repeat_purchases)
            check_reader(known.learned, known.encoder, reads)
            shelf = reads(catalogue)
        elif isinstance(shelf, RankedShelf) and reader is not None:
            shelf = shelf.offering(reader.state)
        value = None
        if scene is not None and known.column is not None and known.of_events:
            value = (known.column, str(scene))
        elif scene is not None and known.column is not None:
            label = labels(catalogue, known.column)
            if str(scene) not in label:
                raise DataError(f"scene: expected one of {shown(label)}, got {scene!r}; the items' {known.column!r} says which")
            shelf = shelf.part(label == str(scene))
        opened_scene = open_scene(known.learned, shelf, known.ranker)
        return SceneRecommender(opened_scene, catalogue, known.repeat_purchases, self.seed, None, frame, value)

    def save_pretrained(self, folder: str | Path, recommender: bool = False, histories: bool = False) -> None:
        """Save what was learned, atomically and with a hash of every file, but no catalogue and no events.

        recommender: also save the scenes' recommender, as by its `save_pretrained(folder, histories)`; the folder is
            then that of a recommender with the scenes in it, and `from_pretrained` needs nothing else. A ranker is saved as by
            `Recommender.save_pretrained`.
        """
        known = self.known
        warn_if_own(known.ranker)
        arrays, meta = learned_arrays(known.learned)
        meta |= {
            "names": known.names,
            "repeat_purchases": known.repeat_purchases,
            "encoder": known.encoder,
            "column": known.column,
            "of_events": known.of_events,
            "ranker": ranker_facts(known.ranker),
            "template": template_facts(load_template(TEMPLATE)) if self.recommender is None else None,
        }
        meta |= {"frame": frame_kind(self._frame)}

        def save(place: Path) -> None:
            write_folder(place, lambda to: write_learned(to, arrays, known.ranker), KIND, meta)

        if not recommender:
            save(Path(folder))
        elif self.recommender is None:
            raise DataError("recommender: expected scenes that were learned with one, got scenes learned by texts alone")
        else:
            warn_if_users_go(folder, histories)
            save_state(Path(folder), self.recommender.state, histories, lambda to: save(to / SCENES))

    def push_to_hub(
        self, repo_id: str, private: bool | None = None, token: str | None = None, revision: str | None = None
    ) -> str:
        """Save as `save_pretrained` does, to a repository on the Hugging Face hub; see `llmrec.hub.push`.

        Returns the address of the commit.
        """
        return push(self.save_pretrained, repo_id, None, private, token, revision)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        weights: Weights | None = None,
        seed: int = 0,
        recommender: Recommender | None = None,
        revision: str | None = None,
        token: str | None = None,
        ranker: CandidateRanker | str | Path | None = None,
    ) -> Scenes:
        """Load what `save_pretrained` saved, from a folder or a name on the Hugging Face hub; see `llmrec.hub.fetched`.

        weights, recommender: the same as in `fit`, to read new items; None for the recommender in the folder, if it was saved
        with one. ranker: as in `Recommender.from_pretrained`. Raises ArtefactError if a byte has changed
        since, and for a recommender saved without scenes; for another ranker as there. For scenes by texts alone, raises
        TemplateError, with the lines that differ, if the template has changed.
        """
        recommender, found, learned, meta = read_known(fetched(folder, revision, token), recommender, ranker)
        scenes = cls(weights, seed=seed, recommender=recommender, ranker=found)
        facts = tuple(meta["names"]), meta["repeat_purchases"], meta["encoder"], meta["column"]
        scenes._known = Known(learned, *facts, of_events=meta["of_events"], ranker=found)
        scenes._frame = empty_frame(meta.get("frame", "pyarrow"))
        return scenes

    def _reader(self, again: bool) -> ByTexts | ByRecommender:
        """How catalogues are read. again: whether users buy the same items again."""
        check_process()
        if self.recommender is None:
            weights = self.weights or Weights.packaged()
            return ByTexts(load_text(weights), weights)
        return ByRecommender(self.recommender.state, self.weights or self.recommender.weights or Weights.packaged(), again)

    def _read(
        self,
        events: Any,
        items: Any,
        columns: dict[str, str] | None,
        item_columns: dict[str, str] | None,
        cleaning: Cleaning,
    ) -> tuple[Dataset, CleaningReport | None]:
        if isinstance(events, Dataset):
            return events, None
        return build(events, items, columns, item_columns, cleaning, self.seed)


def check_scenes(events: Any, items: Any, scene: str, cleaning: Cleaning, seed: int) -> None:
    """Raises what `Scenes(seed=seed).fit(events, items, scene=scene, cleaning=cleaning)` would for a column that is not there
    (SchemaError), and for fewer than two scenes that can be learned from (DataError), before the recommender that is to read
    for them is trained. Arguments as there; the tables are cleaned for it."""
    names = event_names(events, items, None)
    of_events = is_of_events(names, items, scene)
    dataset = build(events, items, with_scene(None, scene) if of_events else None, cleaning=cleaning, seed=seed)[0]
    check_column(dataset.catalogue.table.column_names, names, scene, of_events)
    check_enough(dataset, scene, of_events, (), LearnSettings(parts=0))


def _check_new(known: Known, scene: Any) -> None:
    if known.column is None:
        raise DataError(f"scene: expected None, for whole catalogues are known, got {scene!r}; pass the new one's items alone")
    if str(scene) in known.names:
        raise DataError(
            f"scene: expected one that is new, got {scene!r}, which was learned from; "
            f"to try it as a new one fit with holdout=[{scene!r}]"
        )
