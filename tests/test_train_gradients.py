"""The reference's gradients against finite differences and PyTorch, within derived bounds.

Bounds for Q16.16, with u = 2**-16 a step of the format, S tokens, and all values within 4:

- a dot product rounds each operand to 14 bits of its row's largest magnitude, 2**-14 relative, and
  its result to u. A gradient passes at most 8 products in turn, whose errors relative to the
  tensor's largest gradient add up to less than 2**-9;
- a score's gradient is A*(dA - sum(dA*A)): dA is off by u, the sum by (S/2 + 1)*u, and the product
  is rounded to u/2; over a row of keys, where A sums to 1, that is (S + 2)*u. A gradient of q or
  k sums S such rows, times values within 4 and the scale 1/sqrt(head_dim) <= 1/2, and a weight's
  gradient multiplies that by inputs within 4: 8*S*(S + 2)*u.

Without a softmax `Bounds` computes a bound of each value's own along with the value.
"""

import numpy as np
import pytest

from attn8_host.train import arithmetic as formats
from attn8_host.train.model import Model
from tests.test_train_model import ADAM, BIAS_FREE, SENSOR, parameters, transformer

RELATIVE = 2.0**-9


def absolute(seq_len):
    return 8 * seq_len * (seq_len + 2) * 2.0**-16


# seq_len, embed_dim, num_heads
ATTENTIONS = [(1, 4, 1), (4, 8, 2), (7, 12, 3), (16, 16, 4)]


def attention_config(seq_len, embed_dim, num_heads, recompute=False, loss="mse"):
    sizes = {"seq_len": seq_len, "embed_dim": embed_dim}
    return {
        "numbers": "Q16.16",
        "input": {"size": seq_len * embed_dim},
        "layers": [
            {"type": "attention", "name": "attn", "num_heads": num_heads, "recompute": recompute}
            | sizes,
            {"type": "mean_pool", "name": "pool"} | sizes,
        ],
        "loss": loss,
        "optimizer": ADAM,
    }


def gradients(config, tensors, x, target, numbers):
    """Every parameter's gradient by name, and the loss, as floats."""
    model = Model(config, tensors, numbers)
    f = model.f
    if config["loss"] == "mse":
        target = f.array(target)
    loss = model.accumulate(f.array(x), target)
    return {p.name: f.floats(p.grad) for p in model.params}, float(f.floats(loss))


def sample(rng, config):
    outputs = config["layers"][-1].get("embed_dim", 3)
    target = 1 if config["loss"] == "cross_entropy" else 20 * rng.normal(size=outputs)
    return rng.normal(size=config["input"]["size"]), target


CONFIGS = [
    transformer(),
    transformer(attention={"recompute": True}),
    transformer(**SENSOR),
    transformer(**BIAS_FREE),
    *(attention_config(*shape, recompute) for shape in ATTENTIONS for recompute in (False, True)),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_float64_gradients_equal_finite_differences(config):
    rng = np.random.default_rng(2)
    tensors = parameters(rng, config)
    x, target = sample(rng, config)
    found, _ = gradients(config, tensors, x, target, "float64")
    step = 1e-5
    for name, values in tensors.items():
        for index in rng.choice(values.size, min(values.size, 6), replace=False):
            shifted = []
            for sign in (1, -1):
                changed = values.copy()
                changed.flat[index] += sign * step
                at = tensors | {name: changed}
                shifted.append(gradients(config, at, x, target, "float64")[1])
            slope = (shifted[0] - shifted[1]) / (2 * step)
            # The third derivative's share of a central difference, and rounding
            assert abs(found[name].flat[index] - slope) < 1e-7, (name, index)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(3))
def test_fixed_point_gradients_are_within_the_bound(config, seed):
    rng = np.random.default_rng(seed)
    tensors = parameters(rng, config)
    x, target = sample(rng, config)
    exact, loss = gradients(config, tensors, x, target, "float64")
    fixed, fixed_loss = gradients(config, tensors, x, target, "Q16.16")
    small = absolute(next(e["seq_len"] for e in config["layers"] if "seq_len" in e))
    assert abs(fixed_loss - loss) < RELATIVE * loss + small
    for name, values in exact.items():
        bound = RELATIVE * np.abs(values).max() + small
        assert np.abs(fixed[name] - values).max() < bound, name


