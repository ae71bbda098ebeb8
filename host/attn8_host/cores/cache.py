"""Keys and values of past tokens; the device module of the same name is its twin."""

from dataclasses import dataclass, field

import numpy as np

from .exact import Exact, check_softmax


@dataclass
class KeyValueCache:
    """Up to `slots` tokens of one head, and exact attention to those that are filled.

    `scores` int32, `weights` uint16 and `sums` int32 are those of the last query, by slot.
    """

    slots: int
    exact: Exact
    tokens: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.scores = np.zeros(self.slots, np.int32)
        self.weights = np.zeros(self.slots, np.uint16)
        self.sums = np.zeros(1, np.int32)

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {"scores": self.scores, "weights": self.weights, "sums": self.sums}

    def put(self, slot: int, k: np.ndarray, v: np.ndarray) -> None:
        """Keeps the key and the value of one token, int8 [D] each."""
        self.tokens[slot] = k.copy(), v.copy()

    def attend(self, q: np.ndarray, count: int) -> np.ndarray:
        """int8 q [D] to the first `count` slots; returns int8 [D]."""
        k, v = (np.array([self.tokens[slot][i] for slot in range(count)], np.int8).reshape(
            count, len(q)) for i in range(2))
        out = self.exact(q[None], k, v)[0]
        self.scores[:count], self.weights[:count] = self.exact.scores[0], self.exact.weights[0]
        self.sums[:] = self.exact.sums
        result: np.ndarray = out
        return result


@dataclass(kw_only=True)
class Streaming:
    """A core that takes one token at a time, [D] each, and a sequence as so many steps.

    They add `reset`, `put`, which keeps a key and a value, and `attend`.

    Raises:
        ValueError: causal is false.
    """

    score_mult: int
    score_shift: int
    score_limit: int
    out_num: int
    out_shift: int
    causal: bool = True
    output: str = "int8"  # or "int32", which is not clamped

    def __post_init__(self) -> None:
        if not self.causal:
            raise ValueError("causal: expected True, got False")
        exact = Exact(
            self.score_mult, self.score_shift, self.score_limit, self.out_num, self.out_shift,
            output=self.output
        )
        self.cache = KeyValueCache(self.slots, exact)
        self.reset()

    def check(self, seq_len: int, keys: int, head_dim: int, value_dim: int) -> None:
        """Raises ValueError where the constants do not go with these sizes or with each other."""
        check_softmax(self, self.slots, head_dim)

    @property
    def slots(self) -> int:
        """Tokens that the cache holds."""
        raise NotImplementedError

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        return {name: values.copy() for name, values in self.cache.outputs.items()}

    def reset(self) -> None:
        """The next token is the first of a new sequence."""
        raise NotImplementedError

    def put(self, k: np.ndarray, v: np.ndarray) -> None:
        """Keeps the next token."""
        raise NotImplementedError

    def attend(self, q: np.ndarray) -> np.ndarray:
        """int8 [D] to the tokens that are kept; returns int8 [D]."""
        raise NotImplementedError

    def step(self, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The next token, int8 [D] each; returns int8 [D]."""
        self.put(k, v)
        return self.attend(q)

    def __call__(
        self, q: np.ndarray, k: np.ndarray, v: np.ndarray,
        key_padding_mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """int8 [S, D] each, from the start; returns int8 [S, D].

        Args:
            key_padding_mask: [S], not 0 where a token is padding, which is never kept.
        """
        self.reset()
        hidden = np.zeros(len(q)) if key_padding_mask is None else key_padding_mask
        rows = []
        for query, key, value, padding in zip(q, k, v, hidden, strict=True):
            if not padding:
                self.put(key, value)
            rows.append(self.attend(query))
        return np.stack(rows)
