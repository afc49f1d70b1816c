"""Two ways to read a catalogue for scenes: by its texts alone, or by a fitted recommender."""

from __future__ import annotations

from dataclasses import dataclass

from llmrec.data.dataset import Catalogue, Dataset, empty_dataset
from llmrec.encoder.backbone import TextModel
from llmrec.encoder.items import fingerprint
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError, WeightsError
from llmrec.recommender.kept_scenes import state_hash
from llmrec.recommender.state import State
from llmrec.scenes.learned import Learned
from llmrec.scenes.ranked import RANKER, in_terms_of, ranked_shelf
from llmrec.scenes.shelf import SceneItems
from llmrec.scenes.tables import shelf_of


@dataclass(frozen=True)
class ByTexts:
    """Reads a catalogue by its texts alone."""

    model: TextModel
    weights: Weights

    def __call__(self, catalogue: Catalogue) -> SceneItems:
        return shelf_of(self.model, empty_dataset(catalogue))

    def in_its_terms(self, dataset: Dataset) -> Dataset:
        """The dataset itself."""
        return dataset

    @property
    def encoder(self) -> str:
        """Hash of the text encoder."""
        return fingerprint(self.model)

    @property
    def remedy(self) -> str:
        """What to do where another reader was learned with."""
        return f"got {self.weights.location!r} ({self.encoder[:12]}…); pass the same as weights, or fit again"


@dataclass(frozen=True)
class ByRecommender:
    """Reads a catalogue by a fitted recommender. weights: of its text encoder. again: whether users buy items again."""

    state: State
    weights: Weights
    again: bool

    def __call__(self, catalogue: Catalogue) -> SceneItems:
        return ranked_shelf(self.state, catalogue, self.weights, self.again)

    def in_its_terms(self, dataset: Dataset) -> Dataset:
        """The dataset with the recommender's event types and what they count."""
        return in_terms_of(self.state, dataset)

    @property
    def encoder(self) -> str:
        """Hash of the recommender."""
        return state_hash(self.state)

    @property
    def remedy(self) -> str:
        """As of `ByTexts`."""
        return f"got another ({self.encoder[:12]}…); pass the same, or fit again"


def check_reader(learned: Learned, encoder: str, reads: ByTexts | ByRecommender) -> None:
    """Raises WeightsError unless a catalogue is read as those that were learned from, whose reader had the hash `encoder`, and
    DataError where one was read by a recommender and the other by texts alone."""
    ranked = RANKER in learned.later.zero.names
    if ranked and isinstance(reads, ByTexts):
        raise DataError("recommender: expected the one that the scenes were learned with, got None; pass it as recommender")
    if not ranked and isinstance(reads, ByRecommender):
        raise DataError("recommender: expected None, because the scenes were learned by texts alone, got one; leave it out")
    if reads.encoder != encoder:
        expected = "recommender: expected the one" if ranked else "weights: expected the encoder"
        raise WeightsError(f"{expected} that was learned with (SHA-256 {encoder[:12]}…), {reads.remedy}")
