"""Break-even: the first number of requests whose savings have paid for adapting, or none where nothing is saved."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.protocol import first_known
from studies.adaptation import clock, cores
from studies.adaptation.regimes import Long


@pytest.mark.parametrize(("longest", "requests"), [(5.0, 3.0), (3.0, None), (2.0, None)])
def test_requests_until_adapting_has_paid(world, base_of, monkeypatch, longest, requests):
    data = world(True)
    core = cores.core_on(np.eye(24, 3, dtype=np.float32))
    times = iter([3.0, longest, 5.0] * 4)  # of a prompt, of the longest, of adapting, user by user
    monkeypatch.setattr(clock, "_milliseconds", lambda work: (work(), next(times))[1])
    found = clock.break_even(base_of(data), core, 1, Long(first_known(data, np.arange(4), 8, 2, 1), 2))
    assert found == {"prompt": 3.0, "longest": longest, "adapting": 5.0, "requests": requests}