class Bounds:
    """Float64 that knows how far Q16.16 may be off: complex numbers, value + 1j * bound.

    Each operation adds, to what the errors of its operands make of each other, its own rounding
    (see reference/train/formats.py; u = 2**-16, rounding is half up):

    - a product takes its operands in multiples of 2**e, e a row's exponent: off by 2**e/2 each. A
      group of eight products loses less than 2**guard of such units, the total u/2;
    - a factor is off by 2**-15 of itself, and its product with a value by u/2.
    """

    overflows = 0
    unit = 2.0**-16

    def array(self, x):
        return np.asarray(x) + 0.5j * self.unit

    def floats(self, x):
        return np.asarray(x).real

    def product(self, a, b, onto=0):
        (a, error_a, unit_a), (b, error_b, unit_b) = self._rounded(a), self._rounded(b)
        groups = -(-a.shape[1] // 8)
        guard = 1 + (groups - 1).bit_length()
        error = abs(a) @ error_b.T + error_a @ abs(b).T + error_a @ error_b.T
        error += groups * 2**guard * unit_a * unit_b.T + self.unit / 2
        return onto + a @ b.T + 1j * error

    def _rounded(self, x):
        """Rows of values, their errors once they are rounded to 14 bits, and what they count in."""
        words = (abs(x.real) + x.imag).max(axis=1, keepdims=True) / self.unit
        units = 2.0 ** np.ceil(np.log2(np.maximum(words / 16383, 1))) * self.unit
        return x.real, x.imag + np.where(units > self.unit, units / 2, 0), units

    def column_sums(self, x, onto):
        return onto + x.sum(axis=0)

    def add(self, x, y):
        return x + y

    def subtract(self, x, y):
        return x.real - y.real + 1j * (x.imag + y.imag)

    def scale(self, x, factor):
        return x * factor + 1j * (abs(x) * factor * 2.0**-15 + self.unit / 2)

    def factor(self, num, den):
        return num / den

    def adam_constants(self, beta1, beta2, lr, eps):
        return None


def sensor_config(length, kernel_size, stride, filters, projection_dim):
    positions = (length - kernel_size) // stride + 1
    return {
        "numbers": "Q16.16",
        "input": {"size": length},
        "layers": [
            {"type": "conv1d", "name": "conv", "length": length, "kernel_size": kernel_size,
             "stride": stride, "filters": filters},
            {"type": "self_attention_1d", "name": "attn", "seq_len": positions,
             "embed_dim": filters, "projection_dim": projection_dim},
            {"type": "mean_pool", "name": "pool", "seq_len": positions,
             "embed_dim": projection_dim},
        ],
        "loss": "mse",
        "optimizer": ADAM,
    }


@pytest.mark.parametrize("sizes", [(128, 5, 2, 4, 4), (20, 5, 2, 4, 6), (9, 1, 1, 1, 1),
                                   (7, 7, 3, 2, 5)])
def test_conv1d_and_self_attention_1d_equal_autograd(sizes, monkeypatch):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)
    config = sensor_config(*sizes)
    tensors = parameters(rng, config)
    x, target = rng.normal(size=sizes[0]), rng.normal(size=sizes[4])
    leaves = {name: torch.tensor(t, requires_grad=True) for name, t in tensors.items()}
    signal = torch.tensor(x, requires_grad=True)
    tokens = torch.nn.functional.conv1d(
        signal[None, None], leaves["conv.weight"][:, None], leaves["conv.bias"], sizes[2]
    )[0].T
    q, k, v = (tokens @ leaves["attn.weights"][i] + leaves["attn.biases"][i] for i in range(3))
    out = torch.relu(q) @ (torch.relu(k).T @ v)
    torch.nn.functional.mse_loss(out.mean(0), torch.tensor(target)).backward()
    expected = {name: leaf.grad.numpy() for name, leaf in leaves.items()}

    formats_get = formats.get
    monkeypatch.setattr(formats, "get", lambda n: Bounds() if n == "bounds" else formats_get(n))
    found = {}
    for numbers in ("float64", "Q16.16", "bounds"):
        model = Model(config, tensors, numbers, asked=True)
        f = model.f
        model.accumulate(f.array(x), f.array(target))
        found[numbers] = {p.name: p.grad for p in model.params} | {"x": model.input_grad}
        if numbers == "bounds":  # where a ReLU might open for one and close for the other, none
            for relu in (model.layers[1]._relu_q, model.layers[1]._relu_k):
                assert (abs(relu.x.real) > relu.x.imag).all()
    assert found["Q16.16"].keys() == (expected | {"x": 0}).keys()
    for name, exact in (expected | {"x": signal.grad.numpy()}).items():
        assert np.abs(found["float64"][name] - exact).max() < 1e-9, name
        bounds = found["bounds"][name].imag
        assert (np.abs(found["Q16.16"][name] / 2**16 - exact) <= bounds).all(), name
        assert bounds.max() < np.abs(exact).max() / 10, name  # a bound that says something


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("shape", ATTENTIONS)
def test_attention_equals_autograd(shape, recompute):
    torch = pytest.importorskip("torch")
    seq_len, embed_dim, num_heads = shape
    rng = np.random.default_rng(3)
    config = attention_config(*shape, recompute)
    tensors = parameters(rng, config)
    x, target = sample(rng, config)
    layer = torch.nn.MultiheadAttention(embed_dim, num_heads, batch_first=True).double()
    parts = ("q", "k", "v")
    with torch.no_grad():
        for kind, joint in (("weight", layer.in_proj_weight), ("bias", layer.in_proj_bias)):
            joint.copy_(torch.tensor(np.concatenate([tensors[f"attn.{p}.{kind}"] for p in parts])))
            getattr(layer.out_proj, kind).copy_(torch.tensor(tensors[f"attn.out.{kind}"]))
    tokens = torch.tensor(x.reshape(1, seq_len, embed_dim), requires_grad=True)
    out = layer(tokens, tokens, tokens)[0].mean(1)[0]
    loss = torch.nn.functional.mse_loss(out, torch.tensor(target))
    loss.backward()
    expected = {}
    for kind in ("weight", "bias"):
        joint = getattr(layer, f"in_proj_{kind}").grad.numpy()
        expected |= {f"attn.{p}.{kind}": v for p, v in zip(parts, np.split(joint, 3), strict=True)}
        expected[f"attn.out.{kind}"] = getattr(layer.out_proj, kind).grad.numpy()

    for numbers, relative, small in (
        ("float64", 1e-9, 1e-12), ("Q16.16", RELATIVE, absolute(seq_len))
    ):
        model = Model(config, tensors, numbers, asked=True)
        f = model.f
        found = f.floats(model.accumulate(f.array(x), f.array(target)))
        assert abs(found - loss.item()) < relative * loss.item() + small
        assert len(expected) == len(model.params)
        for p in model.params:
            bound = relative * np.abs(expected[p.name]).max() + small
            assert np.abs(f.floats(p.grad) - expected[p.name]).max() < bound, (numbers, p.name)
        dx = f.floats(model.input_grad)
        exact = tokens.grad.numpy().ravel()
        assert np.abs(dx - exact).max() < relative * np.abs(exact).max() + small


