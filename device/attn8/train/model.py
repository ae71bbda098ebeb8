# A model that trains: layers, a loss and an optimiser that a config describes.
import json

from .. import checks
from . import formats


class Model:
    # config: "numbers" (the format), "layers", "loss", "optimiser", and where wanted "clip_norm"
    # and "schedule". tensors: the parameters by name, of the format's words; they become the
    # model's own. A step allocates nothing (but for floats, see floating.py).

    def __init__(self, config, tensors):
        self.config = config
        self.f = f = formats.get(config["numbers"])
        self.layers = []
        width = checks.between("input", config["input"]["size"], 1, 1 << 15)
        self.input_size = width
        for entry in config["layers"]:
            if entry["type"] not in _builders:
                raise ValueError("unknown layer type " + entry["type"])
            layer, takes, gives = _builders[entry["type"]](f, entry, width)
            if takes != width:
                raise ValueError(
                    "%s: takes %d values, the layer before gives %d" % (entry["name"], takes, width)
                )
            width = gives
            self.layers.append(layer)
        self.params = []
        for layer in self.layers:
            for p in layer.collect_params():
                if p.name not in tensors:
                    raise ValueError("missing tensor " + p.name)
                p.value = f.accept(None, tensors.pop(p.name), p.size, p.name)
                self.params.append(p)
        self.loss = _loss(f, config["loss"], width)
        self.output_size = width
        self.labelled = config["loss"] == "cross_entropy"
        self.target_size = 1 if self.labelled else width
        self.optimiser = _optimiser(f, self.params, config["optimiser"])
        self.clip = None
        if "clip_norm" in config:
            from .clipping import ClipNorm

            self.clip = ClipNorm(f, self.params, config["clip_norm"])
        self.schedule = None
        if "schedule" in config:
            from .schedule import LinearSchedule

            self.schedule = LinearSchedule(**config["schedule"])
        self.steps = 0

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def measure(self, y, target):
        # -> the loss of outputs y; target is an array, of one label where the loss is cross_entropy
        return self.loss(y, int(target[0]) if self.labelled else target)

    def backward(self):
        # Adds the gradients of the loss that was measured last to those of its batch
        grad = self.loss.grad
        n = len(self.layers)
        while n:
            n -= 1
            grad = self.layers[n].backward(grad)

    def accumulate(self, x, target):
        # One sample forwards and backwards; -> its loss
        loss = self.measure(self(x), target)
        self.backward()
        return loss

    def step(self):
        # Trains with what was accumulated
        if self.clip:
            self.clip()
        self.optimiser.step(self.schedule(self.steps) if self.schedule else formats.ONE)
        self.steps += 1

    def save(self, path):
        # As a file that `load` takes; a power cut leaves the old file or the new one
        from .. import safetensors

        config = json.dumps(self.config)
        tensors = [(p.name, p.shape, self.f.typecode, p.value) for p in self.params]
        safetensors.write(path, {"config": config}, tensors)


def _dense(f, entry, width):
    from .dense import Dense

    rows = entry.get("rows", 1)
    n, m = entry["in_features"], entry["out_features"]
    return Dense(f, entry["name"], n, m, rows), rows * n, rows * m


def _relu(f, entry, width):
    from .activation import ReLU

    return ReLU(f, entry["name"], width), width, width


def _attention(f, entry, width):
    from .attention import MultiHeadAttention

    s, e = entry["seq_len"], entry["embed_dim"]
    layer = MultiHeadAttention(f, entry["name"], s, e, entry["num_heads"],
                               entry.get("recompute", False))
    return layer, s * e, s * e


def _global_avg_pool(f, entry, width):
    from .pooling import GlobalAvgPool

    s, e = entry["seq_len"], entry["embed_dim"]
    return GlobalAvgPool(f, entry["name"], s, e), s * e, e


def _selfattention1d(f, entry, width):
    from .selfattention1d import SelfAttention1D

    s, e, p = entry["seq_len"], entry["embed_dim"], entry["proj_dim"]
    return SelfAttention1D(f, entry["name"], s, e, p), s * e, s * p


def _conv1d(f, entry, width):
    from .conv1d import Conv1D

    layer = Conv1D(f, entry["name"], entry["length"], entry["kernel_size"], entry["stride"],
                   entry["filters"])
    return layer, layer.length, layer.positions * layer.filters


def _front(f, entry, width):
    from .front import Front

    layer = Front(f, entry["name"], entry["model"], entry["count"], entry["mult"])
    return layer, width, len(layer.out)


_builders = {
    "front": _front,
    "conv1d": _conv1d,
    "selfattention1d": _selfattention1d,
    "dense": _dense,
    "relu": _relu,
    "attention": _attention,
    "global_avg_pool": _global_avg_pool,
}


def _loss(f, name, width):
    from . import losses

    if name == "cross_entropy":
        return losses.CrossEntropy(f, width)
    if name == "mse":
        return losses.MSE(f, width)
    raise ValueError("loss: expected cross_entropy or mse, got %s" % name)


def _optimiser(f, params, config):
    from . import optimisers

    options = dict(config)
    name = options.pop("type")
    if name == "sgd":
        return optimisers.SGD(f, params, **options)
    if name == "adam":
        return optimisers.Adam(f, params, **options)
    raise ValueError("optimiser: expected sgd or adam, got %s" % name)
