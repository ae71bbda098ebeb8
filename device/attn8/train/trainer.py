import uctypes

from .. import memory, signals
from .model import Model

EVALUATE, TRAIN, SAVE, CALIBRATE, QUANTIZE, ACCUMULATE = range(6)


class Trainer:
    # What the link serves of a model that trains (see link/server.py). A run takes samples from
    # `input`, words of the format: a command, their number, and each one's inputs and target. There
    # is room for a batch, or for as many as config["held"] says: ACCUMULATE adds to the gradients
    # of those before, TRAIN as well, and then makes a step. SAVE writes the parameters to the file
    # that the model came from; CALIBRATE, with which training ends, evaluates and measures;
    # QUANTIZE then writes them as int8 into the model file that config["int8"] names.

    # path, config: of the training file; unloads: has what forgets what only loads it, which goes.
    # inner: whether inputs have been through layers of the int8 model.

    def __init__(self, path, config, unloads, inner=False):
        from ..configuration import known
        from ..safetensors import read

        known(config, ("batch", "clip_norm", "held", "input", "int8", "labels", "layers", "loss",
                       "name", "numbers", "optimizer", "recompute", "schedule"))
        self.path = path
        self.name = config["name"]
        self.batch = config["batch"]
        self._held = held = config.get("held", self.batch)
        if config["optimizer"].get("direct") and self.batch != 1:
            raise ValueError("batch: expected 1 with a direct optimizer, got %s" % self.batch)
        tensors = read(path)
        del known, read
        self.int8 = config.get("int8")
        # Of int8 samples, see fitting.py; what comes behind so many values is a length. code: the
        # typecode of samples
        self.mult = config["input"].get("mult")
        self._scale = self.mult / (1 << 24) if self.mult and not inner else None
        self.size = config["input"]["size"]
        self.code = "h" if config["input"].get("format") == "tokens" else "b"

        def built(layers):
            for key in tensors:
                raise ValueError("unused tensor %s; take it out of the file" % key)
            if self.int8:
                from .matching import check

                check(layers, self.int8)
                memory.forget("attn8.train.matching")
            memory.take(config, "layers")
            unloads.pop().made()

        self.model = model = Model(config, tensors, built)
        f = model.f
        code = f.typecode
        stride = model.input_size + model.target_size
        self._words = f.zeros(2 + held * stride)
        size = signals.ITEMSIZES[code] * len(self._words)
        self.input = uctypes.bytearray_at(uctypes.addressof(self._words), size)
        view = memoryview(self._words)
        self._samples = [view[i : i + model.input_size] for i in range(2, len(view), stride)]
        self._targets = [view[i - model.target_size : i]
                         for i in range(2 + stride, len(view) + 1, stride)]
        self.sample = self._samples[0], self._targets[0]
        self.losses = f.zeros(held)
        self.predictions = f.zeros(held * model.output_size)
        self.state = f.zeros(2)  # steps and overflows
        self.outputs = [("losses", code, self.losses), ("predictions", code, self.predictions),
                        ("state", code, self.state)]
        self.ranges = None  # until training has ended
        for p in model.params:
            self.outputs.append((p.name, code, p.value))

    def __call__(self):
        model = self.model
        if not model.layers:
            raise ValueError("the model is quantized; load it again")
        f = model.f
        command = self._words[0]
        if command == SAVE:
            self.save(self.path)
            return
        if command == QUANTIZE:
            self.quantize()
            return
        if command == CALIBRATE:
            self.calibrate()
        size = model.output_size
        for i in range(min(int(self._words[1]), self._held)):
            y = model(self._samples[i])
            for j in range(size):
                self.predictions[i * size + j] = y[j]
            self.losses[i] = model.measure(y, self._targets[i])
            if command == TRAIN or command == ACCUMULATE:
                model.backward()
        if command == TRAIN:
            model.step()
        self.state[0] = model.steps
        self.state[1] = f.overflows

    def save(self, path):
        # The parameters, in a file that is there whole or as it was
        from .update import update

        update(self.path, self.model.values, path)

    def calibrate(self):
        # Training ends: from now on each run measures the model
        if not self.ranges:
            self.model.finish()
            from .ranges import Ranges

            self.ranges = Ranges(self.model)

    def quantize(self):
        # Writes the parameters as int8 into the model's file -> the layers that are clipped there
        if not self.ranges:
            raise ValueError("nothing was measured")
        layers = self.model.layers
        self.model.release()
        from ..unload import Unload

        unload = Unload()
        del Unload
        from .requantize import Requantizer

        requantizer = Requantizer(layers, self.model.f, self.ranges.end(), self.int8, self._scale)
        requantizer.write()
        unload.forget("train", "quantize")
        unload.all()
        return requantizer.clipped
