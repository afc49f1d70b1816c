from __future__ import annotations

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from llmrec import Settings
from llmrec.data.dataset import EventWeights
from llmrec.data.tasks import full_histories
from llmrec.encoder.threads import PER_THREAD
from llmrec.index.candidates import Sources
from llmrec.index.faiss_index import build
from llmrec.meta.episodes import user_support
from llmrec.meta.gate import Choice
from llmrec.ranking.statistics import read_texts
from llmrec.ranking.two_stage import Retrieval
from llmrec.recommender import meta_learning, pipeline
from llmrec.recommender.meta_learning import learn_initialisation
from llmrec.recommender.pipeline import reader, start_adapter
from llmrec.recommender.settings import LoraSettings


@pytest.fixture(scope="module")
def state(fitted):
    return fitted.state


def test_the_index_holds_what_the_model_scores(state):
    """Without the repeat terms, the score of every item is one inner product with [u, 1]."""
    tasks = full_histories(state.histories, np.arange(3))
    vectors = reader(state.model, state.items, state.settings, state.init)(tasks).vectors
    with torch.no_grad():
        expected = state.model.logits(torch.from_numpy(vectors), state.items).numpy()
    found = np.concatenate([vectors, np.ones((3, 1), np.float32)], 1) @ state.retrieval.index.vectors.T
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_each_step_lowers_the_loss_of_every_user_on_their_own_support(state):
    tasks = full_histories(state.histories, np.arange(state.histories.n_users))
    _, support = user_support(state.model, state.items, tasks, state.settings.episode)
    losses = [support(state.adapting.lora.adapted(tasks, [Choice(k)] * len(tasks))[0]) for k in range(3)]
    assert (losses[1] < losses[0]).all() and (losses[2] < losses[1]).all()


def test_a_reader_in_batches_reads_like_one_by_one(state):
    users = np.resize(np.arange(state.histories.n_users), 150)  # more than run side by side
    read = reader(state.model, state.items, state.settings, state.init)
    whole = read(full_histories(state.histories, users))
    scores = whole.table()
    for row in (0, 127, 128, 149):
        alone = read(full_histories(state.histories, users[row : row + 1]))
        np.testing.assert_allclose(whole.vectors[row], alone.vectors[0], atol=1e-4)
        np.testing.assert_allclose(scores[row], alone.table()[0], atol=1e-4)


def test_steps_move_the_adapter_and_no_steps_leave_the_initialisation(state):
    tasks = full_histories(state.histories, np.arange(4))
    lora = state.adapting.lora
    still, moved = (lora.adapted(tasks, [Choice(steps)] * len(tasks))[0] for steps in (0, lora.steps))
    for start, zero, after in zip(state.init.adapter.leaves(), still.leaves(), moved.leaves(), strict=True):
        assert torch.equal(zero, start.expand_as(zero))
        assert not torch.equal(after, zero)
        assert not torch.equal(after[0], after[1])  # to each user an adapter of their own


