"""What both assemblers share: a list of instructions, and labels that are resolved at the end."""

import itertools
from collections.abc import Callable

Encoder = Callable[[int], int]  # address of the instruction -> its bits


class Assembler:
    """Collects machine code. An address is an offset from the start of the code."""

    def __init__(self) -> None:
        self.address = 0  # of the next instruction
        self._items: list[tuple[int, Encoder]] = []  # size in bytes, encoder
        self._labels: dict[str, int] = {}  # number of the item that follows
        self._addresses: list[int] = []  # of the items, known at the end

    def label(self, name: str) -> None:
        """Names the address of the next instruction."""
        if name in self._labels:
            raise ValueError(f"label {name!r} is defined twice")
        self._labels[name] = len(self._items)

    def emit(self, size: int, bits: int | Encoder) -> None:
        """Appends an instruction: its bits, or a function of its address where labels matter."""
        self._items.append((size, bits if callable(bits) else constant(bits)))
        self.address += size

    def distance(self, address: int, label: str, low: int, high: int) -> int:
        """Bytes from an address to a label; a branch that cannot reach it is an error."""
        if label not in self._labels:
            raise ValueError(f"label {label!r} is not defined")
        to = self._addresses[self._labels[label]]
        return within("distance to " + label, to - address, low, high)

    def code(self) -> bytes:
        """The machine code, labels resolved."""
        sizes = [size for size, _ in self._items]
        self._addresses = list(itertools.accumulate(sizes, initial=0))
        pieces = zip(self._items, self._addresses, strict=False)
        return b"".join(encode(at).to_bytes(size, "little") for (size, encode), at in pieces)


def constant(bits: int) -> Encoder:
    """The encoder of an instruction that is the same at any address."""
    return lambda _: bits


def within(what: str, value: int, low: int, high: int, multiple: int = 1) -> int:
    """The value, if a field of an instruction can hold it.

    Raises:
        ValueError: it cannot.
    """
    if not low <= value <= high or value % multiple:
        raise ValueError(f"{what}: expected {low} to {high} by {multiple}, got {value}")
    return value
