"""What every layer type says of itself: see LayerType. Each is a module of this package."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import ModelError
from ..numerics import formats
from ..numerics.formats import FIXED
from ..schema import LIST, NAMES, OBJECT, SCALE, WORD, Kind, Tensor, check
from .quantizer import Quantizer

Fields = dict[str, Any]  # a layer's entry in the config
Tensors = Mapping[str, np.ndarray]  # by the name of the part: weight, q.weight
INPUT_SCALE = 4 / 127  # of examples' inputs, which are about normal; beyond 4 they saturate
INT8, INT16 = "int8", "int16"
UINT16 = "uint16"  # of probabilities
TOKENS = "tokens"  # of an input: ids of a vocabulary, in int16
BITS = Kind("8 or 16", lambda value: type(value) is int and value in (8, 16))


@dataclass(frozen=True)
class Signal:
    """What a layer takes or gives: its format ("int8", "int16", "int32" or one of
    numerics.formats), and how many values."""

    format: str
    size: int


ITEMSIZES = {INT8: 1, INT16: 2, "uint16": 2, TOKENS: 2, "int32": 4, "float": 4, "double": 8,
             **{name: bits // 8 for name, (bits, _) in FIXED.items()}}


@dataclass(frozen=True)
class Buffer:
    """What a board's layer computes into: `size` bytes (see arena).

    over: it may lie where an input of as many bytes lies that nothing else needs.
    first, last: of the layer's `parts` those from and to which it is needed; None: the last one.
    """

    size: int
    over: bool = False
    first: int = 0
    last: int | None = None


def buffer(form: str, size: int, over: bool = False) -> Buffer:
    """One of `size` values of a format."""
    return Buffer(size * ITEMSIZES[form], over)


@dataclass(frozen=True)
class Example:
    """A small model that proves a layer type (see proof.cases).

    Attributes:
        variant: which of several.
        sizes: by name, as reported.
        layers: entries, the last of them of the type.
        tensors: integer tensors, by their names in a file.
        length: values of the input, int8 in steps of INPUT_SCALE.
        vocab_size: of the input's tokens, where they are ids.
        tokens: that the input has, where it has a length.
        floats: from the outputs of one inference to (the values that are compared, the float form
            of the same on the same operands), in steps of their format.
    """

    variant: str
    sizes: dict[str, int]
    layers: list[Fields]
    tensors: dict[str, np.ndarray]
    length: int
    floats: Callable[[Mapping[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
    vocab_size: int | None = None
    tokens: int | None = None


# The integer reference of one layer: from each of its inputs to all that a board's layer gives, by
# the part's name; "" is the result, and the last
Layer = Callable[..., dict[str, np.ndarray]]


class TrainableLayer:
    """The training form of one layer (see train.model).

    Attributes:
        asked: whether anyone asks for the gradient of its input; else backward may return anything.
        length: of the tokens that it heeds, how many count; None: all.
    """

    asked = True
    length: int | None = None

    def __call__(self, *x: Any, **_: Any) -> np.ndarray:
        """Words of each input in, words of the result out."""
        raise NotImplementedError

    def backward(self, grad: np.ndarray) -> Any:
        """Adds to the gradients of the parameters; returns that of the input, of several a list."""
        raise NotImplementedError

    def share(self, params: Mapping[str, Any]) -> None:
        """Takes what it has in common with layers before it, whose parameters these are, by name.

        Raises:
            ModelError: there is none.
        """

    def collect_params(self) -> list[Any]:
        """The parameters, in the order in which the board has them."""
        return []


def require_parts(name: str, tensors: Tensors, wanted: Collection[str]) -> None:
    """Raises ModelError unless the parameters that train are those that a layer has."""
    for part in sorted(set(wanted) ^ tensors.keys()):
        raise ModelError(f"{'missing' if part in wanted else 'unused'} tensor {name}.{part}")


# What to do where a layer takes another format than the one before gives
REMEDIES = {
    "int32": 'leave "output": "int32" to the last layer',
    "float": "give both the same format",
    "double": "give both the same format",
    "tokens": 'embedding takes tokens, of an input with "format": "tokens"',
    "uint16": "leave a softmax to the last layer",
}


class LayerType:
    """All that the host knows of a type of layer.

    A module defines one as TYPE, with the classes that it is made of; the module's name is the
    type's name in a config. Errors are ModelErrors of one line that name what they are about; the
    caller puts the layer's name in front where a method is not given it.

    Attributes:
        fields: what its entry in a config must say, besides its type and name.
        optional: what it may say.
        integers: what quantization adds, and what integers need.
        training_fields, training_optional: the same of an entry of a training file.
        computes: whether there is anything to do at all.
        keeps_scale: whether its results stand for as much as its input: then the layer before needs
            only the range of these results.
        arity: how many inputs it has, all of one format and size.
        input_formats: what these may be.
        output_formats: what its results may be, as its entry's "output" says.
        tokenwise: whether it gives each token its own results, and so has steps.
        token_field: which field counts the tokens, if one does.
        heeds: which of its inputs it is whose tokens a length counts.
        token_parts: which parts of its outputs besides the result are [any, tokens, ...].
        parts: in how many the board computes it where layers share memory. What one of them made
            can be read before the next one runs; inputs are taken in the first.
        bounded: the parts of its float outputs [..., channels] of which quantization needs the
            lowest and the highest value of each channel.
        in_place: whether it can write its results where its inputs lie.
        tied: whether its inputs and its results have one format and, in int16, one scale.
        moves: whether its results are values of its input as they are, some or all.
        by_bits: whether its config may say "activation_bits", 16 for int16 (see quantize.streams).
        most_lsb: the largest error of its examples from floats, in steps of their format, that a
            proof lets pass; None: any.
        retrains: formats of its input from which its int8 form trains, besides the first one.
        even: whether its results have the format of its input, but a scale of their own.
        pairs: the prefixes of its int8 weights [outputs, inputs] that may be in pairs of rows in a
            file (see numerics.pairs); an entry of such says "paired", though not in the file.
    """

    fields: ClassVar[Mapping[str, Kind]] = {}
    optional: ClassVar[Mapping[str, Kind]] = {}
    integers: ClassVar[Mapping[str, Kind]] = {}
    training_fields: ClassVar[Mapping[str, Kind] | None] = None  # those of `fields`
    training_optional: ClassVar[Mapping[str, Kind]] = {}
    computes: ClassVar[bool] = True
    keeps_scale: ClassVar[bool] = False
    arity: ClassVar[int] = 1
    input_formats: ClassVar[Sequence[str]] = (INT8,)
    output_formats: ClassVar[Sequence[str]] = (INT8,)
    tokenwise: ClassVar[bool] = False
    token_field: ClassVar[str | None] = None
    heeds: ClassVar[int] = 0
    token_parts: ClassVar[Sequence[str]] = ()
    parts: ClassVar[int] = 1
    bounded: ClassVar[tuple[str, ...]] = ()
    in_place: ClassVar[bool] = False
    tied: ClassVar[bool] = False
    moves: ClassVar[bool] = False
    by_bits: ClassVar[bool] = False
    even: ClassVar[bool] = False
    pairs: ClassVar[Sequence[str]] = ()
    most_lsb: ClassVar[float | None] = None
    retrains: ClassVar[Sequence[str]] = ()
    name = ""  # the module's, set when it is found

    def check(self, entry: Fields) -> None:
        """Raises ModelError unless an entry says what its type needs, and nothing unknown."""
        descriptive = {"scale": SCALE, "scales": OBJECT, "at": LIST, "activation_bits": BITS}
        check(entry["name"], entry, {"name": WORD, "type": WORD, **self.fields},
              {"inputs": NAMES, **self.optional, **self.integers, **descriptive})
        self._check_inputs(entry["name"], len(entry.get("inputs", ("the layer before",))))

    def _check_inputs(self, name: str, found: int) -> None:
        if found != self.arity:
            raise ModelError(f"{name}.inputs: expected {self.arity}, got {found}")

    def check_training(self, entry: Fields) -> None:
        """The same of an entry of a training file."""
        fields = self.fields if self.training_fields is None else self.training_fields
        check(entry["name"], entry, {"name": WORD, "type": WORD, **fields},
              {"inputs": NAMES, **self.training_optional})
        self._check_inputs(entry["name"], len(entry.get("inputs", ("the layer before",))))

    def require_integers(self, entry: Fields) -> None:
        """Raises ModelError where the entry lacks what quantization adds."""
        for key in self.integers:
            if key not in entry:
                raise ModelError(f"{entry['name']}: the config lacks {key}")
        if "activation_bits" in entry:
            raise ModelError(f"{entry['name']}.activation_bits: integers have theirs; take it out "
                             "of the config")

    def wants(self, entry: Fields, bits: int) -> str:
        """The format of a float model's layer's input, where it can choose.

        Args:
            entry: of the config, whose own activation_bits count if it has them.
            bits: the model's.

        Raises:
            ModelError: the layer cannot take it, or need not be told.
        """
        if "activation_bits" in entry and not self.by_bits:
            raise ModelError(f"{entry['name']}.activation_bits: {self.name} takes what it is given;"
                             " say it of the layers that take its results")
        return INT16 if self.by_bits and entry.get("activation_bits", bits) == 16 else INT8

    def format_of(self, entry: Fields) -> str | None:
        """The one of numerics.formats that its entry says it computes in; None: in integers."""
        found = entry.get("format")
        return found if found in formats.NAMES else None

    def converted(self, found: str, wanted: str) -> str:
        """What an input, int8 or int16, is converted to where it takes both, and wants one."""
        return wanted if self.arity > 1 or wanted == INT8 else found

    def pieces(self, entry: Fields) -> list[Fields]:
        """The entries, its name the last one's, that it is as layers with an integer form."""
        return [entry]

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        """Of the integer form, by part: NAME.part in a file."""
        return {}

    def ranges(self, entry: Fields, given: Signal) -> dict[str, tuple[int, int]]:
        """The least and the largest value that its tensors of the integer form may hold, by part.

        Args:
            entry: of the config.
            given: what its first input gives.
        """
        return {}

    def require_floats(self) -> None:
        """Raises ModelError where the type has no float form."""
        if type(self).floating is LayerType.floating:
            raise ModelError(f"there is no float layer of type {self.name}; models with it are "
                             "in integers already")

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        """Of the float form."""
        return {}

    def tokens_of(self, entry: Fields, tokens: int) -> int | None:
        """Of an input of so many tokens, how many it gives; None where it does not keep them apart.

        The same is true of those that count, where an input has a length.
        """
        return tokens if self.tokenwise else None

    def reads_padding(self, entry: Fields) -> bool:
        """Whether what it gives for tokens that count depends on those behind the length."""
        return not (self.tokenwise or entry.get("lengths"))

    def counts(self, entry: Fields, tokens: int) -> bool:
        """Whether what it takes may be so many tokens."""
        return self.token_field is None or bool(entry.get(self.token_field, 1) == tokens)

    def one_token(self, entry: Fields, tokens: int) -> Fields:
        """The entry for one token at a time.

        Raises:
            ModelError: the type takes more than a token, or the entry says another number of them.
        """
        if not self.tokenwise:
            raise ModelError(f"{entry['name']}: there are no steps with a {self.name}, which takes "
                             "more than a token")
        if self.token_field is None:
            return entry
        if not self.counts(entry, tokens):
            raise ModelError(f"{entry['name']}.{self.token_field}: steps take one of {tokens} "
                             f"tokens each, got {entry.get(self.token_field, 1)}")
        return {**entry, self.token_field: 1}

    def stepping(self, entry: Fields, tensors: Tensors) -> Layer | None:
        """As `build`, for one token after another from the first on; `entry` is the whole one."""
        return self.build(entry, tensors, False)

    def shape(self, entry: Fields, given: Signal) -> Sequence[int]:
        """Of the input that it takes; `given` is what the layer before gives."""
        return (given.size,)

    def connect(self, entry: Fields, given: Sequence[Signal]) -> Signal:
        """What it gives, from what its inputs give.

        Raises:
            ModelError: it does not take what they give.
        """
        name = entry["name"]
        self._check_inputs(name, len(given))
        size = int(np.prod(self.shape(entry, given[0]), dtype=np.int64))
        takes = self.takes(entry, given[0])
        for signal in given:
            if size != signal.size:
                raise ModelError(f"{name}: takes {size} values, the layer before gives "
                                 f"{signal.size}")
            if takes != signal.format:
                remedy = REMEDIES.get(signal.format) or REMEDIES.get(takes)
                raise ModelError(f"{name}: takes {takes}, the layer before gives {signal.format}; "
                                 + (remedy or "put a convert layer between"))
        return self.gives(entry, given[0])

    def takes(self, entry: Fields, given: Signal) -> str:
        """The format of what it takes."""
        return given.format if given.format in self.input_formats else self.input_formats[0]

    def gives(self, entry: Fields, given: Signal) -> Signal:
        """What it gives."""
        if self.tied:
            return given
        if self.even:
            return Signal(given.format, given.size)
        return Signal(entry.get("output", INT8), given.size)

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        """What a board's layer computes into, in the order in which it asks `make` for it.

        The last is its result; the others are needed while it runs, or some of its parts do.
        """
        return [buffer(gives.format, gives.size, self.in_place and given[0] == gives)]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer | None:
        """Its integer reference, as the board's layer; None for a layer that does nothing.

        It is called with each of its inputs, the first one in the shape that `shape` says; where
        the entry says "lengths", also with `length`, how many tokens count.
        """
        raise ModelError(f"there is no int8 layer of type {self.name}")

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        """Its float form: what `build`'s gives, in floats; empty for a layer that does nothing.

        Where the entry says "lengths" it is called with `length` as well.
        """
        raise ModelError(f"there is no float layer of type {self.name}")

    def float_stepping(self, entry: Fields, tensors: Tensors) -> Layer:
        """As `floating`, for one token after another from the first on; `entry` is the whole one.

        By default the tokens do not know of each other.
        """
        return lambda *x: self.floating(entry, tensors, *x)

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        """Float tensors with which it computes from x what it did from x * scales + offsets.

        Args:
            scales, offsets: of each value of its input, in the shape that `shape` says.

        Returns:
            All of its tensors, by part; None where no such ones exist. Of several inputs it is the
            one that it heeds.
        """
        return None

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        """Makes the integers of an entry in place, and their tensors through the quantizer."""
        raise ModelError(f"there is no float layer of type {self.name}")

    def examples(self, rng: np.random.Generator) -> Iterable[Example]:
        """What proves it on a board; none where other proofs have it."""
        return ()

    def work(self, entry: Fields, tensors: Tensors) -> int:
        """Multiply-accumulates of one inference of the integer form."""
        return 0

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Float parameters to start a training from, by part."""
        return {}

    def retrainable(self, entry: Fields, given: Signal) -> Fields:
        """The entry as `retrained` takes it: with "activation_bits" of 16 where int16 feeds it.

        Raises:
            ModelError: `retrained` does not know what its first input gives.
        """
        if self.format_of(entry) == given.format in FIXED:
            return entry
        if given.format not in (self.input_formats[0], *self.retrains):
            raise ModelError(f"{entry['name']}: it takes {given.format}, and what takes "
                             f"{self.input_formats[0]} trains")
        if self.by_bits and given.format == INT16:
            return {**entry, "activation_bits": 16}
        return entry

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        """From its int8 form to what trains: the entry of a training file, and its parameters.

        Args:
            entry: of the int8 model (see `retrainable`).
            tensors: by part.
            before: what one step of each of its inputs stands for.

        Returns:
            None for an entry that does nothing.

        Raises:
            ModelError: it does not train, or is not what the trainer makes int8 of.
        """
        if not self.computes:
            return None, {}
        raise ModelError(f"{entry['name']}: no {self.name} trains yet")

    def trainable(self, f: Any, entry: Fields, tensors: Tensors, base: Any) -> TrainableLayer:
        """Its training form.

        Args:
            f: the numbers that it trains in (see train.arithmetic).
            entry: of the training file.
            tensors: the parameters in these numbers, by part.
            base: the int8 model whose first layers do not train, where there are such.
        """
        raise ModelError(f"{entry['name']}: there is no training layer of type {self.name}")

    def training_words(self, entry: Fields) -> int | None:
        """32-bit words that its training form takes by its formula; None where it has none."""
        return None
