"""Did the public API change since a tag in a way that breaks a caller? griffe compares; docs/stability.md says what is public.

`griffe check llmrec` counts every module whose name has no underscore as public. Here only the names are that `llmrec`,
`llmrec.metrics` and `llmrec.models` have in `__all__`. Run it from the root of a checkout: `python .ci/api.py v0.1.0`.
"""

from __future__ import annotations

import sys

import griffe

MODULES = ("metrics", "models")  # whose `__all__` is public, besides that of the package


def public(package: griffe.Object | griffe.Alias) -> griffe.Module:
    """A module that holds what is public and nothing else: where something is defined does not matter."""
    shown = griffe.Module(package.name)
    for module in (package, *(package[name] for name in MODULES if name in package.members)):
        for name in map(str, module.exports or ()):
            key, found = name if module is package else f"{module.name}.{name}", module[name]
            shown.members[key] = griffe.Alias(key, found.final_target if found.is_alias else found, parent=shown)
    shown.exports = list(shown.members)
    return shown


def breaking(old: griffe.Object | griffe.Alias, new: griffe.Object | griffe.Alias) -> list[str]:
    """One line for each change of something public in `old` that breaks a caller."""
    changes = griffe.find_breaking_changes(public(old), public(new))
    return [f"{change.obj.path}: {change.kind.value}: {change.old_value} -> {change.new_value}" for change in changes]


def main(package: str, tag: str) -> int:
    old = griffe.load_git(package, ref=tag, resolve_aliases=True)
    new = griffe.load(package, search_paths=["."], resolve_aliases=True)
    found = breaking(old, new)
    print(*found, f"{len(found)} breaking changes of the public API since {tag}", sep="\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main("llmrec", sys.argv[1]))
