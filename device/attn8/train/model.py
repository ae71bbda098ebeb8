# A model that trains: layers, a loss and an optimizer that a config describes.
from .. import checks, memory
from . import arithmetic
from .schedule import ONE, LinearSchedule


class Model:
    # config: "numbers" (the format), "layers", "loss", "optimizer", and where wanted "clip_norm"
    # and "schedule". tensors: the parameters by name, of the format's words; they become the
    # model's own. A step allocates nothing (but for floats, see floating.py). built(model) is
    # called, where it is given, once there is all but the memory that layers compute in; without
    # tensors whoever gives it gives parameters their values. unload: an Unload, see there, which
    # forgets what makes layers as soon as they are.

    def __init__(self, config, tensors, built=None, unload=None):
        self.f = f = arithmetic.get(config["numbers"])
        if unload:
            unload.strip("choice")
        from .graph import build

        (self.layers, self.params, self._takes, self._sizes, self._asked, self._sums,
         self._heeding, self._tokens) = build(f, config, unload)
        memory.forget("attn8.train.graph")  # what makes layers is forgotten once there are
        del build
        self._again = self._fresh = [()] * len(self.layers)
        if f.rooms.recompute:
            from .recompute import recompute

            self._again, self._fresh = recompute(f.rooms, self.layers, self._takes, self._asked)
            memory.forget("attn8.train.recompute")
            del recompute
        self.input_size = self._sizes[0]
        self._values = None
        if self._tokens is not None:  # a sample's last word is its length
            if not hasattr(self.layers[0], "RAW"):
                self._values = f.zeros(self.input_size)
            self.input_size += 1
        self._results = [None] * len(self._sizes)
        self._lengths = [0] * len(self._sizes)
        self._grads = [None] * len(self._sizes)
        width = self._sizes[-1]
        labels = config.get("labels", 1)  # of a sample: one, or one of each token
        self.loss = loss_of(f, config["loss"], width, labels)
        self.output_size = width
        self.labels = labels if config["loss"] == "cross_entropy" else 0
        self.target_size = self.labels or width
        self.direct = config["optimizer"].get("direct", False)
        self.optimizer = optimizer_of(f, self.params, config)
        self.clip = None
        if "clip_norm" in config and not self.direct:
            from .clipping import ClipNorm

            self.clip = ClipNorm(f, self.params, config["clip_norm"])
        self.schedule = None
        if "schedule" in config:
            self.schedule = LinearSchedule(**config["schedule"])
        self.measured = None  # is told after each layer's pass the place of its result
        self.steps = 0
        if built:
            built(self)
        from .lifetimes import settle

        self.arena = settle(f, self.layers, self._takes, self._asked, self._sums, self._again,
                            self._fresh)
        memory.forget("attn8.train.lifetimes")
        for p in self.params if tensors is not None else ():
            if p.name not in tensors:
                raise ValueError("missing tensor " + p.name)
            p.value = f.accept(tensors.pop(p.name), p.size, p.name)

    def __call__(self, x):
        # x: a sample, `input_size` words; the last one is its length, where inputs have lengths
        if self._tokens is not None:
            n = self.input_size - 1
            self._heed(int(x[n]))
            if self._values is not None:
                self.f.spread(x, self._values, 1, n)
                x = self._values
        self._results[0] = x
        self._run(1, len(self.layers), self._fresh)
        return self._results[len(self.layers)]

    def _run(self, at, last, fresh=None):
        # The layers that give the results from `at` to `last`; fresh: what is made again before
        # each of all
        f, results = self.f, self._results
        while at <= last:
            if fresh:
                for i in fresh[at - 1]:
                    self._keep(-i)
            takes, layer = self._takes[at - 1], self.layers[at - 1]
            x = results[takes[0]]
            f.given = x if takes[0] else None
            results[at] = layer(x) if len(takes) == 1 else layer(x, results[takes[1]])
            if self.measured:
                self.measured(at)
            at += 1
        f.given = results[last]

    def _keep(self, at):
        # What that layer keeps for its backward pass, without its result
        takes, results = self._takes[at - 1], self._results
        if len(takes) == 1:
            self.layers[at - 1].again(results[takes[0]])
        else:
            self.layers[at - 1].again(results[takes[0]], results[takes[1]])

    def _heed(self, length):
        lengths = self._lengths
        lengths[0] = checks.between("length", length, 1, self._tokens)
        for place, gives in self._heeding:
            if lengths[place]:  # behind a pooling there is none
                lengths[gives] = self.layers[gives - 1].heed(lengths[place])

    def measure(self, y, target):
        # -> the loss of outputs y; target is an array, of labels where the loss is cross_entropy
        return self.loss(y, int(target[0]) if self.labels == 1 else target)

    def backward(self):
        # Adds the gradients of the loss that was measured last to those of its batch, or trains
        # with them at once
        if self.direct:
            self._require()
            self.optimizer.factor = self._factor()
        grads = self._grads
        at = len(self.layers)
        grads[at] = self.loss.grad
        while at:
            if self._again[at - 1]:
                f = self.f
                before = f.overflows
                for i in self._again[at - 1]:
                    if i > 0:
                        self._run(i, i)
                    else:
                        self._keep(-i)
                f.recount(before)  # what saturated was counted
            grad = grads[at]
            grads[at] = None
            at -= 1
            if grad is not None:
                takes = self._takes[at]
                self.f.given = grad
                found = self.layers[at].backward(grad)
                if len(takes) == 2:
                    self._gather(takes[0], found[0])
                    self._gather(takes[1], found[1])
                elif grads[takes[0]] is not None:
                    self._gather(takes[0], found)
                elif self._asked[takes[0]]:
                    grads[takes[0]] = found

    def _gather(self, place, grad):
        # What one of those that take a result says of its gradient
        if self._asked[place]:
            before = self._grads[place]
            if before is not None:
                out = self._sums[place] or grad
                self.f.add(before, grad, out, self._sizes[place])
                grad = out
            self._grads[place] = grad

    def accumulate(self, x, target):
        # One sample forwards and backwards; -> its loss
        loss = self.measure(self(x), target)
        self.backward()
        return loss

    def step(self):
        # Trains with what was accumulated
        self._require()
        if self.clip:
            self.clip()
        if not self.direct:
            self.optimizer.step(self._factor())
        self.steps += 1

    def _require(self):
        if not self.optimizer:
            raise ValueError("the training has ended")

    def _factor(self):
        return self.schedule(self.steps) if self.schedule else ONE


def loss_of(f, name, width, labels):
    if labels != 1:
        from .token_loss import TokenCrossEntropy

        checks.between("labels", labels, 1, width)
        if name != "cross_entropy" or width % labels:
            raise ValueError("labels: expected cross_entropy and a divisor of the %d values that "
                             "it takes, got %d" % (width, labels))
        return TokenCrossEntropy(f, labels, width // labels)
    if name == "cross_entropy":
        from .losses import CrossEntropy

        return CrossEntropy(f, width)
    if name == "mse":
        from .mse import MSE

        return MSE(f, width)
    raise ValueError("loss: expected cross_entropy or mse, got %s" % name)


def optimizer_of(f, params, config):
    options = dict(config["optimizer"])
    name = options.pop("type")
    if options.pop("direct", False):
        from .direct import Direct

        if name != "sgd" or len(options) > 1:
            raise ValueError("optimizer: expected sgd without momentum where it is direct")
        return Direct(f, params, options["lr"], config.get("clip_norm"))
    from . import optimizers

    if name == "sgd":
        return optimizers.SGD(f, params, **options)
    if name == "adam":
        return optimizers.Adam(f, params, **options)
    raise ValueError("optimizer: expected sgd or adam, got %s" % name)