def test_an_initialisation_is_learned_from_where_it_starts(state):
    rng = np.random.default_rng(0)
    none = replace(state.settings, outer=replace(state.settings.outer, episodes=0))
    users = np.arange(state.histories.n_users)
    start = start_adapter(state.model, state.settings, 5, state.settings.lora.b_std)
    base = state.adapting.base
    kept = learn_initialisation(base, state.histories, users, none, rng, 5).init
    learned = learn_initialisation(base, state.histories, users, state.settings, rng, 5).init
    assert all(torch.equal(*pair) for pair in zip(start.adapter.leaves(), kept.adapter.leaves(), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(start.adapter.leaves(), learned.adapter.leaves(), strict=True))
    assert not torch.equal(start.log_rate, learned.log_rate)


def test_meta_learning_takes_as_many_threads_as_its_work_can_use(state, monkeypatch):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(meta_learning, "meta_learn", lambda *_: seen.append(torch.get_num_threads()))
    given = state.adapting.base, state.histories, np.arange(3), state.settings, np.random.default_rng(0), 0
    try:
        torch.set_num_threads(3)
        learn_initialisation(*given)
        monkeypatch.setattr(type(state.model), "multiplications", lambda *_: 2 * PER_THREAD)
        learn_initialisation(*given)
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_a_start_with_b_at_zero_is_the_base(state):
    tasks = full_histories(state.histories, np.arange(2))
    start = start_adapter(state.model, state.settings, 0, 0.0)
    plain, zero = (reader(state.model, state.items, state.settings, init, 0)(tasks) for init in (None, start))
    np.testing.assert_allclose(zero.vectors, plain.vectors, atol=1e-6)


@pytest.mark.parametrize("family", ["bert"])
def test_a_new_model_starts_from_popularities_by_sample_weights(body, shop, tiny_settings):
    """Item 0 is viewed ten times, item 1 bought twice, item 2 only disliked, and item 3 never seen."""
    history, kinds = [[[0]] * 10 + [[1]] * 2 + [[2]]], ["view"] * 10 + ["buy"] * 2 + ["dislike"]
    data = shop(history, 4, {"event_type": kinds})
    text, words = np.eye(4, body.width, dtype=np.float32), SimpleNamespace(words=lambda _: [12, 13])

    def bias(factors: dict[str, float] | None) -> np.ndarray:
        weights = EventWeights(tuple(factors[name] for name in data.event_types) if factors else ())
        one = replace(data, event_weights=weights)
        model = pipeline.new_model(body, words, text, one, np.arange(1), tiny_settings, 0)
        assert model.trained.tolist() == [True, True, True, False]
        return model.bias.detach().numpy()

    popularity = np.array([1.0, 2.0, 0.5, 0.5])
    found = bias({"view": 0.1, "buy": 1.0, "dislike": 0.0})
    np.testing.assert_allclose(found, np.log(popularity / 3.5) + np.log(4), rtol=1e-5)
    np.testing.assert_array_equal(bias({"view": 1.0, "buy": 1.0, "dislike": 1.0}), bias(None))


def test_settings_are_values_with_a_reach_of_their_own():
    assert Settings() == Settings()
    assert Settings().train is not Settings(layers=2).train
    changed = Settings(lora=LoraSettings(n_adapted_blocks=2))
    assert changed.episode.n_adapted_blocks == 2
    assert changed.episode.max_slots == changed.train.max_slots
    assert asdict(changed) != asdict(Settings())
    with pytest.raises(AttributeError):
        changed.layers = 4


def test_a_state_makes_its_likeness_once_and_is_a_value(state):
    assert state.similarity_index is state.similarity_index
    np.testing.assert_allclose(np.linalg.norm(state.similarity_index.vectors, axis=1), 1.0, atol=1e-6)
    with pytest.raises(AttributeError):
        state.version = 3


def test_the_ranker_over_counts_meets_the_counts_of_other_users(random_shop, tiny_settings, monkeypatch):
    """Whoever is ranked for is never among those who were counted, and everybody is ranked for once."""
    counted, ranked_for = [], []
    count, tasks = pipeline.fit_statistics, pipeline.ranking_tasks
    monkeypatch.setattr(
        pipeline, "fit_statistics", lambda data, users, *rest: counted.append(set(users)) or count(data, users, *rest)
    )
    monkeypatch.setattr(
        pipeline, "ranking_tasks", lambda data, users, *rest: ranked_for.append(set(users)) or tasks(data, users, *rest)
    )
    rng, users = np.random.default_rng(0), np.arange(20)
    texts = read_texts(random_shop)
    retrieval = Retrieval(
        build(rng.normal(size=(10, 5)).astype(np.float32)),
        count(random_shop, users, 1, texts, rng),
        Sources(3, 3, 3),
    )
    settings = replace(tiny_settings, train=replace(tiny_settings.train, horizon=1))
    read = lambda some: SimpleNamespace(vectors=rng.normal(size=(len(some), 4)).astype(np.float32))  # noqa: E731
    pipeline.learn_counts_rankers(read, retrieval, texts, random_shop, users, settings, rng, 0, (True,))
    assert len(counted) == len(ranked_for) == 2
    assert not any(a & b for a, b in zip(counted, ranked_for, strict=True))
    assert ranked_for[0] | ranked_for[1] == set(users.tolist())
