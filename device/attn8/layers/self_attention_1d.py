from .. import checks, signals
from ..formats import Format, arithmetic


class SelfAttention1D:
    # Linear self-attention without normalization, in fixed point or floats (see formats):
    #   q = relu(x @ w_q + b_q), k = relu(x @ w_k + b_k), v = x @ w_v + b_v, out = q @ (k.T @ v)
    # x [seq_len, embed_dim], out [seq_len, projection_dim]. `weights` holds w_q, w_k, w_v
    # [3, embed_dim, projection_dim] and `biases` [3, projection_dim], all 0 at first.
    # compute_gradients and update_weights train it in the same format (see gradients).

    def __init__(self, seq_len, embed_dim, projection_dim, format="Q16.16", rounding="nearest",
                 overflow="wrap", make=signals.make):
        n = checks.between("seq_len", seq_len, 1, 1 << 15)
        d = checks.between("embed_dim", embed_dim, 1, 1 << 12)
        p = checks.between("projection_dim", projection_dim, 1, 1 << 12)
        self.seq_len, self.embed_dim, self.projection_dim = n, d, p
        self.input_size = n * d
        self.output_size = n * p
        self.weights_per_projection = d * p
        self.total_weights = 3 * d * p
        self.total_biases = 3 * p
        self.format = f = Format(format, rounding, overflow)
        self.weights = f.zeros(3 * d * p)
        self.biases = f.zeros(3 * p)
        self.x = f.zeros(n * d)
        self.q, self.k, self.v = [make(f.code, n * p) for _ in range(3)]
        self.kv = make(f.code, p * p)
        self.out = make(f.code, n * p)
        self._shares = make is not signals.make
        self._gradients = None  # until they are asked for
        self._ran = False  # since the last gradients
        self._x = memoryview(self.x)
        self._zero = f.zeros(1)
        weights, biases = memoryview(self.weights), memoryview(self.biases)
        self._projections = []
        for i, target in enumerate((self.q, self.k, self.v)):
            plan = f.plan((n, d, p), (d, 1), (p, 1), 1, (p, 1), 1 if i < 2 else 0)
            self._projections.append((weights[i * d * p : (i + 1) * d * p],
                                      biases[i * p : (i + 1) * p], target, plan))
        self.kv_plan = f.plan((p, n, p), (1, p), (p, 1), 0, (p, 1))
        self.out_plan = f.plan((n, p, p), (p, 1), (p, 1), 0, (p, 1))

    def __call__(self, x):
        return self._run(x, self.out)

    def forward(self, x, out):
        # The same into an array of the caller's
        checks.values("out", out, self.output_size, True, self.format.code)
        return self._run(x, out)

    def _run(self, x, out):
        f = self.format
        f.copy("x", x, self._x)
        matmul, acc = f.matmul, f.acc
        for weights, biases, target, plan in self._projections:
            matmul(self.x, acc, weights, biases, target, plan)
        matmul(self.k, acc, self.v, self._zero, self.kv, self.kv_plan)
        matmul(self.q, acc, self.kv, self._zero, out, self.out_plan)
        self._ran = True
        return out

    def compute_gradients(self, deltas):
        # Of all weights and biases, from the deltas of what the last call gave [seq_len,
        # projection_dim]; they are computed in the memory of kv and out, which they overwrite
        if self._shares:
            raise ValueError("compute_gradients: the layer shares its memory with others; load "
                             "the model with need_weights=True")
        if not self._ran:
            raise ValueError("compute_gradients: call the layer before, once for each")
        if self._gradients is None:
            from ..gradients import Gradients

            self._gradients = Gradients(self)
        self._gradients.compute(deltas)
        self._ran = False

    def update_weights(self, rate):
        # Adds rate * gradient to each weight and bias: a negative rate descends
        self._computed().update(rate)

    def _computed(self):
        if self._gradients is None:
            raise ValueError("gradients: there are none before compute_gradients")
        return self._gradients

    def index(self, projection, row, column):
        # The flat index of a weight; projection 0, 1, 2: q, k, v
        checks.between("projection", projection, 0, 2)
        checks.between("row", row, 0, self.embed_dim - 1)
        checks.between("column", column, 0, self.projection_dim - 1)
        return (projection * self.embed_dim + row) * self.projection_dim + column

    def set_weight(self, index, value):
        checks.between("index", index, 0, len(self.weights) - 1)
        self.weights[index] = self.format.encode("weight", value)

    def get_weight(self, index):
        checks.between("index", index, 0, len(self.weights) - 1)
        return self.format.decode(self.weights[index])

    def set_bias(self, index, value):
        checks.between("index", index, 0, len(self.biases) - 1)
        self.biases[index] = self.format.encode("bias", value)

    def get_bias(self, index):
        checks.between("index", index, 0, len(self.biases) - 1)
        return self.format.decode(self.biases[index])

    def get_gradient(self, index):
        # Of the weight of the same index
        checks.between("index", index, 0, len(self.weights) - 1)
        return self.format.decode(self._computed().weights[index])

    def get_bias_gradient(self, index):
        checks.between("index", index, 0, len(self.biases) - 1)
        return self.format.decode(self._computed().biases[index])

    def set_projection_weight(self, projection, row, column, value):
        self.set_weight(self.index(projection, row, column), value)

    def get_projection_weight(self, projection, row, column):
        return self.get_weight(self.index(projection, row, column))

    def _bias_index(self, projection, column):
        checks.between("projection", projection, 0, 2)
        checks.between("column", column, 0, self.projection_dim - 1)
        return projection * self.projection_dim + column

    def set_projection_bias(self, projection, column, value):
        self.set_bias(self._bias_index(projection, column), value)

    def get_projection_bias(self, projection, column):
        return self.get_bias(self._bias_index(projection, column))


def build(entry, given, need_weights):
    n, d, p = entry.size("seq_len"), entry.size("embed_dim"), entry.size("projection_dim")
    form = entry.word("format")
    entry.accept(given, form, n * d)
    rounding, overflow = arithmetic(entry)
    layer = SelfAttention1D(n, d, p, form, rounding, overflow, entry.make)
    layer.format.fill(layer, entry, [3, d, p], [3, p])
    for part in ("q", "k", "v", "kv"):
        entry.gives(layer.format.code, getattr(layer, part), part)
    entry.gives(layer.format.code, layer.out)
    return layer, (form, n * p)
