"""A run that is killed and goes on, against one that is not; and processes that share an episode, against one alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmrec.adapters.lora import Adapter, init_lora
from llmrec.encoder.train import Shard
from llmrec.errors import ArtefactError
from llmrec.meta.algorithms import meta_sgd
from llmrec.meta.inner import Initialisation, initialisation
from llmrec.meta.outer import Episode, OuterSettings, finalize, init_state, meta_train, train_step
from llmrec.meta.resumable import meta_learn
from llmrec.store import load_arrays

SETTINGS = OuterSettings(episodes=7, learning_rate=1e-2, anneal=0.6)
RUN = {"data": "these", "seed": 3}


class Killed(Exception):
    pass


def start() -> Initialisation[Adapter]:
    layers = {"layer": (3, 4)}
    return initialisation(init_lora(layers, 2, 1.0, torch.Generator().manual_seed(0), 0.3), 2, 0.1, max_grad_norm=1e9)


def episode_at(number: int, share: Shard = Shard(), users: int = 6) -> tuple[Episode, float]:  # noqa: B008 (frozen)
    """Task u: y = x w_u."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(2, users, 5, 3, generator=generator)
    y = x @ (1 + torch.randn(users, 3, 4, generator=generator))
    mine = np.arange(share.rank, users, share.world)
    x, y = x[:, mine], y[:, mine]

    def loss(adapter: Adapter) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = adapter.leaves()
        error = (x @ a.transpose(1, 2) @ b.transpose(1, 2) - y).square().mean((2, 3))
        return error[0], error[1]

    return Episode(len(mine), loss), len(mine) / users


def numbers(init: Initialisation) -> list[np.ndarray]:
    return [t.numpy() for t in [*init.adapter.leaves(), init.log_rate, *(init.factor or ())]]


def same(one: Initialisation, other: Initialisation) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(numbers(one), numbers(other), strict=True))


@pytest.mark.parametrize("sgd", [False, True])
def test_killed_at_any_episode_it_ends_where_it_would_have_ended(tmp_path, sgd):
    init, settings = meta_sgd(start().adapter, 2, 0.1, SETTINGS) if sgd else (start(), SETTINGS)
    before = [values.copy() for values in numbers(init)]
    whole = meta_train(init, (episode_at(i)[0] for i in range(7)), settings)
    assert not same(init, whole)
    for stop in range(7):
        folder = tmp_path / str(stop)

        def die(number: int, _: list[float], stop: int = stop) -> None:
            if number == stop:
                raise Killed

        with pytest.raises(Killed):
            meta_learn(init, episode_at, settings, RUN, folder, save_every=2, watch=die)
        found = meta_learn(init, episode_at, settings, RUN, folder, save_every=2)
        assert found.resumed == stop // 2 * 2
        assert same(found.init, whole)
        assert len(found.losses) == 7 and all(len(row) == init.steps + 1 for row in found.losses)
    assert all(np.array_equal(a, b) for a, b in zip(before, numbers(init), strict=True))


def test_after_the_end_the_same_command_does_nothing(tmp_path):
    first = meta_learn(start(), episode_at, SETTINGS, RUN, tmp_path)
    asked = []
    second = meta_learn(start(), lambda i, share: asked.append(i), SETTINGS, RUN, tmp_path)
    assert second.resumed == 7 and asked == [] and same(first.init, second.init) and first.losses == second.losses


def test_processes_that_share_an_episode_learn_what_one_alone_does():
    sent: dict[int, torch.Tensor] = {}
    for rank in (0, 1):  # each process's own part, before it is added to the other's
        share = Shard(rank, 2, lambda flat, rank=rank: sent.setdefault(rank, flat.clone()))
        train_step(init_state(start(), SETTINGS), *_parts(share, SETTINGS))
    together = Shard(1, 2, lambda flat: sent[0] + sent[1])
    one, other = init_state(start(), SETTINGS), init_state(start(), SETTINGS)
    alone = train_step(one, episode_at(0)[0], SETTINGS)
    shared = train_step(other, *_parts(together, SETTINGS))
    np.testing.assert_allclose(shared, alone, rtol=1e-5)
    for a, b in zip(numbers(finalize(one)), numbers(finalize(other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def _parts(share: Shard, settings: OuterSettings) -> tuple:
    episode, part = episode_at(0, share)
    return episode, settings, share, part


@pytest.mark.parametrize(
    ("run", "settings", "named"),
    [
        ({**RUN, "seed": 4}, SETTINGS, "seed = 3"),
        (RUN, OuterSettings(episodes=8, learning_rate=1e-2, anneal=0.6), "episodes = 7"),
        ({**RUN, "more": 1}, SETTINGS, "more = None"),
    ],
)
def test_another_run_does_not_go_on_from_it(tmp_path, run, settings, named):
    meta_learn(start(), episode_at, SETTINGS, RUN, tmp_path)
    with pytest.raises(ArtefactError, match=rf"started with {named} cannot resume with .* another folder"):
        meta_learn(start(), episode_at, settings, run, tmp_path)


def test_another_base_and_a_damaged_byte_are_refused(tmp_path):
    meta_learn(start(), episode_at, SETTINGS, RUN, tmp_path)
    wider = initialisation(init_lora({"layer": (3, 5)}, 2, 1.0, torch.Generator().manual_seed(0), 0.3), 2, 0.1)
    with pytest.raises(ArtefactError, match="tensor 1 was"):
        meta_learn(wider, episode_at, SETTINGS, RUN, tmp_path)
    file = tmp_path / "checkpoint" / "learning.safetensors"
    assert len(load_arrays(file)["losses"]) == 7
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(ArtefactError, match="learning.safetensors"):
        meta_learn(start(), episode_at, SETTINGS, RUN, tmp_path)
