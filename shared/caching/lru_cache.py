"""A bounded cache that evicts the least recently used entry."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """Holds at most ``max_entries`` entries and evicts the least recently used one first.

    ``on_evicted`` is called with each evicted entry (B-37: evictions are counted).
    """

    def __init__(
        self, max_entries: int, *, on_evicted: Callable[[Key, Value], None] = lambda *_: None
    ) -> None:
        if max_entries < 1:
            raise ValueError(f"a cache must hold at least one entry, not {max_entries}")
        self._max_entries, self._on_evicted = max_entries, on_evicted
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def peek(self, key: Key) -> Value | None:
        """Return the entry without marking it as used."""
        return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._on_evicted(*self._entries.popitem(last=False))

    def drop(self, key: Key) -> None:
        self._entries.pop(key, None)

    def values(self) -> Iterable[Value]:
        return self._entries.values()

    def __iter__(self) -> Iterator[Key]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
