"""What is known of a film, as kernels: genres, people, rating board, year, form, and the vectors of its text.

Axis convention: `N` films. A kernel says how alike two films are in one respect; a weighted sum of them, the weights learned by
marginal likelihood, is the prior of how good films are and, with other weights, of how one user's taste varies over them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import sparse

from studies.ratings.melu import years

_FEW = 32
_UNKNOWN = ("", "N/A", None)
_SEQUEL = re.compile(r"\b(?:II|III|IV|V|VI|VII|VIII|2|3|4|5|6)\b|Part|Return|Revenge")
_SPARSE = 0.05  # less than this of the features not zero: thousands of names, of which a film has a few
_NEAR = np.sqrt(0.5)  # width for unit vectors: likeness falls to 1/e over half of the way from equal to unrelated


@dataclass(frozen=True)
class Kernel:
    """How alike films are: products of features, or with a `width` exp(-distance^2 / (2 width^2)). features: float64 (N, d)."""

    name: str
    features: np.ndarray
    width: float | None = None

    def __call__(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """float64 (R, C) of two lists of films."""
        a, b = self.features[rows], self.features[columns]
        if self.width is None and np.count_nonzero(a) < _SPARSE * a.size:
            return (sparse.csr_array(a) @ sparse.csr_array(b).T).toarray()
        products = a @ b.T
        if self.width is None:
            return products
        apart = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * products
        return np.exp(-np.maximum(apart, 0) / (2 * self.width**2))


def film_kernels(
    films: pa.Table, texts: Mapping[str, np.ndarray], memory: Mapping[str, np.ndarray] | None = None
) -> tuple[Kernel, ...]:
    """The kernels of a table of films.

    texts: name -> float (N, d), raw text vectors; each gives a linear and a local kernel. memory: name -> (N, d), states of a
    language model, see `memory.py`; each gives a local kernel, or a linear one where it has few columns.
    """
    genres, year = hot(people(films, "genres")), years(films).astype(np.float64)[:, None]
    kernels = [
        Kernel("genres", _unit(genres)),
        Kernel("genres, counted", genres - genres.mean(0)),
        Kernel("directors", hot(people(films, "directors"))),
        Kernel("writers", hot(people(films, "writers"))),
        Kernel("actors", hot(people(films, "actors"))),
        Kernel("mpaa", hot([[board or ""] for board in films.column("mpaa").to_pylist()], least=1)),
        Kernel("decade", year, 10.0),
        Kernel("era", year, 40.0),
        Kernel("form", _form(films)),
    ]
    for name, raw in texts.items():
        vectors = _unit(raw - raw.mean(0))  # the mean taken off, for text encoders put all texts into a narrow cone
        kernels += [Kernel(name, vectors), Kernel(f"{name}, near", vectors, _NEAR)]
    for name, raw in (memory or {}).items():
        states = (raw - raw.mean(0)) / np.maximum(raw.std(0), 1e-6)  # a few columns of such states outweigh all others
        few = states.shape[1] <= _FEW
        kernels.append(Kernel(name, states / np.sqrt(states.shape[1])) if few else Kernel(name, _unit(states), _NEAR))
    return tuple(kernels)


def combined(kernels: Sequence[Kernel], weights: Mapping[str, float], rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float64 (R, C): the sum of the kernels that `weights` names."""
    parts = (weights[kernel.name] * kernel(rows, columns) for kernel in kernels if kernel.name in weights)
    return np.asarray(sum(parts, np.zeros((len(rows), len(columns)))))


def people(films: pa.Table, column: str) -> list[list[str]]:
    """The names in a column of lists with commas, without what stands in brackets behind them."""
    found = []
    for text in films.column(column).to_pylist():
        whole = [] if text in _UNKNOWN else re.sub(r"\s*\([^()]*\)", "", text).split(",")
        found.append(list(dict.fromkeys(name.strip() for name in whole if name.strip())))
    return found


def hot(lists: Sequence[Sequence[str]], least: int = 2) -> np.ndarray:
    """float64 (N, names): 1 where a list holds a name that is in at least `least` lists."""
    counts = Counter(name for names in lists for name in names)
    column = {name: place for place, name in enumerate(sorted(name for name in counts if counts[name] >= least))}
    found = np.zeros((len(lists), len(column)))
    for row, names in enumerate(lists):
        found[row, [column[name] for name in names if name in column]] = 1
    return found


def descriptions(films: pa.Table) -> list[str]:
    """Title, genres, directors and plot of each film, for a sentence encoder."""
    columns = [films.column(name).to_pylist() for name in ("title", "genres", "directors", "plot")]
    return [". ".join(text for text in row if text not in _UNKNOWN) for row in zip(*columns, strict=True)]


def recollections(films: pa.Table) -> list[str]:
    """A sentence about each film that a language model is about to go on with: what it remembers of it is in its states."""
    found = []
    rows = zip(
        films.column("title").to_pylist(), years(films), people(films, "directors"), people(films, "actors"), strict=True
    )
    for title, year, directors, actors in rows:
        parts = [f"directed by {', '.join(directors)}"] if directors else []
        parts += [f"starring {', '.join(actors[:2])}"] if actors else []
        found.append(f'The movie "{title}" ({year}), {" and ".join(parts)}{", " if parts else ""}is remembered today as')
    return found


def _form(films: pa.Table) -> np.ndarray:
    """float64 (N, 5): sequel or not, length of the plot, how many writers, few actors, no director."""
    sequel = np.array([bool(_SEQUEL.search(title or "")) for title in films.column("title").to_pylist()])
    plot = np.log1p([len(text or "") for text in films.column("plot").to_pylist()])
    writers = np.log1p([len(names) for names in people(films, "writers")])
    actors = np.array([len(names) for names in people(films, "actors")])
    directed = np.array([bool(names) for names in people(films, "directors")])
    return np.column_stack([2.0 * sequel, _standard(plot), _standard(writers), actors < 4, ~directed]).astype(np.float64)


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
