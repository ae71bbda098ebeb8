# A model that trains: layers, a loss and an optimizer that a config describes.
from .. import checks
from . import arithmetic


class Model:
    # config: "numbers" (the format), "layers", "loss", "optimizer", and where wanted "clip_norm"
    # and "schedule". tensors: the parameters by name, of the format's words; they become the
    # model's own. A step allocates nothing (but for floats, see floating.py). built(layers) is
    # called, where it is given, once there are layers and before the memory of what trains them.

    def __init__(self, config, tensors, built=None):
        # What makes layers is forgotten once there are
        from ..entry import Entry
        from ..find import module as find

        self.f = f = arithmetic.get(config["numbers"])
        self.layers = []
        width = checks.between("input", config["input"]["size"], 1, 1 << 15)
        self.input_size = width
        for fields in config["layers"]:
            entry = Entry(fields, tensors, [])
            module = find("train.layers", entry.type)
            if not hasattr(module, "build"):
                raise ValueError("%s: unknown layer type %s" % (entry.name, entry.type))
            layer, width = module.build(f, entry, width)
            entry.done()
            self.layers.append(layer)
        self.params = []
        for layer in self.layers:
            for p in layer.collect_params():
                if p.name not in tensors:
                    raise ValueError("missing tensor " + p.name)
                p.value = f.accept(tensors.pop(p.name), p.size, p.name)
                self.params.append(p)
        if built:
            del Entry, find, entry, module
            built(self.layers)
        self.loss = _loss(f, config["loss"], width)
        self.output_size = width
        self.labelled = config["loss"] == "cross_entropy"
        self.target_size = 1 if self.labelled else width
        self.optimizer = _optimizer(f, self.params, config["optimizer"])
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
        if not self.optimizer:
            raise ValueError("the training has ended")
        if self.clip:
            self.clip()
        self.optimizer.step(self.schedule(self.steps) if self.schedule else arithmetic.ONE)
        self.steps += 1

    def values(self, metadata):
        # What `update` writes into the file that the parameters came from
        return {p.name: p.value for p in self.params}

    def finish(self):
        # Gives back the memory of what only another step would need
        self.optimizer = self.clip = self.schedule = None
        for p in self.params:
            p.grad = None


def _loss(f, name, width):
    from . import losses

    if name == "cross_entropy":
        return losses.CrossEntropy(f, width)
    if name == "mse":
        return losses.MSE(f, width)
    raise ValueError("loss: expected cross_entropy or mse, got %s" % name)


def _optimizer(f, params, config):
    from . import optimizers

    options = dict(config)
    name = options.pop("type")
    if name == "sgd":
        return optimizers.SGD(f, params, **options)
    if name == "adam":
        return optimizers.Adam(f, params, **options)
    raise ValueError("optimizer: expected sgd or adam, got %s" % name)
