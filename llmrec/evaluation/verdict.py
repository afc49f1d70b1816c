"""Verdicts in words, written by the numbers: a difference counts only where its interval excludes zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.metrics.bootstrap import Interval

MARKS = {"ahead of": "▼", "level with": "=", "behind": "▲"}  # beside a method: where it lies, seen from ours


def standing(gap: Interval) -> str:
    """ "ahead of", "level with" or "behind", of a paired difference, ours less the other."""
    return "ahead of" if gap.low > 0 else "behind" if gap.high < 0 else "level with"


def standings(gaps: Mapping[str, Interval]) -> str:
    """All methods in one clause: "ahead of A and B, level with C, behind D". gaps: method -> ours less it."""
    found = {word: [name for name, gap in gaps.items() if standing(gap) == word] for word in MARKS}
    return listed([f"{word} {listed(names)}" for word, names in found.items() if names], comma=True)


def by_setting(gaps: Mapping[str, Mapping[str, Interval]]) -> list[tuple[str, str]]:
    """Settings and their standings, those with the same ones together: ("1 and 3", "ahead of A, level with B")."""
    groups: dict[str, list[str]] = {}
    for setting, part in gaps.items():
        groups.setdefault(standings(part), []).append(setting)
    return [(listed(settings), words) for words, settings in groups.items()]


def gain(gap: Interval) -> str:
    """ "+0.021 [+0.014, +0.029]"."""
    return f"{gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"


def beside(gap: Interval, between: str = " ") -> str:
    """What stands beside a method: its mark, and the interval of the method less ours. between: the two."""
    low, high = 0 - gap.high, 0 - gap.low  # 0 -, for -0.0 would be printed as -0.000
    return f"{MARKS[standing(gap)]}{between}[{low:+.3f}, {high:+.3f}]"


def listed(names: Sequence[str], comma: bool = False) -> str:
    """ "A, B and C"; comma: "A, B, and C", for names that are lists themselves."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])}{',' * comma} and {names[-1]}"
