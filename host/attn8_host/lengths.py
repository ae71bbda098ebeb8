"""How many tokens of an input count: what each layer of a model is told of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from . import layers
from .errors import ModelError
from .modelfile import inputs


class Lengths:
    """Follows the tokens of a model's input through its layers.

    Args:
        config: of a model file, of floats or integers.

    Attributes:
        tokens: that an input has at most; None where the model takes no lengths.

    Raises:
        ModelError: a layer says that it heeds lengths and none comes to it.
    """

    def __init__(self, config: dict[str, Any]):
        self._layers = list(zip(config["layers"], inputs(config), strict=True))
        takes = config["input"].get("lengths", False)
        self.tokens: int | None = config["input"]["shape"][0] if takes else None
        tokens = {"input": self.tokens}  # of each result, where its layers keep them apart
        for entry, sources in self._layers:
            name, kind = entry["name"], layers.get(entry["type"])
            given = tokens[sources[kind.heeds]]
            if not kind.heeds and any(tokens[source] != given for source in sources):
                given = None
            if given is not None and not kind.counts(entry, given):
                given = None
            if entry.get("lengths") and given is None:
                raise ModelError(f'{name}.lengths: no length comes to it: say "lengths": true of '
                                 "the input, and mix no tokens before it")
            tokens[name] = None if given is None else kind.tokens_of(entry, given)
        self._apart = {name: found for name, found in tokens.items() if found is not None}
        self._unread = self._find_unread()

    def _find_unread(self) -> set[str]:
        """The results whose tokens behind the length reach nothing that counts."""
        readers: dict[str, list[dict[str, Any]]] = {name: [] for name in self._apart}
        for entry, sources in self._layers:
            for source in self._apart.keys() & set(sources):
                readers[source].append(entry)
        unread: set[str] = set()
        for name in reversed(self._apart):
            if all(not layers.get(entry["type"]).reads_padding(entry)
                   and (entry["name"] in unread or entry["name"] not in self._apart)
                   for entry in readers[name]):
                unread.add(name)
        return unread

    def counted(
        self, outputs: Mapping[str, np.ndarray], length: int | None
    ) -> dict[str, np.ndarray]:
        """Outputs of a model, and its "input", without tokens that reach nothing that counts.

        Args:
            outputs: of one inference, by the names of layers, and of their parts.
            length: of the input; None: the full one.
        """
        if length is None:
            return dict(outputs)
        given, found = self._following(length), dict(outputs)
        kinds = {entry["name"]: (layers.get(entry["type"]), entry) for entry, _ in self._layers}
        for name in self._unread:
            n, tokens = given[name], self._apart[name]
            if name in found:
                found[name] = found[name].reshape(tokens, -1)[:n]
            if name in kinds and not kinds[name][0].reads_padding(kinds[name][1]):
                for part in kinds[name][0].token_parts:
                    if f"{name}.{part}" in found:
                        found[f"{name}.{part}"] = found[f"{name}.{part}"][:, :n]
        return found

    def of(self, length: int | None) -> dict[str, int | None]:
        """What each layer that heeds lengths is told, by name; None for the others.

        Args:
            length: of the input; None: the full one.

        Raises:
            ValueError: the model takes none, or it is not within 1 to `tokens`.
        """
        if self.tokens is None:
            if length is not None:
                raise ValueError('length: the model takes none; its config says no "lengths"')
            return {entry["name"]: None for entry, _ in self._layers}
        length = self.tokens if length is None else length
        if not 1 <= length <= self.tokens:
            raise ValueError(f"length: expected 1 to {self.tokens}, got {length}")
        lengths = self._following(int(length))
        return {entry["name"]: lengths.get(sources[layers.get(entry["type"]).heeds])
                if entry.get("lengths") else None for entry, sources in self._layers}

    def behind(self, name: str, length: int) -> int | None:
        """How many tokens of a layer's result count, of an input of this length; None where it
        does not keep them apart."""
        return self._following(length).get(name)

    def _following(self, length: int) -> dict[str, int]:
        """How many tokens of each result count, of those that keep them apart."""
        lengths = {"input": length}
        for entry, sources in self._layers:
            if entry["name"] in self._apart:
                found = layers.get(entry["type"]).tokens_of(entry, lengths[sources[0]])
                lengths[entry["name"]] = found or 0
        return lengths
