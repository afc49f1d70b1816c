"""Another process that saves in the middle of a load, played by one function that the load calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def saves_meanwhile(patch: pytest.MonkeyPatch, module: Any, name: str, save: Callable[[], None]) -> list[int]:
    """`module.name` saves before it does its work, the first time that it is called. The list grows with each call."""
    call, calls = getattr(module, name), []

    def interrupted(*args: Any, **named: Any) -> Any:
        calls.append(len(calls))
        if len(calls) == 1:
            save()
        return call(*args, **named)

    patch.setattr(module, name, interrupted)
    return calls
