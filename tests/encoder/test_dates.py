from __future__ import annotations

import numpy as np
import torch

from llmrec.encoder.dates import DATE_FEATURES, KNOTS, YEAR, date_features, moments

DAY = 86_400.0


def test_shape_and_range():
    found = date_features(torch.tensor([[0.0, 5 * DAY], [9 * DAY, 1e9]]).double(), moments(np.arange(10) * DAY))
    assert found.shape == (2, 2, DATE_FEATURES) and found.dtype == torch.float32 and found.abs().max() <= 1


def test_the_first_wave_grows_from_the_beginning_of_the_period_to_its_end():
    knots = moments(np.linspace(0, 1000 * DAY, 5000))
    found = date_features(torch.linspace(0, 1000 * DAY, 50).double(), knots)
    cosine = found[:, DATE_FEATURES // 2]
    assert cosine[0] == 1 and torch.isclose(cosine[-1], torch.tensor(-1.0)) and (cosine.diff() < 0).all()


def test_beyond_the_period_only_the_seasons_go_on():
    knots = moments(np.linspace(0, 100 * DAY, 500))
    end, later = date_features(torch.tensor([100 * DAY, 300 * DAY]).double(), knots)
    half = DATE_FEATURES // 2
    places = [*range(5), *range(half, half + 5)]
    assert torch.equal(end[places], later[places])
    assert not torch.isclose(end[5], later[5])  # the year
    year = date_features(torch.tensor([300 * DAY + YEAR]).double(), knots)[0]
    torch.testing.assert_close(later[[5, half + 5]], year[[5, half + 5]], atol=1e-4, rtol=0)


def test_a_busy_time_is_told_apart_more_finely_than_a_quiet_one():
    time = np.concatenate([np.linspace(0, 10 * DAY, 1000), np.linspace(10 * DAY, 1000 * DAY, 100)])
    knots = moments(time)
    assert knots.shape == (KNOTS,)
    two = torch.tensor([[2 * DAY, 4 * DAY], [500 * DAY, 502 * DAY]]).double()
    slow = date_features(two, knots)[..., 0]
    busy, quiet = (slow[:, 1] - slow[:, 0]).abs()
    assert busy > 10 * quiet


def test_one_moment_and_none_at_all_are_finite():
    for knots in (moments(np.full(7, 3.0)), moments(np.zeros(0))):
        assert torch.isfinite(date_features(torch.tensor([0.0, 3.0, 9.0]).double(), knots)).all()