def test_cross_entropy_equals_autograd():
    torch = pytest.importorskip("torch")
    from attn8_host.train.losses import CrossEntropy

    logits = np.array([3.0, -2.0, 0.5, 7.25])
    tensor = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(tensor[None], torch.tensor([2]))
    expected.backward()
    for numbers, bound in (("float64", 1e-12), ("Q16.16", 2.0**-13), ("Q8.8", 2.0**-7)):
        f = formats.get(numbers)
        loss = CrossEntropy(f)
        assert abs(f.floats(loss(f.array(logits), 2)) - expected.item()) <= bound
        assert np.abs(f.floats(loss.grad) - tensor.grad.numpy()).max() <= bound


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_optimizers_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    from attn8_host.numerics.parameter import Parameter
    from attn8_host.train.optimizers import SGD, Adam

    rng = np.random.default_rng(4)
    start = rng.normal(size=20)
    slopes = rng.choice([-1, 1], (50, 20)) * rng.uniform(0.05, 0.5, (50, 20))
    tensor = torch.tensor(start, requires_grad=True)
    lr, mult, beta1, beta2 = 2.0**-6, 0.875, 0.875, 1 - 2.0**-8  # exact as (mult, shift) pairs
    eps = 2.0**-15
    theirs = (
        torch.optim.SGD([tensor], lr, momentum=mult) if name == "sgd"
        else torch.optim.Adam([tensor], lr, (beta1, beta2), eps)
    )
    for numbers, bound in (("float64", 1e-3), ("Q16.16", 3e-3)):
        f = formats.get(numbers)
        p = Parameter("p", f.array(start))
        ours = SGD(f, [p], lr, mult) if name == "sgd" else Adam(f, [p], lr, beta1, beta2, eps)
        with torch.no_grad():
            tensor.copy_(torch.tensor(start))
        theirs.state.clear()
        for slope in slopes:
            tensor.grad = torch.tensor(slope)
            theirs.step()
            p.grad = f.array(slope)
            ours.step()
        # Adam's eps is added before its correction here, after it in PyTorch: lr*eps/sqrt(v)
        assert np.abs(f.floats(p.value) - tensor.detach().numpy()).max() < bound, numbers
