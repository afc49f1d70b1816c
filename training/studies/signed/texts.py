"""What films are told by: vectors of their texts by the packaged encoder, and states of a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from llmrec.data.dataset import Dataset
from llmrec.progress import Stages
from llmrec.store import cache_folder

SENTENCE = Path(__file__).parent / "film.jinja"  # about a film, that a language model goes on with


def text_vectors(whole: Dataset, stages: Stages) -> np.ndarray:
    """float32 (N, d): centred vectors of the films' texts by the packaged encoder, as `fit` makes them."""
    from llmrec.encoder.backbone import load_text  # here, for tests do without transformers
    from llmrec.encoder.items import catalogue_vectors
    from llmrec.encoder.weights import Weights

    with stages("item texts"):
        return catalogue_vectors(load_text(Weights.packaged()), whole.catalogue, "item", cache_folder())[0]


def language_states(folder: Path, films: pa.Table, stages: Stages) -> np.ndarray:
    """float32 (N, d): states of a language model at the end of a sentence about each film."""
    from llmrec.language.knowledge import item_states  # here, for the same reason

    with stages("language model", str(folder)):
        return item_states(folder, films, SENTENCE)
