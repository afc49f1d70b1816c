"""Export for other programs: item vectors and lists of similar items as Parquet, and the text encoder as sentence-transformers
loads it.

Hidden and removed items are in none of them.

vectors.parquet         item_id, vector: what scores are computed from; their cosine is that of `similar_items`. Cold items
                        that were sold since `fit` are not where their buyers moved them
similar_items.parquet   item_id, similar_item_id, score, rank: the k nearest to every item
encoder/                gives any text its vector: `SentenceTransformer("encoder")`
text_vectors.parquet    item_id, vector: the vectors of the item texts by that encoder
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from llmrec.data.requests import check_count
from llmrec.encoder.sentence_folder import save_sentence_transformer
from llmrec.encoder.weights import Weights
from llmrec.errors import DataError
from llmrec.index.forks import check_process
from llmrec.progress import bar
from llmrec.recommender.catalogues import text_encoder
from llmrec.recommender.similar import similar
from llmrec.recommender.state import State
from llmrec.store import cache_folder, check_target, write_folder

KIND = "export"
VECTORS, SIMILAR, TEXTS, ENCODER = "vectors.parquet", "similar_items.parquet", "text_vectors.parquet", "encoder"
_ITEMS = 4096  # whose lists are made at once: memory does not grow with the catalogue


def export(state: State, folder: str | Path, weights: Weights, vectors: bool, lists: bool, encoder: bool, k: int) -> None:
    """Write the files of the module's docstring, or some of them, into one folder, atomically and with a hash of every file.

    weights: the text encoder that the recommender was fitted with. Raises DataError where nothing is asked for, WeightsError
    for other weights, ArtefactError for a folder that holds something else.
    """
    check_count(k)
    if not (vectors or lists or encoder):
        raise DataError("export: expected vectors, lists or encoder, got none of them; ask for one")
    check_target(folder, KIND)
    check_process()
    texts = text_encoder(state, weights, cache_folder()) if encoder else None

    def write(to: Path) -> None:
        if vectors:
            pq.write_table(_table(state, state.items.vectors), to / VECTORS)
        if lists:
            _write_similar(state, to / SIMILAR, k)
        if texts is not None:
            pq.write_table(_table(state, state.model.text), to / TEXTS)
            (to / ENCODER).mkdir()
            save_sentence_transformer(to / ENCODER, *texts)
            card = _CARD.format(template=state.item_template.text.strip())
            (to / ENCODER / "README.md").write_text(card, encoding="utf-8")

    write_folder(folder, write, KIND, {"items": len(state.catalogue)})


_CARD = """# Text encoder of a recommender

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("encoder").encode(["Blue mug"])
```

Vectors are centred by the mean over the catalogue and of unit length, as those of the items in `text_vectors.parquet` are. An
item's text is written by this template of jinja2:

```
{template}
```
"""


def _table(state: State, vectors: Tensor) -> pa.Table:
    """Vectors float32 (N, d) of the items that are offered, beside their ids."""
    there = _offered(state)
    flat = pa.array(vectors.cpu().numpy()[there].astype(np.float32).ravel())
    column = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table({"item_id": pa.array(state.catalogue.ids.take(there).values), "vector": column})


def _offered(state: State) -> np.ndarray:
    """int64: the items that are neither hidden nor removed."""
    return np.arange(len(state.catalogue)) if state.offered is None else np.flatnonzero(state.offered)


def _write_similar(state: State, file: Path, k: int) -> None:
    """The k items nearest to each, some thousand items at a time."""
    ids = state.catalogue.ids.take(_offered(state)).values
    schema = similar(state, ids[:1], k, titles=False).schema
    with pq.ParquetWriter(file, schema) as writer, bar(desc="similar items", total=len(ids)) as progress:
        for first in range(0, len(ids), _ITEMS):
            some = ids[first : first + _ITEMS]
            writer.write_table(similar(state, some, k, titles=False))
            progress.update(len(some))
