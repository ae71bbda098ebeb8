# How a training ends: the ranges of what a model computes that has trained, and its int8 form.
import os

from .. import checks, forms, memory, signals


class Ranges:
    # What only another step would need goes when this is made, what only another forward pass would
    # when it ends. Every forward pass widens the ranges. A layer says in `measured` what is int8
    # later, if that is not its result.

    def __init__(self, model):
        model.optimizer = model.clip = model.schedule = None
        for p in model.params:
            p.grad = p.direct = None
        self._model = model
        self._measured = [layer.measured() if hasattr(layer, "measured")
                          else [(layer.name, layer.out)] for layer in model.layers]
        self._peaks = {name: 1 for each in self._measured for name, _ in each}
        self._peak = forms.choose("fixed_words").peak
        memory.forget("attn8.choice")
        model.measured = self.measure

    def measure(self, at):
        # What layer number `at` has just computed
        for name, x in self._measured[at - 1]:
            self._peaks[name] = max(self._peaks[name], self._peak(x, 0, len(x)))

    def end(self):
        # -> the largest word by the name of each; nothing is computed any more
        from .lifetimes import release

        model, layers = self._model, self._model.layers
        self._measured = model._results = model._grads = model._sums = model._takes = []
        release(layers, model.arena, signals.ITEMSIZES[model.f.typecode])
        memory.forget("attn8.train.lifetimes")
        del release
        model.arena = None
        model.layers = []
        for layer in layers:
            if hasattr(layer, "stop"):
                layer.stop()
        return self._peaks

    def fitted(self, trainer, path, best_path):
        # See fitting.py. best_path: of a file that has the parameters, so that they need not stay,
        # and takes the place of the one at `path` once the int8 model has them
        with open(best_path, "rb") as saved:
            clipped = self.quantize(trainer, saved)
        for name, why in clipped.items():
            print("fit: %s: %s" % (name, why))
        os.rename(best_path, path)

    def quantize(self, trainer, saved=None):
        # See Trainer.quantize. saved: an open file that has the parameters
        model, layers = self._model, self._model.layers
        peaks = self.end()
        if saved:
            for p in model.params:
                p.value = None

        def read(p, first, n):
            words = model.f.zeros(n)
            saved.seek(trainer.places[model.params.index(p)] + 4 * first)
            if saved.readinto(words) != 4 * n:
                raise ValueError("%s: what was learned is cut off; train again" % p.name)
            return words

        from ..unload import Unload

        unload = Unload()
        del Unload
        from .requantize import Requantizer

        requantizer = Requantizer(layers, model.f, peaks, trainer.int8, trainer.scale, read)
        try:
            requantizer.write()
        except OSError as error:
            checks.refuse("written", trainer.int8, error)
        finally:
            unload.forget("train", "quantize", "refuse")
            unload.all()
        return requantizer.clipped
