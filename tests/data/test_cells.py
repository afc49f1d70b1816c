"""Laws of sparse tables: what is read at some cells is what the whole table holds there."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from llmrec.data import cells as cells_module
from llmrec.data.cells import cells, product, product_at


def table(rng: np.random.Generator, rows: int, columns: int, density: float = 0.2) -> sparse.csr_array:
    return sparse.csr_array(rng.integers(-3, 4, (rows, columns)) * (rng.random((rows, columns)) < density) * 1.0)


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_cells_are_those_of_the_dense_table(density):
    rng = np.random.default_rng(0)
    some = table(rng, 7, 11, density)
    row, column = rng.integers(0, 7, 200), rng.integers(0, 11, 200)
    shuffled = sparse.csr_array((some.data[::-1], some.indices[::-1], [0, *np.cumsum(np.diff(some.indptr)[::-1])]), some.shape)
    np.testing.assert_array_equal(cells(some, row.astype(np.int32), column), some.toarray()[row, column])
    np.testing.assert_array_equal(cells(shuffled, row, column), shuffled.toarray()[row, column])
    assert len(cells(some, row[:0], column[:0])) == 0


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_a_product_has_the_types_of_the_right_table(real, index):
    rng = np.random.default_rng(1)
    left, right = table(rng, 4, 9), table(rng, 9, 6)
    right = sparse.csr_array((right.data.astype(real), right.indices.astype(index), right.indptr.astype(index)), right.shape)
    found = product(left, right)
    np.testing.assert_array_equal(found.toarray(), left.toarray() @ right.toarray())
    assert found.dtype == real


def test_a_product_copies_nothing_of_a_large_right_table():
    rng = np.random.default_rng(2)
    left, right = table(rng, 2, 2000, 0.002), table(rng, 2000, 2000).astype(np.float32)
    tracemalloc.start()
    product(left, right)
    mine = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    _ = left @ right  # in other types: what is avoided
    theirs = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mine < right.data.nbytes / 4 < right.data.nbytes < theirs


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
def test_products_at_cells_are_those_of_the_whole_products_in_any_order_of_the_cells(density):
    rng = np.random.default_rng(2)
    left, right = table(rng, 5, 9, density), table(rng, 9, 12)
    other = left.data * 0.5
    chosen = [rng.permutation(12)[: rng.integers(0, 13)] for _ in range(5)]
    start = np.concatenate([[0], np.cumsum([len(part) for part in chosen])])
    row, column = np.repeat(np.arange(5), np.diff(start)), np.concatenate(chosen)
    found = product_at(left.indptr, left.indices, np.stack([left.data, other]), right, start, column)
    whole = left.toarray() @ right.toarray()
    np.testing.assert_allclose(found, [whole[row, column], 0.5 * whole[row, column]])


def test_products_at_a_few_cells_take_no_memory_for_a_row_of_a_large_table():
    right = sparse.csr_array((np.ones(3), ([0, 1, 1], [5, 5, 900_000])), shape=(2, 1_000_000))
    asked = np.array([0, 1]), np.array([1]), np.ones((1, 1)), right, np.array([0, 2]), np.array([900_000, 7])
    product_at(*asked)
    tracemalloc.start()
    found = product_at(*asked)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [[1.0, 0.0]] and peak < 20_000


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
def test_many_terms_are_added_up_as_a_whole_to_the_same_bits(monkeypatch, block):
    rng = np.random.default_rng(3)
    left, right = (sparse.random_array(shape, density=0.5, rng=rng, format="csr") for shape in ((7, 30), (30, 20)))
    other = left.data * (rng.random(left.nnz) < 0.5)
    start, column = np.arange(8) * 20, np.tile(rng.permutation(20), 7)
    asked = left.indptr, left.indices, np.stack([other, left.data * (other > 0)]), right, start, column
    monkeypatch.setattr(cells_module, "BLOCK", block)
    monkeypatch.setattr(cells_module, "whole_pays", lambda *sizes: False)
    few = product_at(*asked)
    monkeypatch.setattr(cells_module, "whole_pays", lambda *sizes: True)
    monkeypatch.setattr(cells_module, "_look_up", None)
    np.testing.assert_array_equal(product_at(*asked), few)
    assert few.any()
