# A model that trains, and the files that it comes from and goes to.
import os
from array import array

from .. import checks, memory
from ..signals import ITEMSIZES
from .model import Model

PIECE = 512  # bytes of a file that are copied at a time


class Trainer:
    # path: of the training file, config, places, said: what it says (see reading.py), but for the
    # parameters, which `restore` reads; unloads: has what forgets what only loads it, which goes.
    # inner: whether inputs are what the first layers of the int8 model have made, as they are. A
    # training ends with `calibrate`, runs of the model, and `quantize`.

    def __init__(self, path, config, places, said, unloads, inner=False):
        self.path = path
        self.name = config["name"]
        self.batch = config["batch"]
        if config["optimizer"].get("direct") and self.batch != 1:
            raise ValueError("batch: expected 1 with a direct optimizer, got %s" % self.batch)
        self.int8 = config.get("int8")
        # Of int8 samples, see fitting.py; what comes behind so many values is a length. code: the
        # typecode of samples
        self.mult = config["input"].get("mult")
        self.scale = self.mult / (1 << 24) if self.mult and not inner else None
        self.size = config["input"]["size"]
        self.code = "h" if config["input"].get("format") == "tokens" else "b"
        self.inner = inner
        self.ranges = None  # until training has ended

        def built(model):
            for p in model.params:
                if p.name not in places:
                    raise ValueError("missing tensor " + p.name)
                if (places[p.name][0], places[p.name][2]) != (model.f.typecode, p.size):
                    model.f.accept(array(places[p.name][0]), p.size, p.name)
            self.places = [places.pop(p.name)[1] for p in model.params]
            for key in places:
                raise ValueError("unused tensor %s; take it out of the file" % key)
            places.clear()
            if said:
                from .matching import check

                check(model.layers, said, self.int8)
                memory.forget("attn8.train.matching")
                said.clear()
            config.clear()
            unloads.pop().made()

        self.model = Model(config, None, built, unloads[0])

    def restore(self, path):
        # The parameters, of a file that this one or `save` has written, the largest first
        f, params = self.model.f, self.model.params
        memory.require(path, sum([p.size for p in params if p.value is None])
                       * ITEMSIZES[f.typecode])
        with open(path, "rb") as file:
            for at, p in sorted(zip(self.places, params), key=lambda each: -each[1].size):
                if p.value is None:
                    p.value = f.zeros(p.size)
                file.seek(at)
                if file.readinto(p.value) < p.size * ITEMSIZES[f.typecode]:
                    checks.refuse("cut", path)
                f.accept(p.value, p.size, p.name)

    def save(self, path):
        # The parameters, in a file that is there whole or as it was: all tensors of this one
        places = self.places
        temporary = path + ".new"
        try:
            with open(self.path, "rb") as file, open(temporary, "wb") as new:
                left = min(places)
                while left:
                    left -= (new.write(file.read(min(PIECE, left)))
                             or checks.refuse("cut", self.path))
                for _, p in sorted(zip(places, self.model.params)):
                    new.write(p.value)
        except OSError as error:
            checks.refuse("written", path, error)
        os.rename(temporary, path)

    def calibrate(self):
        # Training ends: from now on each run measures the model
        if not self.ranges:
            from .ranges import Ranges

            memory.forget("attn8.train.ranges")
            self.ranges = Ranges(self.model)

    def quantize(self):
        # Writes the parameters as int8 into the model's file -> by name, why layers are clipped
        if not self.ranges:
            raise ValueError("nothing was measured")
        return self.ranges.quantize(self)
