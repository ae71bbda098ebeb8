import uctypes

from ..signals import ITEMSIZES
from .trainer import Trainer

EVALUATE, TRAIN, SAVE, CALIBRATE, QUANTIZE, ACCUMULATE = range(6)


class Served(Trainer):
    # What the link serves of a model that trains (see link/server.py). A run takes samples from
    # `input`, words of the format: a command, their number, and each one's inputs and target. There
    # is room for a batch, or for as many as config["held"] says: ACCUMULATE adds to the gradients
    # of those before, TRAIN as well, and then makes a step. SAVE writes the parameters to the file
    # that the model came from; CALIBRATE, with which training ends, evaluates and measures;
    # QUANTIZE then writes them as int8 into the model file that config["int8"] names.

    def __init__(self, path, config, places, said, unloads):
        held = config.get("held", config["batch"])
        super().__init__(path, config, places, said, unloads)
        self.restore(path)
        model = self.model
        f = model.f
        code = f.typecode
        self._held = held
        stride = model.input_size + model.target_size
        self._words = f.zeros(2 + held * stride)
        size = ITEMSIZES[code] * len(self._words)
        self.input = uctypes.bytearray_at(uctypes.addressof(self._words), size)
        view = memoryview(self._words)
        self._samples = [view[i : i + model.input_size] for i in range(2, len(view), stride)]
        self._targets = [view[i - model.target_size : i]
                         for i in range(2 + stride, len(view) + 1, stride)]
        self.losses = f.zeros(held)
        self.predictions = f.zeros(held * model.output_size)
        self.state = f.zeros(2)  # steps and overflows
        self.outputs = [("losses", code, self.losses), ("predictions", code, self.predictions),
                        ("state", code, self.state)]
        for p in model.params:
            self.outputs.append((p.name, code, p.value))

    def __call__(self):
        model = self.model
        if not model.layers:
            raise ValueError("the model is quantized; load it again")
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
        self.state[1] = model.f.overflows
