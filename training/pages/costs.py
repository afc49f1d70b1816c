"""What a language model costs as a ranker: reading candidates, adapting for many users, and each kind of adapter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

AIM = 5.0  # times as long, for packed scoring and for adapting many users at once
ASKED = 64  # users who are adapted at once


def lines(results: Path) -> str:
    """The lines in Markdown, of the reports that are in the folder `results`."""
    names = ("packed", "language_adapters", "parts", "user-steps")
    packed, adapters, parts, own = (results / f"{name}.json" for name in names)
    found = [
        *([_packed(_read(packed))] if packed.exists() else []),
        *([_adapters(_read(adapters))] if adapters.exists() else []),
        *([_parts(_read(parts))] if parts.exists() else []),
        *([_user_steps(_read(own))] if own.exists() else []),
    ]
    return "\n\n".join(["**language model, cost.** Seconds are of processor time.", *found])


def _read(report: Path) -> Any:
    return json.loads(report.read_text(encoding="utf-8"))


def _verdict(ratio: float) -> str:
    return f"aim {AIM:g}: {'reached' if ratio >= AIM else 'missed'}"


def _packed(told: Mapping[str, Any]) -> str:
    """Scores of one pass against those of one pass for each candidate."""
    ratio = told["processor time over packed"]
    return (
        f"Packed scoring, {told['candidates']} candidates behind {told['tokens of a prefix']:.0f} tokens, {told['users']} "
        f"users: one candidate at a time takes {ratio['single']:.1f} times as long ({_verdict(ratio['single'])}), a batch over "
        f"a copied prefix {ratio['batched']:.1f} times."
    )


def _adapters(told: Mapping[str, Any]) -> str:
    """LoRA of many users in one batch against a loop of PEFT."""
    ratio, users = told["times as long as the library"]["loop of PEFT"], told["users"]
    timed = told.get("users of the loop", users)
    few = f"; {ASKED} users were asked for" if users < ASKED else ""
    part = f" A loop's time is linear in users; timed on {timed} of {users}, whose adapters were compared."
    return (
        f"LoRA of {users} users, {told['choices']} choices and {told['steps']} steps each: a loop of PEFT takes "
        f"{ratio:.1f} times as long as one batch ({_verdict(ratio)}{few}). Both end at the same adapters, "
        f"{told['largest difference']:.0e} apart at most." + (part if timed < users else "")
    )


def _parts(told: Mapping[str, Any]) -> str:
    """A table of what each kind of adapter costs."""
    head = (
        f"What adapts to the choices of {told['support']} users of {told['new']} in {told['steps']} steps "
        f"({told['dtype']}); NDCG@10 stands above under **parts**. "
        "Arms were timed one after the other beside changing other work, so small ratios say nothing:"
    )
    rows = [
        f"| {arm} | {cost['numbers']:,} | {cost['bytes'] / 1024:,.0f} KB | {cost['adapt_s']:.1f} s | "
        f"{1000 * cost['score_s']:.0f} ms | {cost['rate']:g} |"
        for arm, cost in told["costs"].items()
    ]
    names = "| | numbers | size in float32 | to adapt, all users | to score 20 candidates | rate |"
    return "\n".join([head, "", names, "|---" * 6 + "|", *rows])


def _user_steps(told: Mapping[str, Any]) -> str:
    """What a user's own choices cost."""
    took = "; ".join(f"{name} {value:,.0f}" for name, value in told["milliseconds a user"].items())
    return (
        f"{told['steps']} steps on {told['support']} choices of a user's own ({told['dtype']}; NDCG@10 stands above under "
        f"**user-steps**), milliseconds a user in batches: {took}."
    )
