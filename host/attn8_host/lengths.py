"""How many tokens of an input count: what each layer of a model is told of it."""

from typing import Any

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
            given = tokens[sources[0]]
            if any(tokens[source] != given for source in sources):
                given = None
            if given is not None and not kind.counts(entry, given):
                given = None
            if entry.get("lengths") and given is None:
                raise ModelError(f'{name}.lengths: no length comes to it: say "lengths": true of '
                                 "the input, and mix no tokens before it")
            tokens[name] = None if given is None else kind.tokens_of(entry, given)
        self._apart = {name for name, found in tokens.items() if found is not None}

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
        lengths: dict[str, int | None] = {"input": int(length)}
        told: dict[str, int | None] = {}
        for entry, sources in self._layers:
            name, given = entry["name"], lengths[sources[0]]
            told[name] = given if entry.get("lengths") else None
            lengths[name] = None
            if name in self._apart and given is not None:
                lengths[name] = layers.get(entry["type"]).tokens_of(entry, given)
        return told
