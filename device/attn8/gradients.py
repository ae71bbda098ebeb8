# The backward pass of SelfAttention1D in its own format (see formats), as published:
#   dq = deltas @ kv.T where q > 0, dkv = q.T @ deltas, dk = v @ dkv.T where k > 0, dv = k @ dkv,
#   each weight's gradient x.T @ d, each bias's the sum of d over the tokens
from . import checks


class Gradients:
    # Of a layer's weights and biases, in their layout. Only they take memory: dq, dk and dv come
    # one after another in the place of the layer's results, and dkv in that of kv.

    def __init__(self, layer):
        f = layer.format
        n, d, p = layer.seq_len, layer.embed_dim, layer.projection_dim
        self.layer = layer
        self.weights = f.zeros(layer.total_weights)
        self.biases = f.zeros(layer.total_biases)
        weights, biases = memoryview(self.weights), memoryview(self.biases)
        self._parts = [(weights[i * d * p : (i + 1) * d * p], biases[i * p : (i + 1) * p])
                       for i in range(3)]
        self._zero = f.zeros(1)
        self._one = f.zeros(1)
        self._one[0] = f.encode("one", 1)
        self._rate = f.zeros(1)
        self._transposed = f.plan((n, p, p), (p, 1), (1, p), 0, (p, 1))
        self._weights_plan = f.plan((d, n, p), (1, d), (p, 1), 0, (p, 1))
        self._biases_plan = f.plan((1, n, p), (0, 0), (p, 1), 0, (p, 1))
        self._updates = [(values, found, f.plan((1, 1, len(found)), (0, 0), (0, 1), 1, (0, 1)))
                         for values, found in ((layer.weights, self.weights),
                                               (layer.biases, self.biases))]
        from .kernels import gate

        self._gate = gate.gate if f.frac == 0 else gate.gate16 if f.code == "h" else gate.gate32

    def compute(self, deltas):
        # deltas [seq_len, projection_dim]: those of what the last call gave
        layer = self.layer
        f, d, kv = layer.format, layer.out, layer.kv
        size = layer.output_size
        checks.values("deltas", deltas, size, False, f.code)
        checks.apart("deltas", deltas, size * f.itemsize, "out", d, size * f.itemsize)
        f.matmul(deltas, f.acc, kv, self._zero, d, self._transposed)
        self._gate(d, layer.q, size)
        self._add(0, d)
        f.matmul(layer.q, f.acc, deltas, self._zero, kv, layer.kv_plan)
        f.matmul(layer.v, f.acc, kv, self._zero, d, self._transposed)
        self._gate(d, layer.k, size)
        self._add(1, d)
        f.matmul(layer.k, f.acc, kv, self._zero, d, layer.out_plan)
        self._add(2, d)

    def _add(self, projection, d):
        f = self.layer.format
        weights, biases = self._parts[projection]
        f.matmul(self.layer.x, f.acc, d, self._zero, weights, self._weights_plan)
        f.matmul(self._one, f.acc, d, self._zero, biases, self._biases_plan)

    def update(self, rate):
        # Adds rate * gradient to each weight and bias
        f = self.layer.format
        self._rate[0] = f.encode("rate", rate)
        for values, found, plan in self._updates:
            f.matmul(self._rate, f.acc, found, values, values, plan)
