"""The last results, numbered."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

KEPT = 500

T = TypeVar("T")


class History(Generic[T]):
    """The last KEPT things that were added, by number; the first one is 0."""

    def __init__(self) -> None:
        self.count = 0  # of all that were added
        self._kept: deque[T] = deque(maxlen=KEPT)

    def add(self, thing: T) -> int:
        """Its number."""
        self._kept.append(thing)
        self.count += 1
        return self.count - 1

    def since(self, number: int) -> Iterator[T]:
        """Those that are kept, from a number on."""
        first = self.count - len(self._kept)
        for i in range(max(0, number - first), len(self._kept)):
            yield self._kept[i]
