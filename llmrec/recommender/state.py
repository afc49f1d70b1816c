"""The state of a recommender: one frozen value, replaced as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmrec.data.dataset import Catalogue, Dataset
from llmrec.data.known import KnownUsers
from llmrec.data.table_format import TableFormat
from llmrec.data.user_tables import UserTable
from llmrec.encoder.model import Items, SlotModel
from llmrec.encoder.moved import MovedItems
from llmrec.index.faiss_index import Index
from llmrec.index.overlaid import Overlaid, overlaid
from llmrec.meta.adaptable import Base
from llmrec.meta.gate import Gate
from llmrec.meta.inner import Initialisation
from llmrec.meta.user_core import UserCore
from llmrec.models.text_match import Vocabulary
from llmrec.prompts import Template, load_template
from llmrec.ranking.buyer_sums import BuyerSums, buyer_sums
from llmrec.ranking.ranker import Ranker
from llmrec.ranking.rankers import CandidateRanker
from llmrec.ranking.reranker import Reranker
from llmrec.ranking.two_stage import Rankers, Retrieval
from llmrec.ranking.vector_prior import VectorPrior, moved_items, moved_vectors
from llmrec.recommender.adapting import Adapting, adapting
from llmrec.recommender.pipeline import new_index
from llmrec.recommender.remembered import Remembered
from llmrec.recommender.settings import Settings
from llmrec.rules.applied import KnownRules
from llmrec.signed.beliefs import Beliefs


@dataclass(frozen=True, eq=False)
class State:
    """The parts, none of which changes any more.

    model, items: the trained base and its item side. init: the meta-learned start of every LoRA adapter, and core: what the
        cores of all users share; each is None where the settings have another adapter. gate: what a support of each size should
        move, by how many steps; None where this could not be measured: then every support takes all learned steps.
    retrieval, rankers: the two stages after it. unseen_rankers: those of answers that leave out the items of the history.
    catalogue: the items.
    known: users known by id with their events, over `catalogue`. version: 0 after fitting, then one more with every change.
    seed: of the shuffle among events that share a time, so that a history is read in one order wherever it comes from.
    trained: how many of the first users of `known.first` were trained on. left_out: whether it was loaded from a folder without
        the histories of the users known then. frame: kind of frame that answers are given in, see `frame_kind`.
    people: users whose attributes are known, with events or without; None for a model that was fitted without attributes.
    by_attributes: the ranker for users without events, see `AttributeRanker`; None likewise.
    hidden: bool (N,), items that are not recommended for now; None for none. Removed items are those of `Ids.gone`.
    vocabulary: of `ItemStatistics.words`; None where it is that of the catalogue's texts, as before any of them changed.
    table_format: how the shop writes its files, as far as `saved_format` keeps it; None where that is not known.
    signed: what was learned of likes and dislikes; None where the events had too few of them.
    templates: of item texts and of histories, as it was fitted with; None where it was saved before they were kept.
    reranker: orders the first candidates of an answer anew; None where there is none, or no weight of it helped.
    vector_prior: how far first buyers move the vector of a cold item; None where it was not learned.
    """

    settings: Settings
    model: SlotModel
    items: Items
    init: Initialisation | None
    retrieval: Retrieval
    rankers: Rankers
    unseen_rankers: Rankers
    catalogue: Catalogue
    known: KnownUsers
    gate: Gate | None = None
    version: int = 0
    seed: int = 0
    trained: int = 0
    left_out: bool = False
    frame: str = "pyarrow"
    core: UserCore | None = None
    people: UserTable | None = None
    by_attributes: Ranker | None = None
    hidden: np.ndarray | None = None
    vocabulary: Vocabulary | None = None
    table_format: TableFormat | None = None
    signed: Beliefs | None = None
    templates: tuple[Template, Template] | None = None
    reranker: Reranker | None = None
    vector_prior: VectorPrior | None = None

    @property
    def histories(self) -> Dataset:
        """All known users with all their events as one dataset. After `observe` it is made when it is first asked for, which
        takes longer the more events there are; `known.of` gives only those of some users."""
        return self.known.dataset

    @property
    def item_template(self) -> Template:
        """What item texts are written by."""
        return load_template(self.settings.item_template) if self.templates is None else self.templates[0]

    @property
    def own_ranker(self) -> CandidateRanker | None:
        """The ranker of `reranker`; None without one."""
        return None if self.reranker is None else self.reranker.ranker

    @cached_property
    def adapting(self) -> Adapting:
        """How histories are read and adapted to."""
        base = Base(self.model, self.items, self.settings.episode, self.moved_items)
        return adapting(base, self.init, self.core, self.settings.core.steps, self.gate)

    @cached_property
    def offered(self) -> np.ndarray | None:
        """bool (N,): items that are neither hidden nor removed; None where all are offered. Whatever recommends asks here, by
        way of `allowing`."""
        gone = self.catalogue.ids.gone
        if not gone and (self.hidden is None or not self.hidden.any()):
            return None
        found = np.ones(len(self.catalogue), bool) if self.hidden is None else ~self.hidden
        found[list(gone)] = False
        return found

    @property
    def n_offered(self) -> int:
        """How many items are offered."""
        return len(self.catalogue) if self.offered is None else int(self.offered.sum())

    @property
    def n_hidden(self) -> int:
        """How many items are hidden for now, removed ones not counted."""
        return 0 if self.hidden is None or self.offered is None else int((~self.offered).sum()) - len(self.catalogue.ids.gone)

    def allowing(self, allowed: np.ndarray | None) -> np.ndarray | None:
        """Of `allowed`, bool (N,) or (T, N), or None for all, what is offered; None for everything."""
        if self.offered is None:
            return allowed
        return self.offered if allowed is None else allowed & self.offered

    @property
    def as_fitted(self) -> State:
        """As it is measured: without the counts of what was observed since `fit`, which may be of those who are asked about,
        and with hidden items offered."""
        return replace(self, retrieval=self.retrieval.as_fitted, hidden=None)

    def rankers_for(self, filter_viewed: bool) -> Rankers:
        """The rankers of an answer with the items of the history, or without them."""
        return self.unseen_rankers if filter_viewed else self.rankers

    @cached_property
    def remembered(self) -> Remembered:
        """What was read of single histories; another state, as after `observe`, begins with none."""
        return Remembered()

    @cached_property
    def known_rules(self) -> KnownRules:
        """Rules of a shop over the catalogue, kept from one answer to the next."""
        return KnownRules(self.catalogue)

    def after(self, known: KnownUsers, retrieval: Retrieval) -> State:
        """With other known users and what is counted of them: the next version. Applied rules are kept. Moved vectors and the
        index of similar items are kept too, if they were made and no cold item has new buyers; otherwise sums are brought up to
        date."""
        found = self.next_version(replace(self, known=known, retrieval=retrieval))
        counts = retrieval.counts
        if counts.buyers is not None and "buyer_sums" not in found.__dict__ and self.__dict__.get("buyer_sums") is not None:
            found.__dict__["buyer_sums"] = buyer_sums(counts.buyers, counts.popularity, self.items.unit, self.buyer_sums)
        if "known_rules" in self.__dict__:
            found.__dict__["known_rules"] = self.known_rules
        return found

    def carried(self, changed: State) -> State:
        """`changed` with moved vectors and the index of similar items that were made here, if items and first buyers are the
        same in both."""
        buyers, now = self.retrieval.counts.buyers, changed.retrieval.counts.buyers
        alike = buyers is now or (buyers is not None and now is not None and buyers.together is now.together)
        if alike and self.items is changed.items:
            for name in ("buyer_sums", "moved_items", "moved_index"):
                if name in self.__dict__:
                    changed.__dict__[name] = self.__dict__[name]
        return changed

    def with_retrieval(self, retrieval: Retrieval) -> State:
        """With other counts and the same first buyers, for one answer. What these moved is computed once for all of them."""
        found = replace(self, retrieval=retrieval)
        found.__dict__["moved_items"] = self.moved_items
        return found

    def next_version(self, changed: State, similar: Index | None = None) -> State:
        """`changed` as the version after this one. similar: its index of similar items, where this one has made its own; None
        where it is the same."""
        found = self.carried(replace(changed, version=self.version + 1))
        if self.similar_made:
            found.__dict__["similarity_index"] = self.similarity_index if similar is None else similar
        return found

    @cached_property
    def buyer_sums(self) -> BuyerSums | None:
        """What first buyers of cold items had; None where nothing is learned of it, and without any."""
        counts = self.retrieval.counts
        if self.vector_prior is None or counts.buyers is None or not counts.buyers.together.layers:
            return None
        return buyer_sums(counts.buyers, counts.popularity, self.items.unit)

    @cached_property
    def moved_items(self) -> MovedItems | None:
        """Cold items that are scored by the vectors to which their first buyers moved them; None for none."""
        sums, prior = self.buyer_sums, self.vector_prior
        return None if sums is None or prior is None else moved_items(prior, sums, self.items)

    @cached_property
    def moved_index(self) -> Overlaid:
        """What similar items are searched in: `similarity_index`, with cold items where their first buyers moved them."""
        sums, prior, index = self.buyer_sums, self.vector_prior, self.similarity_index
        if sums is None or prior is None or not len(sums.item):
            return Overlaid(index)
        return overlaid(index, moved_vectors(prior, sums, index.vectors[sums.item]), sums.item)

    @cached_property
    def similarity_index(self) -> Index:
        """Index of the items' unit vectors, before anything is observed."""
        return new_index(self.items.unit(), self.settings)

    @property
    def similar_made(self) -> bool:
        """Whether `similarity_index` was made already."""
        return "similarity_index" in self.__dict__
