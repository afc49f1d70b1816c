"""What an inner loop can adapt: stacked tensors for U users, and the operations on them.

Axis convention: the first axis of every leaf is the user's, U long, or 1 where all users share the leaf. Values are never
changed in place. A LoRA `Adapter` is one; a new kind says `__len__`, `leaves` and `with_leaves`, and the rest follows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

from torch import Tensor


class Value(Protocol):
    """Tensors of U users. A user's prediction depends on that user's rows, and on leaves that all share, alone."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of users U."""
        ...

    @abstractmethod
    def leaves(self) -> list[Tensor]:
        """All tensors, always in the same order; a list of the caller's own."""
        ...

    @abstractmethod
    def with_leaves(self, leaves: list[Tensor]) -> Self:
        """The same kind of value with other tensors, in the order of `leaves()`."""
        ...

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Every tensor changed by one function."""
        return self.with_leaves([change(tensor) for tensor in self.leaves()])

    def expand(self, users: int) -> Self:
        """U = 1 repeated for `users`, without copying; a value that already has that many is returned as it is."""
        return self if len(self) == users else self.map(lambda t: t.expand(users, *t.shape[1:]))

    def take(self, users: Tensor) -> Self:
        """The rows of some users, int64 (V,)."""
        return self.map(lambda t: t[users])

    def detach(self) -> Self:
        """Copies outside of any graph."""
        return self.map(lambda t: t.detach().clone())


class Shared(Value):
    """A value whose first `own` leaves are the user's and whose others are everybody's, (1, ...).

    `expand` and `take` leave the shared ones as they are, so that U users do not hold U copies of what is one; adapting moves
    none of them.
    """

    own: ClassVar[int]

    def expand(self, users: int) -> Self:
        leaves = self.leaves()
        mine = [t if len(t) == users else t.expand(users, *t.shape[1:]) for t in leaves[: self.own]]
        return self.with_leaves(mine + leaves[self.own :])

    def take(self, users: Tensor) -> Self:
        leaves = self.leaves()
        return self.with_leaves([t[users] for t in leaves[: self.own]] + leaves[self.own :])


@dataclass(frozen=True)
class Plain(Value):
    """The plainest value: some tensors, each (U, ...)."""

    tensors: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.tensors[0])

    def leaves(self) -> list[Tensor]:
        return list(self.tensors)

    def with_leaves(self, leaves: list[Tensor]) -> Plain:
        return Plain(tuple(leaves))
