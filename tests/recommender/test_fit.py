from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmrec import Recommender, Weights, build
from llmrec.errors import DataError, SchemaError, TemplateError, WeightsError
from llmrec.index import faiss_index
from llmrec.index.faiss_index import IndexSettings
from llmrec.index.tuning import QUERIES
from llmrec.progress import Stages
from llmrec.ranking.ranker import rank
from llmrec.recommender import pipeline
from llmrec.recommender.fit import fit
from llmrec.recommender.pipeline import ranking_tasks
from llmrec.recommender.splitting import UserSplit, split_users


@pytest.fixture(scope="module")
def dataset(world):
    return build(world.events([f"u{i:03}" for i in range(200)], world.ids), world.items(world.ids))[0]


def test_three_groups_teach_base_initialisation_and_blend(dataset, tiny_settings):
    users = np.arange(10, 200)
    settings = replace(tiny_settings, meta_fraction=0.2, blend_fraction=0.15)
    shares = split_users(dataset, users, settings, np.random.default_rng(0))
    assert np.array_equal(np.sort(np.concatenate([shares.base, shares.meta, shares.blend])), users)
    assert (len(shares.blend), len(shares.meta)) == (int(190 * 0.15), int(190 * 0.2))


def test_few_users_teach_everything(dataset, tiny_settings):
    users = np.arange(30)
    shares = split_users(dataset, users, tiny_settings, np.random.default_rng(0))
    assert shares == UserSplit(users, users, users)


def test_histories_that_are_too_short_are_refused(dataset, tiny_settings):
    settings = replace(tiny_settings, train=replace(tiny_settings.train, horizon=30))
    with pytest.raises(DataError, match=r"no user has 31 baskets.*shorter `horizon`"):
        split_users(dataset, np.arange(200), settings, np.random.default_rng(0))


def test_a_feature_that_there_is_none_of_is_refused_before_anything_is_trained(dataset, tiny_settings):
    with pytest.raises(DataError, match="Settings.blend_features: .* got 'colour'"):
        fit(dataset, Weights("nowhere"), replace(tiny_settings, blend_features=("colour",)), 0, Stages(), None)


def test_ranking_tasks_are_of_the_users_given_and_at_most_as_many_as_asked(dataset, tiny_settings):
    users = np.array([3, 4, 5])
    tasks = ranking_tasks(dataset, users, tiny_settings, np.random.default_rng(0))
    assert len(tasks) == 30  # ten a user
    assert set(tasks.user.tolist()) == set(users.tolist())
    assert len(ranking_tasks(dataset, np.arange(200), tiny_settings, np.random.default_rng(0))) == tiny_settings.ranking_tasks


def test_a_blend_learns_the_same_from_tasks_in_any_number_of_batches(fitted, tiny_settings, monkeypatch):
    state, settings = fitted.state, replace(tiny_settings, blend_features=("popularity", "item_knn"))
    tasks = ranking_tasks(state.histories, np.arange(24), replace(settings, ranking_tasks=40), np.random.default_rng(0))
    learned = []
    for at_once in (1000, 7):
        monkeypatch.setattr(pipeline, "AT_ONCE", at_once)
        given = state.adapting.reader(0), state.retrieval, state.rankers.counts, tasks, settings, 0
        learned.append(pipeline.learn_blend(*given).blend)
    candidates = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    one, other = (rank(ranker, candidates) for ranker in learned)
    np.testing.assert_allclose(other - other.mean(), one - one.mean(), atol=1e-4)  # a bias is the same for all


@pytest.mark.slow
def test_a_dataset_is_fitted_like_its_tables_and_answers_in_arrow(tiny_folders, fitting, fitted, world):
    dataset, _ = build(world.events(world.users, world.ids), world.items(world.ids))
    other = fitting(dataset)
    answer = other.recommend(world.users, k=5)
    assert answer.to_pydict() == {name: values.tolist() for name, values in fitted.recommend(world.users, k=5).items()}
    assert other.report is None
    assert fitted.report.steps


def test_every_part_is_trained_on_the_users_it_is_for(fitted):
    state = fitted.state
    assert state.version == 0
    assert state.histories.n_users == 24
    assert not any(parameter.requires_grad for parameter in state.model.parameters())
    assert float(state.model.id_embedding.detach().abs().max()) > 0
    known = state.histories
    baskets = set(zip(known.user.tolist(), known.basket.tolist(), known.item.tolist(), strict=True))
    assert state.retrieval.counts.popularity.sum() == len(baskets)


def test_the_stages_are_told_and_counted(fitting, world, capsys):
    fitting(world.events(world.users, world.ids), world.items(world.ids))
    told = capsys.readouterr().err.splitlines()
    done = [line.split(":")[0] for line in told if not line.endswith("...")]
    assert done == ["clean", "settings", "encode", "base", "count and index", "meta-learn", "rank", "blend"]
    assert any("events of 24 users with 30 items" in line for line in told)
    assert any("too few users to hold any out" in line for line in told)


