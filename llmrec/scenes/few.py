"""A scene adapter: fitted in closed form on the events of a few users.

Three things are learned, none by gradient steps. An item bias: how many support users took the item. Company: who took this
also took that. And a low-rank change of the map from a history to what comes next: the posterior mean of a linear regression
whose prior mean is the map of all known scenes (ridge towards it), cut to its first directions. It is the LoRA of a scene,
`down` and `up`, reached at once.

Axis convention: `U` support users, `N` items, `d` width of text vectors, `r` rank, `P` pairs of a history and what came next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from llmrec.data.dataset import Dataset
from llmrec.models.counts import user_items
from llmrec.scenes.histories import came, means, steps
from llmrec.scenes.shelf import SceneItems

RIDGE, RANK = 10.0, 32


@dataclass(frozen=True)
class Ground:
    """What known scenes teach of any scene's text. map: float32 (d, d), from a history to what comes next. lean: float32 (d,),
    what is bought more than other things."""

    map: np.ndarray
    lean: np.ndarray


@dataclass(frozen=True)
class Few:
    """What `users` support users said.

    bought: float32 (N,), of how many each item was. together: float32 sparse (N, N), how many had both, nothing on the
    diagonal; alike: the same as a cosine. down: float32 (d + 1, r), up: float32 (r, d): change of the map; the last row is of a
    constant.
    """

    users: int
    bought: np.ndarray
    together: sparse.csr_array
    alike: sparse.csr_array
    down: np.ndarray
    up: np.ndarray


def learn_few(
    ground: Ground, shelf: SceneItems, dataset: Dataset, users: np.ndarray, ridge: float = RIDGE, rank: int = RANK
) -> Few:
    """The adapter of a scene from the histories of its support `users`, int indices; the ground stays as it is."""
    bought, together, alike = count_company(dataset, users)
    asked = steps(dataset, users)
    places, after = came(shelf.vectors, shelf.among, asked)
    given = means(shelf.vectors, asked.take(places))
    left = after - shelf.vectors[shelf.among].mean(0) - given @ ground.map
    return Few(len(users), bought, together, alike, *regress(given, left, ridge, rank))


def count_company(dataset: Dataset, users: np.ndarray) -> tuple[np.ndarray, sparse.csr_array, sparse.csr_array]:
    """`bought`, `together` and `alike` of `Few`."""
    had = user_items(dataset.take(users))
    had.data = np.ones_like(had.data)
    bought = np.asarray(had.sum(0)).ravel()
    both = (had.T @ had).tocoo()
    off = both.row != both.col
    row, column, value = both.row[off], both.col[off], both.data[off]
    shape = (dataset.n_items, dataset.n_items)

    def matrix(values: np.ndarray) -> sparse.csr_array:
        return sparse.coo_array((values.astype(np.float32), (row, column)), shape=shape).tocsr()

    return bought.astype(np.float32), matrix(value), matrix(value / np.sqrt(bought[row] * bought[column]))


def regress(given: np.ndarray, left: np.ndarray, ridge: float = RIDGE, rank: int = RANK) -> tuple[np.ndarray, np.ndarray]:
    """`down` (d + 1, r) and `up` (r, d) of the ridge regression of `left`, float32 (P, d), what the map did not foretell, on
    `given`, float32 (P, d), the mean vectors of histories, and a constant; of no change at all without pairs."""
    pairs, width = given.shape
    rank = min(rank, width)
    if pairs == 0:
        return np.zeros((width + 1, rank), np.float32), np.zeros((rank, width), np.float32)
    inputs = np.append(given, np.full((pairs, 1), 0.5, given.dtype), axis=1).astype(np.float64)
    if pairs <= width:  # the smaller of two equal systems
        found = inputs.T @ np.linalg.solve(inputs @ inputs.T + ridge * np.eye(pairs), left.astype(np.float64))
    else:
        found = np.linalg.solve(inputs.T @ inputs + ridge * np.eye(width + 1), inputs.T @ left)
    # By eigenvectors: a singular value decomposition need not converge where few pairs span little.
    directions = np.linalg.eigh(found.T @ found)[1][:, ::-1][:, :rank]
    # As it will lie in memory once it is saved and loaded: products of another layout round otherwise.
    return (found @ directions).astype(np.float32), np.ascontiguousarray(directions.T, np.float32)
