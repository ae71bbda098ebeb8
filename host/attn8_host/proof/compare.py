"""Runs a model on a board and in NumPy and compares every tensor, bit for bit."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import LinkError
from ..link import Client, run_digest
from ..model import Model


@dataclass
class Verification:
    """What a comparison over many inputs found."""

    samples: int = 0
    compared: int = 0  # int values
    mismatches: int = 0  # of them
    mismatched: Counter[str] = field(default_factory=Counter)  # by tensor
    microseconds: list[int] = field(default_factory=list)  # of each inference on the board
    outputs: list[dict[str, np.ndarray]] = field(default_factory=list)  # the board's, shaped
    digest: int = 0  # of all runs, as the board computed it
    expected_digest: int = 0  # as NumPy did

    @property
    def bit_exact(self) -> bool:
        """True if something was compared and everything was equal, the digests included."""
        return self.compared > 0 and self.mismatches == 0 and self.digest == self.expected_digest


def verify(
    client: Client,
    model: Model,
    inputs: np.ndarray,
    advance: Callable[[], None] = lambda: None,
    lengths: Sequence[int | None] | None = None,
) -> Verification:
    """Streams inputs, int8 [samples, input_size], to a board that has the model loaded.

    Args:
        client: of the board.
        model: the same one.
        inputs: int8, or int16 where these are token ids.
        advance: called after each.
        lengths: how many tokens of each input count; None: all.

    Raises:
        LinkError: the board's tensors are not those of the model.
    """
    result = Verification(expected_digest=client.digest)
    for x, length in zip(inputs, lengths or [None] * len(inputs), strict=True):
        expected = model(x, length)
        run = client.infer(x, length=length)
        actual = run.tensors
        if actual.keys() != expected.keys():
            names = sorted(actual.keys() ^ expected.keys())
            raise LinkError(f"the board runs another model: tensors differ ({', '.join(names)})")
        shaped = {}
        for name, want in expected.items():
            got = actual[name]
            if got.size != want.size or got.dtype != want.dtype:
                raise LinkError(
                    f"{name}: expected {want.size} {want.dtype}, got {got.size} {got.dtype}"
                )
            shaped[name] = got.reshape(want.shape)
            wrong = int((shaped[name] != want).sum())
            result.compared += want.size
            result.mismatches += wrong
            if wrong:
                result.mismatched[name] += wrong
        result.outputs.append(shaped)
        result.microseconds.append(run.microseconds)
        in_order = {name: expected[name] for name in actual}
        result.digest = run.digest
        result.expected_digest = run_digest(in_order, result.expected_digest)
        result.samples += 1
        advance()
    return result
