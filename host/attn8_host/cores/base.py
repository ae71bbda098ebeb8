"""What every attention core says of itself: see Core. Each is a module of this package."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.scales import heads_scale
from ..schema import SHIFT, Kind, Tensor, within

Parameters = dict[str, np.ndarray]


class TrainableCore:
    """The training form of a core, of all heads: words of q, k and v, [tokens, heads * width], to
    the context, [queries, heads * width of v].

    Args:
        f: the format of the numbers.
        name: of its parameters.
        num_heads: among which q, k and v are divided.
        key_dim: values of a head's key.
        causal: whether a query sees only the keys up to its own place.
        recompute: whether the backward pass computes again what it can.

    What else a core takes are the keywords of its config, and its parameters in words.

    Attributes:
        length: no query sees a key from this one on; None: all are there.
    """

    length: int | None = None

    def __init__(
        self, f: Any, name: str, num_heads: int, key_dim: int, causal: bool, recompute: bool
    ):
        self.f = f
        self.name = name
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.causal = causal
        self.recompute = recompute

    def __call__(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, dcontext: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gradients of q, k and v; adds to those of the parameters."""
        raise NotImplementedError

    def collect_params(self) -> list[Any]:
        """The parameters, in the order in which the board has them."""
        return []

    def heads(self, x: np.ndarray) -> list[np.ndarray]:
        """[tokens, heads * width] head by head."""
        return np.split(x, self.num_heads, axis=1)

# The constants of the ratio to the output's scale, and of all cores of a softmax in two passes
OUTPUT = {"out_num": within(1 << 29, (1 << 30) - 1), "out_shift": SHIFT}
SOFTMAX = {
    "score_mult": within(1, (1 << 30) - 1), "score_shift": within(1, 28),
    "score_limit": within(0, 1 << 28), **OUTPUT,
}  # fmt: skip


@dataclass(frozen=True)
class Variant:
    """A way to set a core up that is proven (see proof.cases).

    Attributes:
        options: of the core, such as a window.
        key_len: of another sequence that keys and values come from; None: they come from x.
        padded: whether some keys are padding.
        lengths: whether an input has a length, behind which the keys are.
    """

    causal: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    key_len: int | None = None
    padded: bool = False
    lengths: bool = False


def _nothing(*sizes: Any) -> dict[str, Any]:
    return {}


def _int8_most(head_dim: int) -> dict[str, int]:
    return dict.fromkeys(("q", "k", "v"), 127)


def _no_parameters(
    rng: np.random.Generator, num_heads: int, head_dim: int, options: dict[str, Any]
) -> Parameters:
    return {}


def _from_integers(
    options: Mapping[str, Any], scales: Mapping[str, float], tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], Parameters]:
    return {}, {}


def softmax_work(
    seq_len: int, keys: int, head_dim: int, causal: bool, options: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
) -> int:
    """Two products for each pair of query and key."""
    pairs = seq_len * (seq_len + 1) // 2 if causal else seq_len * keys
    return 2 * pairs * head_dim


