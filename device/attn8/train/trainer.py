import uctypes

from .model import Model

EVALUATE, TRAIN, SAVE, CALIBRATE, QUANTIZE = range(5)


class Trainer:
    # What the link serves of a model that trains (see link/server.py). A run takes a batch from
    # `input`, words of the format: a command, the number of samples, and each sample's inputs and
    # target. SAVE writes the parameters to the file that the model came from; CALIBRATE evaluates
    # and measures, and QUANTIZE then writes them as int8 into the model file that config["int8"]
    # names.

    def __init__(self, path, config, tensors):
        self.path = path
        self.model = model = Model(config, tensors)
        self.name = config["name"]
        f = model.f
        code = f.typecode
        self.batch = batch = config["batch"]
        stride = model.input_size + model.target_size
        self._words = f.zeros(2 + batch * stride)
        self.input = uctypes.bytearray_at(uctypes.addressof(self._words), 4 * len(self._words))
        view = memoryview(self._words)
        self._samples = [view[i : i + model.input_size] for i in range(2, len(view), stride)]
        self._targets = [view[i - model.target_size : i]
                         for i in range(2 + stride, len(view) + 1, stride)]
        self._x = f.zeros(model.input_size)
        self._target = f.zeros(model.target_size)
        self.losses = f.zeros(batch)
        self.predictions = f.zeros(batch * model.output_size)
        self.state = f.zeros(2)  # steps and overflows
        self.outputs = [("losses", code, self.losses), ("predictions", code, self.predictions),
                        ("state", code, self.state)]
        if "int8" in config:
            from .requantize import Requantizer

            self.requantizer = Requantizer(model, config["int8"])
        for p in model.params:
            self.outputs.append((p.name, code, p.value))

    def __call__(self):
        model = self.model
        f = model.f
        command = self._words[0]
        if command == SAVE:
            model.save(self.path)
            return
        if command == QUANTIZE:
            self.requantizer.write()
            return
        size = model.output_size
        for i in range(min(int(self._words[1]), self.batch)):
            f.spread(self._samples[i], self._x, 1, model.input_size)
            f.spread(self._targets[i], self._target, 1, model.target_size)
            y = model(self._x)
            for j in range(size):
                self.predictions[i * size + j] = y[j]
            self.losses[i] = model.measure(y, self._target)
            if command == TRAIN:
                model.backward()
            elif command == CALIBRATE:
                self.requantizer.measure()
        if command == TRAIN:
            model.step()
        self.state[0] = model.steps
        self.state[1] = f.overflows
