"""`attn8 mask`: sparse attention over real tokens on a board, beside dense attention."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from .. import modelfile
from ..boards import Board
from ..deploy import OWN_MODELS, push
from ..errors import Attn8Error
from ..masks import BUILDERS, Mask, hnsw, mincut
from ..model import Model
from ..paths import MODELS
from ..quantize.model import quantize_model
from .compare import Verification, verify

PATH = f"{OWN_MODELS}/mask.safetensors"
TOP = 8  # keys of a query that recall counts
SPREAD = 1.0  # standard deviation of the scores before the softmax


@dataclass
class MaskResult:
    """What sparse attention keeps of dense attention; the keys of the JSON."""

    mask: str
    seq_len: int
    num_positions: int
    density: float
    recall: float  # of each query's TOP keys of dense attention, the share that the mask shows
    mean_difference: float  # of the outputs from dense attention's, in steps of int8
    compared: int
    mismatches: int
    bit_exact: bool
    device_us: float
    dense_device_us: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Pictures:
    """What `attn8 mask` draws, [S, S] each: the mask, and both attention weights of the board."""

    mask: np.ndarray
    sparse: np.ndarray
    dense: np.ndarray


def tokens(seq_len: int) -> np.ndarray:
    """float [seq_len, 64]: images of handwritten digits, sorted by digit, less their mean.

    Raises:
        Attn8Error: there are not so many.
    """
    data = load_file(MODELS / "digits_data.safetensors")
    if not 2 <= seq_len <= len(data["test.images"]):
        raise Attn8Error(f"seq-len: expected 2 to {len(data['test.images'])}, got {seq_len}")
    images = data["test.images"][:seq_len].astype(np.float64) / 16
    images = images[np.argsort(data["test.labels"][:seq_len], kind="stable")]
    centred: np.ndarray = images - images.mean(axis=0)
    return centred


def from_hnsw(seq_len: int, window: int = 1, links: int = 4) -> Mask:
    """A window, and the edges of an HNSW index over the tokens."""
    from ..graph import hnsw as index

    return hnsw.adaptive(seq_len, window, index.build(tokens(seq_len), links).edges)


def from_mincut(seq_len: int, parts: int = 6, lambda_: int = 150) -> Mask:
    """Minimum cuts of the tokens' similarity graph into parts, of a strength lambda_."""
    from ..graph.mincut import partition
    from ..graph.similarity import similarity

    labels = partition(similarity(tokens(seq_len)), parts)
    return mincut.from_cut(seq_len, lambda_, parts, labels)


# Those of hnsw take graphs as arguments: from_hnsw has one made
KINDS: dict[str, Callable[..., Mask]] = {"hnsw": from_hnsw, "mincut": from_mincut} | {
    name: builder for name, builder in BUILDERS.items() if builder.__module__ != hnsw.__name__
}


def make(name: str, seq_len: int, arguments: Sequence[int | float | list[int]]) -> Mask:
    """The mask of this name over `tokens`.

    Raises:
        Attn8Error: there is no such mask, it takes other arguments, or tokens are too few.
    """
    if name not in KINDS:
        raise Attn8Error(f"no such mask: {name}; expected one of {', '.join(sorted(KINDS))}")
    tokens(seq_len)
    takes = list(inspect.signature(KINDS[name]).parameters.values())[1:]
    try:
        told = [_argument(*pair) for pair in zip(arguments, takes, strict=False)]
        return KINDS[name](seq_len, *told, *arguments[len(takes) :])
    except ValueError as error:
        raise Attn8Error(f"mask {name}: {error}") from None
    except TypeError:
        given = ", ".join(map(str, arguments)) or "nothing"
        wanted = ", ".join(parameter.name for parameter in takes) or "no arguments"
        raise Attn8Error(f"mask {name}: expected {wanted}, got {given}") from None