@dataclass(frozen=True, kw_only=True)
class Core:
    """All that the host knows of a core. A module defines one as CORE, with what it is made of.

    Attributes:
        reference: the class of its integer reference: a call gets q, k, v, int8 [S, D] each, and
            gives int8 [S, D]; `outputs` then holds its intermediates by name, those that the
            device's core keeps with need_weights. Its keywords are the constants, options and
            tensors, and `causal`; its `max_seq_len` the longest sequence. Where it has a method
            `check`, called with seq_len, the number of keys, head_dim and value_dim, this raises
            ValueError where constants do not go with these sizes or with each other.
        make_constants: from head_dim, the scales of q, k, v and of the output, and options and
            tensors as keywords, to the constants and, as arrays, the integer form of the tensors.
        floating: its float form, called with q, k, v, [num_heads, S, D] each, causal, steps (what
            one step of int8 stands for in q, k, v), options and tensors.
        constants, options: what a config may say of them.
        layout: the options that decide on memory, and on no result.
        defaults: from num_heads, head_dim and options to the float tensors of a file that has none.
        drawn: the options that decide on these alone, and are gone once there are integers.
        tensors, float_tensors: from num_heads and head_dim to those that the heads share out.
        ranges: the least and the largest value of these, by core.NAME.
        variants: what proves it; the first one on every shape.
        sized: from seq_len to more options for these.
        planned: from seq_len to the options of `attn8 plan` where nothing else is asked for.
        parameters: from a generator, num_heads, head_dim and options, from which it takes what is
            only meant for it, to float tensors: for plans and proofs.
        masks_keys: whether its call and its float form take a mask of keys, [K].
        masks_pairs: whether they take one of queries and keys, [S, K].
        steps: whether a causal one takes one token at a time as well.
        always_causal: whether it knows nothing else.
        value_widths: whether a head's values may be of another width than its keys.
        crosses: whether keys and values may come from another sequence.
        output_scale: from the largest magnitude of the outputs and the scale of v to the scale of
            the outputs.
        format: of q, k, v and the output, "int8" or "int16".
        most: from head_dim to the largest magnitudes of q, k and v.
        int16: the core that computes the same in int16, where there is one.
        most_lsb: the largest error of its cases from its float form, in steps of int8, that a board
            may show (see proof.verify), inputs of extremes among them; None: any.
        trainable: its training form; None: it has none.
        training_constants: what an entry of a training file may say of it besides the options.
        retrained: from the options, the scales of q, k, v and heads and the integer tensors, each
            of all heads, to these constants and the parameters, in floats, that stand for them.
        work: from seq_len, keys, head_dim, causal, options and a head's tensors to the
            multiply-accumulates of one head.
    """

    reference: Callable[..., Any]
    make_constants: Callable[..., dict[str, Any]]
    floating: Callable[..., np.ndarray]
    constants: Mapping[str, Kind]
    options: Mapping[str, Kind] = field(default_factory=dict)
    layout: tuple[str, ...] = ("block_rows",)
    defaults: Callable[[int, int, Mapping[str, Any]], Parameters] = _nothing
    drawn: tuple[str, ...] = ()
    tensors: Callable[[int, int], dict[str, Tensor]] = _nothing
    float_tensors: Callable[[int, int], dict[str, Tensor]] = _nothing
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    variants: Mapping[str, Variant]
    sized: Callable[[int], dict[str, Any]] = lambda seq_len: {}
    planned: Callable[[int], dict[str, Any]] = lambda seq_len: {}
    parameters: Callable[..., Parameters] = _no_parameters
    masks_keys: bool = False
    masks_pairs: bool = False
    steps: bool = False
    always_causal: bool = False
    value_widths: bool = False
    crosses: bool = False
    output_scale: Callable[[float, float], float] = heads_scale
    format: str = "int8"
    most: Callable[[int], Mapping[str, int]] = _int8_most
    int16: str | None = None
    most_lsb: float | None = None
    trainable: Callable[..., TrainableCore] | None = None
    training_constants: Mapping[str, Kind] = field(default_factory=dict)
    retrained: Callable[..., tuple[dict[str, Any], Parameters]] = _from_integers
    work: Callable[..., int] = softmax_work

    @property
    def max_seq_len(self) -> int:
        """The longest sequence."""
        longest: int = self.reference.max_seq_len  # type: ignore[attr-defined]
        return longest

    def decisive(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options on which results depend."""
        return {key: value for key, value in options.items()
                if key not in self.layout and key not in self.drawn}

    def complete(
        self, num_heads: int, head_dim: int, options: Mapping[str, Any],
        tensors: Mapping[str, np.ndarray],
    ) -> Parameters:
        """The float tensors of a file, and defaults for those that it has not.

        Raises:
            ModelError: an option is missing, or they say how to draw what the file has.
        """
        for key, parameter in signature(self.reference).parameters.items():
            if key in self.options and parameter.default is parameter.empty and (
                    key not in options and key not in tensors):
                raise ModelError(f"options.{key}: missing; expected {self.options[key].words}")
        found = dict(self.defaults(num_heads, head_dim, options))
        for key in self.drawn:
            if key in options and not found.keys() - tensors.keys():
                raise ModelError(f"options.{key}: the file has core.{', core.'.join(tensors)}; "
                                 "take one of them out")
        return found | dict(tensors)

    def quantize(
        self, head_dim: int, scales: Mapping[str, float], options: Mapping[str, Any],
        parameters: Mapping[str, np.ndarray],
    ) -> tuple[dict[str, Any], Parameters]:
        """The constants and the integer tensors.

        Args:
            head_dim: values of a head.
            scales: of q, k, v and heads.
            options: those of the config.
            parameters: float tensors.
        """
        ordered = (scales[part] for part in ("q", "k", "v", "heads"))
        made = self.make_constants(head_dim, *ordered, **self.decisive(options), **parameters)
        tensors = {key: value for key, value in made.items() if isinstance(value, np.ndarray)}
        return {key: value for key, value in made.items() if key not in tensors}, tensors
