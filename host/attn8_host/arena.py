"""Where a model's layers put what they compute on a board: places in one block of memory.

Values that are never needed at the same time share it (docs/architecture.md, "Memory"). The twin on
the board, device/attn8/arena.py, gives the places out, and refuses those that would meet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import layers
from .errors import ModelError
from .layers.base import Buffer, Signal
from .modelfile import inputs

ALIGNMENT = 16  # bytes: what a chip's heap gives, and vector instructions want
MOST = (1 << 24) - 1  # bytes of an arena
TRIALS = 50  # orders in which places are given out
Fields = dict[str, Any]


@dataclass
class Place:
    """A buffer of a layer: needed from step `made` on until the end of step `last`. Steps are the
    parts of layers, in turn."""

    layer: str
    buffer: Buffer
    made: int
    last: int
    over: list["Place"] = field(default_factory=list)  # inputs that it may lie upon

    def together(self, other: "Place") -> bool:
        """Whether both are needed at a time."""
        return self.made <= other.last and other.made <= self.last

    def lies_over(self, other: "Place") -> bool:
        """Whether it may lie upon the other, which nothing else needs."""
        return any(other is place for place in self.over)

    def meets(self, other: "Place") -> bool:
        """Whether both are needed at a time, and not one upon the other."""
        return self.together(other) and not self.lies_over(other)


@dataclass
class Group:
    """Places that lie upon each other, at one offset."""

    places: list[Place]
    start: int = 0

    @property
    def size(self) -> int:
        return self.places[0].buffer.size

    @property
    def end(self) -> int:
        return self.start + self.size

    def meets(self, other: "Group") -> bool:
        """Whether there is a time at which both are needed."""
        return any(a.meets(b) and b.meets(a) for a in self.places for b in other.places)


def assign(config: Fields) -> Fields:
    """The config of an integer model with the arena's size, and each layer's offsets ("at")."""
    config = config | {"layers": [{key: value for key, value in entry.items() if key != "at"}
                                  for entry in config["layers"]]}
    groups: list[Group] = []
    steps = list(_steps(config))
    for step in steps:
        used: list[Place] = []
        for place in step:
            under = next((p for p in place.over if not any(p is u for u in used)), None)
            if under is None:
                groups.append(Group([place]))
            else:
                used.append(under)
                next(group for group in groups
                     if any(p is under for p in group.places)).places.append(place)
    size, offsets = _fitted(groups)
    at = {step[0].layer: [offsets[id(place)] for place in step] for step in steps}
    entries = [entry | ({"at": at[entry["name"]]} if entry["name"] in at else {})
               for entry in config["layers"]]
    return {**config, "arena": size, "layers": entries}


def _fitted(groups: list[Group]) -> tuple[int, dict[int, int]]:
    """The size of an arena for these, and where each of their places lies, by its id.

    Each is put at the lowest offset that is free, the largest first. What then lies highest is put
    before all others, until there is no more than is ever needed at a time, or for TRIALS.
    """
    met = {id(group): [other for other in groups if other is not group and group.meets(other)]
           for group in groups}
    ends = max(place.last for group in groups for place in group.places)
    needed = [0] * (ends + 1)
    for group in groups:
        for step in {step for p in group.places for step in range(p.made, p.last + 1)}:
            needed[step] += group.size
    order = sorted(groups, key=lambda group: -group.size)
    best: tuple[int, dict[int, int]] | None = None
    for _ in range(TRIALS):
        placed: set[int] = set()
        for group in order:
            group.start = 0
            for other in sorted((other for other in met[id(group)] if id(other) in placed),
                                key=lambda other: other.start):
                if group.end <= other.start:
                    break
                group.start = max(group.start, -(-other.end // ALIGNMENT) * ALIGNMENT)
            placed.add(id(group))
        highest = max(order, key=lambda group: group.end)
        if best is None or highest.end < best[0]:
            best = highest.end, {id(place): group.start
                                 for group in groups for place in group.places}
        if highest.end <= max(needed):
            break
        order.remove(highest)
        order.insert(0, highest)
    assert best is not None
    return best


def check(config: Fields) -> None:
    """Raises ModelError where the places of a config are wrong: the board refuses them too."""
    if "arena" not in config:
        return
    size = config["arena"]
    if size > MOST:
        raise ModelError(f"arena: expected 1 to {MOST}, got {size}")
    entries = {entry["name"]: entry for entry in config["layers"]}
    known: list[tuple[int, Place]] = []
    for step in _steps(config):
        name = step[0].layer
        at = entries[name].get("at")
        again = "quantize the model again"
        if type(at) is not list or len(at) != len(step):
            raise ModelError(f"{name}.at: expected {len(step)} offsets, got {at}; {again}")
        for place, start in zip(step, at, strict=True):
            if (type(start) is not int or start < 0 or start % ALIGNMENT
                    or start + place.buffer.size > size):
                raise ModelError(f"{name}.at: expected multiples of {ALIGNMENT} within {size} "
                                 f"bytes, got {start}; {again}")
            for first, other in known:
                apart = (start + place.buffer.size <= first
                         or first + other.buffer.size <= start)
                if apart or not place.together(other):
                    continue
                if not place.lies_over(other) or start != first:
                    raise ModelError(f"{name}.at: its memory is still that of {other.layer}; "
                                     + again)
            known.append((start, place))


def sharing(config: Fields) -> dict[str, int]:
    """Bytes that each layer has in the arena, by name; empty where there is none."""
    if "arena" not in config:
        return {}
    return {step[0].layer: sum(place.buffer.size for place in step) for step in _steps(config)}


def _steps(config: Fields) -> Iterator[list[Place]]:
    """The places of each layer that computes, its result the last."""
    sources = inputs(config)
    root = {"input": "input"}  # of each layer, the one whose result it gives
    source = config["input"]
    signals = {"input": Signal(source.get("format", "int8"), math.prod(source["shape"]))}
    last: dict[str, int] = {}  # of each result, the last step that takes it
    found: list[tuple[str, int, int, list[str], list[Buffer]]] = []
    end = 0
    for entry, names in zip(config["layers"], sources, strict=True):
        name, kind = entry["name"], layers.get(entry["type"])
        given = [signals[source] for source in names]
        signals[name] = kind.connect(entry, given)
        root[name] = root[names[0]]
        if kind.computes:
            root[name] = name
            taken = [root[source] for source in names]
            last.update((source, end) for source in taken)
            found.append((name, end, end + kind.parts - 1, taken,
                          kind.buffers(entry, given, signals[name])))
            end += kind.parts
    results: dict[str, Place] = {}
    for name, first, final, taken, buffers in found:
        dying = [results[source] for source in dict.fromkeys(taken)
                 if source in results and last[source] == first]
        step = []
        for n, buffer in enumerate(buffers):
            until = final if buffer.last is None else first + buffer.last
            if n == len(buffers) - 1:
                until = last.get(name, end)
            over = [place for place in dying if place.buffer.size == buffer.size]
            step.append(Place(name, buffer, first + buffer.first, until,
                              over if buffer.over else []))
        results[name] = step[-1]
        yield step