def test_an_approximate_index_is_told_and_saved_as_it_was_tuned(fitting, world, tiny_settings, tmp_path, capsys, monkeypatch):
    settings = replace(tiny_settings, index=IndexSettings(exact_below=10, lists=6, recall=0.5))
    fit = fitting(world.events(world.users, world.ids), world.items(world.ids), settings=settings)
    tuned = fit.state.retrieval.index.tuned
    assert tuned.lists == 6 and tuned.probes < 6 and tuned.recall >= 0.5
    assert f"count and index: 30 items; {tuned}, " in capsys.readouterr().err
    fit.save_pretrained(tmp_path / "saved")
    monkeypatch.setattr(faiss_index, "tune", None)  # loading must not call it
    loaded = Recommender.from_pretrained(tmp_path / "saved")
    assert loaded.state.retrieval.index.tuned == tuned
    assert loaded.settings.index == settings.index


@pytest.mark.parametrize("exact_below", [10, 100])
def test_an_approximate_index_is_tuned_on_user_vectors_and_an_exact_one_reads_none(
    fitting, world, tiny_settings, monkeypatch, exact_below
):
    asked = []
    real = pipeline.build_index

    def spy(vectors, settings, **options):
        asked.append(options.get("asked"))
        return real(vectors, settings=settings, **options)

    monkeypatch.setattr(pipeline, "build_index", spy)
    settings = replace(tiny_settings, index=IndexSettings(exact_below=exact_below, lists=6, recall=0.5))
    fitted = fitting(world.events(world.users, world.ids), world.items(world.ids), settings=settings)
    if exact_below > len(world.ids):
        assert asked == [None]
    else:
        (queries,) = asked
        assert queries.shape == (QUERIES, fitted.state.retrieval.index.vectors.shape[1])
        assert (queries[:, -1] == 1).all() and len(np.unique(queries, axis=0)) > 10


def test_what_cannot_be_fitted_says_so_and_leaves_what_was(tiny_folders, tiny_settings, fitted, recommender, world, tmp_path):
    state, events = recommender.state, world.events(world.users, world.ids)
    with pytest.raises(SchemaError, match="no column 'timestamp'"):
        recommender.fit({"user_id": ["a"], "item_id": ["b"]})
    with pytest.raises(DataError, match="events is empty"):
        recommender.fit({name: [] for name in events})
    assert recommender.state is state
    with pytest.raises(WeightsError):
        Recommender(Weights(str(tmp_path)), tiny_settings).fit(events, world.items(world.ids))
    with pytest.raises(WeightsError, match="2 blocks, 9 were asked for"):
        Recommender(Weights.folder(tiny_folders["bert"]), replace(tiny_settings, layers=9)).fit(events, world.items(world.ids))
    with pytest.raises(TemplateError):
        Recommender(Weights.folder(tiny_folders["bert"]), replace(tiny_settings, item_template="none")).fit(
            events, world.items(world.ids)
        )
    long = replace(tiny_settings, train=replace(tiny_settings.train, max_slots=1000))
    with pytest.raises(DataError, match=r"a prompt of \d+ words and 1000 slots is longer than the 256"):
        Recommender(Weights.folder(tiny_folders["bert"]), long).fit(events, world.items(world.ids))


@pytest.mark.slow
def test_a_catalogue_of_ids_alone_and_the_least_that_training_needs_are_fitted(fitting):
    rows = [(user, item, day) for user in (1, 2) for day, item in enumerate((1, 2, 3, 1))]
    events = {name: [row[column] for row in rows] for column, name in enumerate(("user_id", "item_id", "timestamp"))}
    answer = fitting(events).recommend([1, 3], k=3, filter_viewed=False)
    assert answer["item_id"].nunique() == 3
    assert len(answer) == 6


def test_where_nobody_takes_unseen_items_the_rankers_of_all_items_serve_both(fitting, tiny_settings):
    """Everybody buys the same three items in every basket; two come first in the catalogue and are never bought."""
    rows = [(f"u{user}", item, 86_400.0 * day, f"{user}-{day}") for user in range(120) for day in range(5) for item in "xyz"]
    names = ("user_id", "item_id", "timestamp", "basket_id")
    events = {name: [row[column] for row in rows] for column, name in enumerate(names)}
    items = {"item_id": ["a", "b", "x", "y", "z"], "title": ["red mug", "blue mug", "red rope", "blue rope", "green rope"]}
    fitted = fitting(events, items, settings=tiny_settings)
    assert fitted.state.unseen_rankers is fitted.state.rankers
    answer = fitted.recommend(histories={"user_id": ["new"], "item_id": ["x"], "timestamp": [1.0]}, k=4)
    assert set(list(answer["item_id"])[:2]) == {"y", "z"} and np.isfinite(list(answer["score"])).all()
    whole = {"user_id": [f"u{user}" for user in range(60) for _ in "xyz"], "item_id": list("xyz") * 60}
    whole["timestamp"] = [0.0] * 180  # their only basket holds the whole catalogue
    more = {name: [*values, *events[name][:90]] for name, values in (whole | {"basket_id": ["0"] * 180}).items()}
    fitted = fitting(more, {name: values[2:] for name, values in items.items()}, settings=tiny_settings)
    stranger = fitted.recommend(histories={"user_id": ["new"], "item_id": ["x"], "timestamp": [1.0]}, k=2)
    assert np.isfinite(list(stranger["score"])).all()
