from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmrec.data.dataset import EventWeights
from llmrec.encoder.train import finalize, init_state, train_step, trainable
from llmrec.errors import ArtefactError
from llmrec.pretraining.checkpoint import Effort, identity, restore, save, saved


def same(x, y) -> bool:
    """Weights, moments, average and losses of two trainings, bit for bit."""
    here, there = x.model.state_dict(), y.model.state_dict()
    equal = all(torch.equal(here[name], there[name]) for name in here) and x.losses == y.losses and x.dtype == y.dtype
    for (name, p), (_, q) in zip(trainable(x.model), trainable(y.model), strict=True):
        mine, theirs = x.optimiser.state[p], y.optimiser.state[q]
        equal &= mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
        equal &= torch.equal(x.ema[name], y.ema[name])
    return equal


def steps(training, run, count: int):
    for _ in range(count):
        train_step(training, run.dataset, run.users, run.settings, run.seed)
    return training


@pytest.fixture
def key(tiny_run):
    def of(**changed):
        given = {name: getattr(tiny_run, name) for name in ("dataset", "users", "settings", "seed")} | changed
        return identity(given.pop("model", None) or tiny_run.model(), **given)

    return of


@pytest.mark.slow
def test_six_steps_are_three_a_save_and_three(tiny_run, key, tmp_path):
    whole = steps(init_state(tiny_run.model(), tiny_run.settings), tiny_run, 6)
    first = steps(init_state(tiny_run.model(), tiny_run.settings), tiny_run, 3)
    save(tmp_path / "c", first, key(), Effort(1.5, 2, 3))
    second = init_state(tiny_run.model(), tiny_run.settings)
    assert not same(first, steps(init_state(tiny_run.model(), tiny_run.settings), tiny_run, 2))  # `same` sees a difference
    assert restore(tmp_path / "c", second, key()) == Effort(1.5, 2, 3)
    assert same(first, second) and second.step == 3
    steps(second, tiny_run, 3)
    assert same(whole, second)
    finalize(second)
    assert all(torch.equal(p, whole.ema[name]) for name, p in trainable(second.model))


def test_without_an_average_there_is_none_to_save(tiny_run, key, tmp_path):
    settings = replace(tiny_run.settings, ema_decay=0.0)
    tiny_run.settings = settings
    first, second = steps(init_state(tiny_run.model(), settings), tiny_run, 2), init_state(tiny_run.model(), settings)
    save(tmp_path / "c", first, key(settings=settings), Effort())
    restore(tmp_path / "c", second, key(settings=settings))
    assert second.ema is None
    assert all(torch.equal(p, q) for (_, p), (_, q) in zip(trainable(first.model), trainable(second.model), strict=True))


def test_the_number_type_is_kept_although_a_probe_would_choose_another(tiny_run, key, tmp_path):
    first, second = init_state(tiny_run.model(), tiny_run.settings), init_state(tiny_run.model(), tiny_run.settings)
    first.dtype = torch.bfloat16
    save(tmp_path / "c", first, key(), Effort())
    assert second.dtype == torch.float32
    restore(tmp_path / "c", second, key())
    assert second.dtype == torch.bfloat16


def test_another_run_is_refused_by_the_name_of_what_differs(tiny_run, key, tmp_path):
    save(tmp_path / "c", init_state(tiny_run.model(), tiny_run.settings), key(), Effort())
    data, settings = tiny_run.dataset, tiny_run.settings
    price = data.attributes["price"].copy()
    price[3] = 77.0
    others = {
        "learning_rate": {"settings": replace(settings, learning_rate=1.0)},
        "max_steps": {"settings": replace(settings, max_steps=7)},
        "known": {"settings": replace(settings, known=(1, 2))},
        "seed": {"seed": 1},
        "users": {"users": np.arange(14)},
        "data": {"users": np.arange(1, 16)},
        "data ": {"dataset": replace(data, attributes={**data.attributes, "price": price})},
        "data  ": {"dataset": replace(data, item=np.roll(data.item, 1))},
        "data   ": {"dataset": replace(data, event_weights=EventWeights((1.0, 0.5), data.event_weights.scale))},
        "events": {"dataset": data.take(np.arange(19))},
    }
    for name, changed in others.items():
        with pytest.raises(ArtefactError, match=rf"run started with {name.strip()} = .* another folder"):
            restore(tmp_path / "c", init_state(tiny_run.model(), settings), key(**changed))
    other = tiny_run.model()
    with torch.no_grad():
        other.body.model.get_input_embeddings().weight[4, 2] += 1
    with pytest.raises(ArtefactError, match="weights = "):
        restore(tmp_path / "c", init_state(other, settings), key(model=other))


def test_fewer_blocks_of_the_same_weights_are_refused(tiny_run, key, tmp_path):
    save(tmp_path / "c", init_state(tiny_run.model(), tiny_run.settings), key(), Effort())
    other = tiny_run.model()
    other.body.model.encoder.layer = other.body.model.encoder.layer[:1]
    with pytest.raises(ArtefactError, match=r"weight 'body.model.encoder.layer.1.* and is not there"):
        restore(tmp_path / "c", init_state(other, tiny_run.settings), key(model=other))


def test_a_byte_that_changed_is_found_and_leaves_what_was(tiny_run, key, tmp_path):
    save(tmp_path / "c", steps(init_state(tiny_run.model(), tiny_run.settings), tiny_run, 1), key(), Effort())
    file = tmp_path / "c" / "training.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)
    fresh = init_state(tiny_run.model(), tiny_run.settings)
    with pytest.raises(ArtefactError, match="SHA-256"):
        restore(tmp_path / "c", fresh, key())
    assert fresh.step == 0
    file.unlink()
    with pytest.raises(ArtefactError, match="got nothing"):
        restore(tmp_path / "c", fresh, key())


def test_a_crash_between_the_two_renames_of_a_save_loses_nothing(tiny_run, key, tmp_path):
    path = tmp_path / "c"
    assert not saved(path)
    save(path, steps(init_state(tiny_run.model(), tiny_run.settings), tiny_run, 2), key(), Effort())
    assert saved(path)
    path.rename(tmp_path / ".c.previous")  # where the older save stands at that moment
    assert saved(path)
    found = init_state(tiny_run.model(), tiny_run.settings)
    restore(path, found, key())
    assert found.step == 2