def _argument(value: int | float | list[int], takes: inspect.Parameter) -> int | float | list[int]:
    """An argument of a mask as its builder takes it; one index is a list of one."""
    if takes.annotation is int and isinstance(value, float):
        raise ValueError(f"{takes.name}: expected a whole number, got {value}")
    return [value] if takes.name == "indices" and isinstance(value, int) else value


def model(x: np.ndarray, mask: Mask | None) -> tuple[Model, np.ndarray]:
    """Attention of tokens x, float [S, E], to each other in one head, and its int8 input.

    q and k are the tokens, scaled so that the scores spread; v are the tokens. None: dense.
    """
    seq_len, embed_dim = x.shape
    scores = (x @ x.T)[~np.eye(seq_len, dtype=bool)] / np.sqrt(embed_dim)
    unit = np.eye(embed_dim, dtype=np.float32)
    tensors = {f"attn.{part}.weight": unit for part in ("k", "v", "out")}
    tensors["attn.q.weight"] = unit * np.float32(SPREAD / scores.std())
    tensors |= {f"attn.{part}.bias": unit[0] * 0 for part in ("q", "k", "v", "out")}
    attention = {
        "type": "attention", "name": "attn", "seq_len": seq_len, "embed_dim": embed_dim,
        "num_heads": 1, "core": "exact" if mask is None else "sparse", "causal": False,
    }  # fmt: skip
    layers = [{"type": "reshape", "name": "tokens", "shape": [seq_len, embed_dim]}, attention]
    config: dict[str, Any] = {
        "format": "attn8", "version": 1, "name": "mask", "layers": layers,
        "input": {"shape": [x.size]},
    }  # fmt: skip
    if mask is not None:
        tensors["attn.core.mask"] = mask.to_bits().reshape(1, -1)
    config, made = quantize_model(config, tensors, x.reshape(1, -1))
    model = Model(config, made)
    return model, model.feed(x).reshape(1, -1)


def attend(board: Board, x: np.ndarray, mask: Mask | None) -> tuple[Verification, float]:
    """Runs it on a board that has the package, and compares with NumPy.

    Returns:
        What was found; and the microseconds of an inference that gives nothing to look at.
    """
    reference, inputs = model(x, mask)
    push(board, PATH, modelfile.pack(reference.config, reference.tensors))
    with board.serve() as client:
        client.load(PATH)
        found = verify(client, reference, inputs)
        client.load(PATH, need_weights=False)
        return found, client.run(inputs[0].tobytes())


def run(board: Board, mask: Mask, title: str) -> tuple[MaskResult, Pictures]:
    """Sparse and dense attention over `tokens` on a board with the package on it."""
    x = tokens(mask.seq_len)
    (sparse, device_us), (dense, dense_device_us) = attend(board, x, mask), attend(board, x, None)
    pairs, sums = sparse.outputs[0]["attn.pairs.0"], sparse.outputs[0]["attn.sums.0"]
    weights = np.zeros(mask.dense.shape)
    weights[mask.dense] = pairs[:, 1]
    weights /= np.maximum(sums, 1)[:, None]
    all_weights = dense.outputs[0]["attn.weights.0"] / dense.outputs[0]["attn.sums.0"][:, None]
    top = np.argsort(-all_weights, axis=1, kind="stable")[:, :TOP]
    heads = [v.outputs[0]["attn.heads"].astype(int) for v in (sparse, dense)]
    result = MaskResult(
        mask=title,
        seq_len=mask.seq_len,
        num_positions=mask.num_positions,
        density=mask.density,
        recall=float(np.take_along_axis(mask.dense, top, axis=1).mean()),
        mean_difference=float(np.abs(heads[0] - heads[1]).mean()),
        compared=sparse.compared + dense.compared,
        mismatches=sparse.mismatches + dense.mismatches,
        bit_exact=sparse.bit_exact and dense.bit_exact,
        device_us=device_us,
        dense_device_us=dense_device_us,
    )
    return result, Pictures(mask.dense, weights, all_weights)
