"""Laws of one model over several catalogues: what is shared is shared, and nothing belongs to an item."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.catalogues import advance_together, begin_together, finish_together
from llmrec.data.tasks import first_baskets
from llmrec.encoder.catalogues import over
from llmrec.encoder.train import TrainSettings, trainable
from llmrec.encoder.users import prompt_reading, prompts, user_vectors
from llmrec.errors import DataError

SETTINGS = TrainSettings(
    max_steps=4, batch_size=8, known=(1, 3), horizon=1, max_slots=16, learning_rate=3e-3, dropout=0.0, ema_decay=0.5
)


@pytest.fixture
def other(shop):
    """A shop of 6 items, with users who take them in turn."""
    return shop([[[(user + step) % 6] for step in range(4)] for user in range(12)], 6)


@pytest.fixture
def texts(random_shop, other) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(8)
    return [
        torch.nn.functional.normalize(torch.randn(n, 32, generator=generator), dim=1)
        for n in (random_shop.n_items, other.n_items)
    ]


def scores(model, dataset) -> np.ndarray:
    tasks, items = first_baskets(dataset, np.arange(dataset.n_users), 1, 1), model.items()
    made = prompts(model, items, tasks, 16, 1)
    return prompt_reading(model, items, user_vectors(model, made), made.batch).table()


def test_the_same_texts_get_the_same_vectors_and_scores(slot_model, random_shop):
    """A catalogue in another order, put under the same model: everything follows the texts."""
    order = np.random.default_rng(0).permutation(random_shop.n_items)
    one, two = over(slot_model, slot_model.text), over(slot_model, slot_model.text[torch.from_numpy(order)])
    torch.testing.assert_close(two.items().vectors, one.items().vectors[torch.from_numpy(order)])
    place = np.argsort(order)
    moved = replace(random_shop, item=place[random_shop.item].astype(np.int32))
    np.testing.assert_allclose(scores(two, moved), scores(one, random_shop)[:, order], rtol=1e-4, atol=1e-5)


def test_an_item_is_its_text_alone(slot_model):
    made = over(slot_model, slot_model.text)
    items = made.items()
    torch.testing.assert_close(items.vectors, slot_model.project(slot_model.text))
    assert (items.bias == items.bias[0]).all() and (items.repeat == slot_model.repeat).all()
    assert not {name for name, _ in trainable(made)} & {"id_embedding", "bias", "repeat_delta"}


def test_what_one_learns_the_other_has_learned(slot_model, random_shop, other, texts):
    """Trained on one catalogue only, and only what is shared moves; the scores over the other one are others."""
    models = [over(slot_model, text) for text in texts]
    before, whole = scores(models[1], other), {name: p.detach().clone() for name, p in trainable(models[0])}
    training = begin_together(models[:1], SETTINGS)
    for _ in range(SETTINGS.max_steps):
        advance_together(training, [random_shop], [np.arange(20)], SETTINGS, 3)
    finish_together(training)
    assert np.abs(scores(models[1], other) - before).max() > 1e-3
    for name, parameter in trainable(models[1]):
        assert parameter is dict(trainable(models[0]))[name]
    assert sum(not torch.equal(parameter, whole[name]) for name, parameter in trainable(models[0])) > 10
    assert not models[0].training and all((model.id_embedding == 0).all() for model in models)


def test_each_catalogue_has_its_turn(slot_model, random_shop, other, texts, monkeypatch):
    models, seen = [over(slot_model, text) for text in texts], []
    note = lambda training, dataset, *rest: training.losses.append(0.0) or seen.append((training.model, dataset))  # noqa: E731
    monkeypatch.setattr("benchmarks.catalogues.train_step", note)
    trainings = begin_together(models, SETTINGS)
    for _ in range(4):
        advance_together(trainings, [random_shop, other], [np.arange(20), np.arange(12)], SETTINGS, 0)
    assert [(model is models[1], dataset is other) for model, dataset in seen] == [(False, False), (True, True)] * 2


def test_the_same_seed_gives_the_same_weights_and_torchs_draws_do_not_matter(slot_model, random_shop, other, texts):
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(found))
        whole = copy.deepcopy(slot_model)
        models = [over(whole, text) for text in texts]
        trainings = begin_together(models, SETTINGS)
        for _ in range(SETTINGS.max_steps):
            advance_together(trainings, [random_shop, other], [np.arange(20), np.arange(12)], SETTINGS, seed)
        assert [training.step for training in trainings] == [SETTINGS.max_steps] * 2
        finish_together(trainings)
        found.append([parameter.detach().clone() for _, parameter in trainable(models[1])])
    assert all(torch.equal(x, y) for x, y in zip(found[0], found[1], strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(found[0], found[2], strict=True))


def test_what_does_not_fit_is_refused(slot_model, texts):
    with pytest.raises(DataError, match=r"text: expected vectors of width 32, got shape \(3, 8\)"):
        over(slot_model, torch.zeros(3, 8))
    stranger = over(copy.deepcopy(slot_model), texts[1])
    with pytest.raises(DataError, match=r"models\[1\]: expected one that shares"):
        begin_together([over(slot_model, texts[0]), stranger], SETTINGS)
