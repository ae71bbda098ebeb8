"""Linear self-attention without normalization, in fixed point or floats."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from ..numerics.formats import FIXED, NAMES, OVERFLOWS, ROUNDINGS, Format, from_entry
from ..numerics.parameter import Parameter
from ..schema import INPUTS, SIZE, Tensor, one_of
from .base import Buffer, Example, Fields, Layer, LayerType, Signal, Tensors, TrainableLayer, buffer
from .quantizer import Quantizer
from .relu import TrainableReLU


@dataclass
class SelfAttention1D:
    """q @ (k.T @ v) with q = relu(x @ w_q + b_q), k = relu(x @ w_k + b_k), v = x @ w_v + b_v.

    weights [3, embed_dim, projection_dim] and biases [3, projection_dim] in the format.
    Source: TinyMind's SelfAttention1D, forwards and backwards. After a call `outputs` holds q, k, v
    and kv; after compute_gradients `gradients` and `bias_gradients` are shaped as the weights and
    the biases.
    """

    weights: np.ndarray
    biases: np.ndarray
    format: Format

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """[seq_len, embed_dim] -> [seq_len, projection_dim], in the format."""
        matmul = self.format.matmul
        q, k, v = (matmul(x, self.weights[i], self.biases[i], relu=i < 2) for i in range(3))
        kv = matmul(k.T, v)
        self._x = x
        self.outputs = {"q": q, "k": k, "v": v, "kv": kv}
        return matmul(q, kv)

    def compute_gradients(self, deltas: np.ndarray) -> None:
        """Of all weights and biases.

        Args:
            deltas: of what the last call gave [seq_len, projection_dim], in the format.
        """
        matmul, (q, k, v, kv) = self.format.matmul, self.outputs.values()
        dq = np.where(q <= 0, 0, matmul(deltas, kv.T))
        dkv = matmul(q.T, deltas)
        dk = np.where(k <= 0, 0, matmul(v, dkv.T))
        parts: list[np.ndarray] = [part.astype(self.format.dtype)
                                   for part in (dq, dk, matmul(k, dkv))]
        ones = self.format.encode(np.ones((1, len(deltas))))
        self.gradients = np.stack([matmul(self._x.T, part) for part in parts])
        self.bias_gradients = np.stack([matmul(ones, part)[0] for part in parts])

    def update_weights(self, rate: float) -> None:
        """Adds rate * gradient to each weight and bias: a negative rate descends."""
        step = self.format.encode(np.array([[rate]]))
        for name, found in (("weights", self.gradients), ("biases", self.bias_gradients)):
            values = getattr(self, name)
            moved = self.format.matmul(step, found.reshape(1, -1), values.ravel())
            setattr(self, name, moved.reshape(values.shape))


class TrainableSelfAttention1D(TrainableLayer):
    """[seq_len, embed_dim] -> [seq_len, projection_dim].

    q, k through ReLU, kv = k.T @ v, out = q @ kv.

    Backwards dq = grad @ kv.T, dkv = q.T @ grad, dk = v @ dkv.T, dv = k @ dkv.

    Args:
        f: the format of the numbers.
        name: of the parameters, `name`.weights and `name`.biases.
        weights: words [3, embed_dim, projection_dim] of q, k and v.
        biases: words [3, projection_dim].
    """

    def __init__(self, f: Any, name: str, weights: np.ndarray, biases: np.ndarray):
        self.f = f
        self.weights = Parameter(f"{name}.weights", weights)
        self.biases = Parameter(f"{name}.biases", biases)
        self._relu_q, self._relu_k = TrainableReLU(), TrainableReLU()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        f = self.f
        self._x = x.reshape(-1, self.weights.value.shape[1])
        q, k, self._v = (f.product(self._x, w.T, np.broadcast_to(b, (len(self._x), len(b))))
                         for w, b in zip(self.weights.value, self.biases.value, strict=True))
        self._q, self._k = self._relu_q(q), self._relu_k(k)
        self._kv = f.product(self._k.T, self._v.T)
        out: np.ndarray = f.product(self._q, self._kv.T)
        return out

    def backward(self, grad: np.ndarray) -> np.ndarray:
        f = self.f
        grad = grad.reshape(self._q.shape)
        dkv = f.product(self._q.T, grad.T)
        parts = (self._relu_q.backward(f.product(grad, self._kv)),
                 self._relu_k.backward(f.product(self._v, dkv)), f.product(self._k, dkv.T))
        self.weights.grad = np.stack([
            f.product(self._x.T, part.T, onto)
            for part, onto in zip(parts, self.weights.grad, strict=True)])
        self.biases.grad = np.stack([
            f.column_sums(part, onto) for part, onto in zip(parts, self.biases.grad, strict=True)])
        if not self.asked:
            return grad
        w_q, w_k, w_v = self.weights.value
        dx: np.ndarray = f.product(parts[0], w_q)
        for part, weights in ((parts[1], w_k), (parts[2], w_v)):
            dx = f.product(part, weights, dx)
        return dx

    def collect_params(self) -> list[Parameter]:
        return [self.weights, self.biases]


def example(
    form: Format, n: int, d: int, p: int, rng: np.random.Generator, conv: bool = False
) -> Example:
    """One layer; its errors count in steps of the format."""
    settings = {"format": form.name, "rounding": form.rounding, "overflow": form.overflow}
    sizes = {"seq_len": n, "embed_dim": d, "projection_dim": p}
    real = {"attn.weights": rng.normal(0, 0.5 / np.sqrt(d), (3, d, p)),
            "attn.biases": rng.normal(0, 0.1, (3, p))}
    length = n * d
    # int8 becomes numbers within +-1: sums of products stay in the range of Q16.16
    layers: list[dict[str, Any]] = [
        {"type": "convert", "name": "x", "format": form.name, "mult": 1 << 14, "shift": 21}]
    if conv:
        length = 2 * n + 4
        layers.append({"type": "conv1d", "name": "conv", "length": length, "kernel_size": 5,
                       "stride": 2, "filters": d, **settings})
        real |= {"conv.weights": rng.normal(0, 0.3, (d, 5)), "conv.biases": rng.normal(0, 0.1, d)}
    layers.append({"type": "self_attention_1d", "name": "attn", **sizes, **settings})
    tensors = {name: form.encode(values) for name, values in real.items()}
    weights, biases = (form.decode(tensors[f"attn.{part}"]) for part in ("weights", "biases"))

    def floats(outputs: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        x = form.decode(outputs["conv" if conv else "x"]).reshape(n, d)
        q, k, v = (x @ weights[i] + biases[i] for i in range(3))
        exact = np.maximum(q, 0) @ (np.maximum(k, 0).T @ v)
        return outputs["attn"], exact / form.step

    numbers = f"{form.name} {form.overflow}" if form.name in FIXED else form.name
    return Example("conv1d" if conv else numbers, sizes, layers, tensors,
                   length, floats)


class Type(LayerType):
    """[seq_len, embed_dim] -> [seq_len, projection_dim]."""

    training_fields = fields = {"seq_len": SIZE, "embed_dim": INPUTS, "projection_dim": INPUTS}
    optional = {"format": one_of(*NAMES), "rounding": one_of(*ROUNDINGS),
                "overflow": one_of(*OVERFLOWS)}

    def require_integers(self, entry: Fields) -> None:
        super().require_integers(entry)
        if "format" not in entry:
            raise ModelError(f"{entry['name']}: the config lacks format")

    def float_tensors(self, entry: Fields) -> dict[str, Tensor]:
        e, p = entry["embed_dim"], entry["projection_dim"]
        return {"weights": Tensor(float, (3, e, p)), "biases": Tensor(float, (3, p))}

    def tensors(self, entry: Fields) -> dict[str, Tensor]:
        e, p = entry["embed_dim"], entry["projection_dim"]
        dtype = Format(entry["format"]).dtype
        return {"weights": Tensor(dtype, (3, e, p)), "biases": Tensor(dtype, (3, p))}

    def shape(self, entry: Fields, given: Signal) -> tuple[int, ...]:
        return entry["seq_len"], entry["embed_dim"]

    def takes(self, entry: Fields, given: Signal) -> str:
        form: str = entry["format"]
        return form

    def gives(self, entry: Fields, given: Signal) -> Signal:
        return Signal(entry["format"], entry["seq_len"] * entry["projection_dim"])

    def buffers(self, entry: Fields, given: Sequence[Signal], gives: Signal) -> list[Buffer]:
        result = buffer(gives.format, gives.size)
        return [result] * 3 + [buffer(gives.format, entry["projection_dim"] ** 2), result]

    def build(self, entry: Fields, tensors: Tensors, need_weights: bool) -> Layer:
        layer = SelfAttention1D(**tensors, format=from_entry(entry))

        def run(x: np.ndarray) -> dict[str, np.ndarray]:
            out = layer(x)
            return {**layer.outputs, "": out}

        return run

    def floating(self, entry: Fields, tensors: Tensors, *x: np.ndarray) -> dict[str, np.ndarray]:
        q, k, v = (x[0] @ tensors["weights"][i] + tensors["biases"][i] for i in range(3))
        q, k = np.maximum(q, 0), np.maximum(k, 0)
        return {"q": q, "k": k, "v": v, "kv": k.T @ v, "": q @ (k.T @ v)}

    def fold(
        self, entry: Fields, tensors: Tensors, scales: np.ndarray, offsets: np.ndarray
    ) -> dict[str, np.ndarray] | None:
        if (scales != scales[0]).any() or (offsets != offsets[0]).any():
            return None
        weights = np.asarray(tensors["weights"], np.float64)
        return {"weights": weights * scales[0][:, None],
                "biases": tensors["biases"] + offsets[0] @ weights}

    def quantize(self, entry: Fields, quantizer: Quantizer) -> None:
        if self.format_of(entry) is None:
            raise ModelError(f'say what it computes in: "format" in its entry, {NAMES[0]} for one, '
                             "or attn8 quantize --format")
        quantizer.formatted(entry, {"weights": "weights", "biases": "biases"},
                            ("q", "k", "v", "kv", ""))

    def examples(self, rng: np.random.Generator) -> Iterator[Example]:
        """In each format that all boards have; at last behind a Conv1D, as published."""
        for name, rounding, overflow in (
            ("Q8.8", "nearest", "saturate"), ("Q8.8", "truncate", "wrap"),
            ("Q16.16", "nearest", "wrap"), ("Q16.16", "truncate", "saturate"),
            ("Q24.8", "nearest", "wrap"), ("float", "nearest", "wrap"),
        ):
            yield example(Format(name, rounding, overflow), 16, 8, 4, rng)
        for n, d, p in ((4, 2, 2), (1, 1, 1), (33, 5, 3)):
            yield example(Format("Q16.16"), n, d, p, rng)
        yield example(Format("Q16.16"), 62, 4, 4, rng, conv=True)

    def work(self, entry: Fields, tensors: Tensors) -> int:
        n, e, p = entry["seq_len"], entry["embed_dim"], entry["projection_dim"]
        return int(3 * n * e * p + 2 * n * p * p)

    def initial(self, entry: Fields, rng: np.random.Generator) -> dict[str, np.ndarray]:
        e, p = entry["embed_dim"], entry["projection_dim"]
        return {"weights": rng.uniform(-1, 1, (3, e, p)) / np.sqrt(e), "biases": np.zeros((3, p))}

    def retrained(
        self, entry: Fields, tensors: Tensors, before: Sequence[float]
    ) -> tuple[Fields | None, dict[str, np.ndarray]]:
        form = from_entry(entry)
        return ({key: entry[key] for key in ("type", "name", *self.fields)},
                {part: form.decode(values) for part, values in tensors.items()})

    def trainable(
        self, f: Any, entry: Fields, tensors: Tensors, base: Any
    ) -> TrainableSelfAttention1D:
        return TrainableSelfAttention1D(f, entry["name"], **tensors)

    def training_words(self, entry: Fields) -> int:
        """The published 6DP + 6P + ND + 4NP + P^2: parameters and gradients, the input (here its
        gradient), q, k, v and out, and kv. What products work in is the model's."""
        n, d, p = entry["seq_len"], entry["embed_dim"], entry["projection_dim"]
        return int(6 * d * p + 6 * p + n * d + 4 * n * p + p * p)


TYPE = Type()
