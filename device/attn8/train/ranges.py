# The ranges of what a model that trains computes, for its int8 form.
from .. import forms


class Ranges:
    # Every forward pass widens them. A layer says in `measured` what is int8 later, if that is not
    # its result.

    def __init__(self, model):
        self._measured = [layer.measured() if hasattr(layer, "measured")
                          else [(layer.name, layer.out)] for layer in model.layers]
        self._peaks = {name: 1 for each in self._measured for name, _ in each}
        self._peak = forms.choose("fixed_words").peak
        model.measured = self.measure

    def measure(self, at):
        # What layer number `at` has just computed
        for name, x in self._measured[at - 1]:
            self._peaks[name] = max(self._peaks[name], self._peak(x, 0, len(x)))

    def end(self):
        # -> the largest word by the name of each; nothing is measured any more
        self._measured = []
        return self._peaks
