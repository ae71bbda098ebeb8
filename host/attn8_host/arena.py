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
Fields = dict[str, Any]


@dataclass
class Place:
    """A buffer of a layer: needed from step `made` on until the end of step `last`."""

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


def assign(config: Fields) -> Fields:
    """The config of an integer model with the arena's size, and each layer's offsets ("at")."""
    groups: list[list[Place]] = []  # those that lie at one place
    steps = list(_steps(config))
    for step in steps:
        used: list[Place] = []
        for place in step:
            under = next((p for p in place.over if not any(p is u for u in used)), None)
            if under is None:
                groups.append([place])
            else:
                used.append(under)
                next(group for group in groups if any(p is under for p in group)).append(place)
    offsets: dict[int, int] = {}
    placed: list[tuple[int, list[Place]]] = []
    size = 0
    for group in sorted(groups, key=lambda group: -group[0].buffer.size):
        taken = sorted(
            (offset, offset + held[0].buffer.size) for offset, held in placed
            if any(a.meets(b) and b.meets(a) for a in group for b in held)
        )
        start = 0
        for first, end in taken:
            if start + group[0].buffer.size <= first:
                break
            start = max(start, -(-end // ALIGNMENT) * ALIGNMENT)
        placed.append((start, group))
        size = max(size, start + group[0].buffer.size)
        offsets.update((id(place), start) for place in group)
    at = {step[0].layer: [offsets[id(place)] for place in step] for step in steps}
    entries = []
    for entry in config["layers"]:
        entry = {key: value for key, value in entry.items() if key != "at"}
        entries.append(entry | ({"at": at[entry["name"]]} if entry["name"] in at else {}))
    return {**config, "arena": size, "layers": entries}


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
    """The buffers of each layer that computes, its result the last."""
    sources = inputs(config)
    root = {"input": "input"}  # of each layer, the one whose result it gives
    source = config["input"]
    signals = {"input": Signal(source.get("format", "int8"), math.prod(source["shape"]))}
    last: dict[str, int] = {}  # of each result, the last step that takes it
    steps: list[tuple[str, list[str], list[Buffer]]] = []
    for entry, names in zip(config["layers"], sources, strict=True):
        name, kind = entry["name"], layers.get(entry["type"])
        given = [signals[source] for source in names]
        signals[name] = kind.connect(entry, given)
        root[name] = root[names[0]]
        if kind.computes:
            root[name] = name
            taken = [root[source] for source in names]
            last.update((source, len(steps)) for source in taken)
            steps.append((name, taken, kind.buffers(entry, given, signals[name])))
    results: dict[str, Place] = {}
    for i, (name, taken, buffers) in enumerate(steps):
        dying = [results[source] for source in dict.fromkeys(taken)
                 if source in results and last[source] == i]
        step = []
        for n, buffer in enumerate(buffers):
            end = last.get(name, len(steps)) if n == len(buffers) - 1 else i
            over = [place for place in dying if place.buffer.size == buffer.size]
            step.append(Place(name, buffer, i, end, over if buffer.over else []))
        results[name] = step[-1]
        yield step
