# Runs a model, a list of layers that a safetensors file describes (see build.py).
from . import checks, signals


class Model:
    # Runs its layers in turn over one input, the array `input` of int8; one step of it stands for
    # `scale`, None where the file does not say. `outputs` lists what every layer computed last, as
    # (name, typecode, array), which is overwritten by the next call or, in an arena, by another
    # layer. A call allocates nothing.
    #
    # steps: (layer, places of its inputs) each; a place counts results, 0 being the input. parts:
    # (layer, how many of the steps are its parts) each, where some have several. ends: of each
    # step, how many of the outputs are made once it ran. arena: the block that layers share
    # (see arena.py), None where each has buffers of its own. code: the typecode of the input, "h"
    # of token ids. tokens: how many an input has at most, where it may have fewer. step: the layers
    # are made for one token at a time (see model.load). channels, inner: how `feed` makes the input
    # (see feed.feed), if the file says it. tokenizer, text: of a model of text, and (mult, shift)
    # of a Sampler.

    tokenizer = text = None

    def __init__(self, name, input, scale, steps, outputs, ends, arena=None, code="b", tokens=None,
                 step=False, channels=None, inner=1, parts=None):
        self.name = name
        self.scale = scale
        self.code = code
        self.input = input
        parts = parts or [(layer, 1) for layer, _ in steps]
        self.layers = [layer for layer, _ in parts]
        self.outputs = outputs
        self.ends = ends
        self.arena = arena
        self.tokens = tokens
        self._one = step
        self._steps = made = []  # (layer, place of its input, of another ...) each
        for layer, places in steps:
            if step and hasattr(layer, "run") and 0 not in places:
                # Where all inputs are results of layers, `build` has seen what they are
                layer = layer.run
            elif step:
                layer = getattr(layer, "step", layer)
            made.append((layer,) + places)
        self._channels = channels
        self._inner = inner
        self._feed = self._batch = None  # imported where they are asked for
        self._values = [self.input] + [None] * len(steps)
        # The layers that are told a length, and its places before and behind each
        if tokens:
            self._lengths = [tokens] + [None] * len(steps)
            self._heeding = []
            of = [0]  # of each value, the place of its length
            for layer, n in parts:
                place = of[steps[len(of) - 1][1][getattr(layer, "HEEDS", 0)]]
                of += [place] * n
                if hasattr(layer, "heed"):
                    self._heeding.append((layer, place, len(of) - 1))
                    of[-1] = len(of) - 1

    def __call__(self, x=None, length=None):
        # x: the input, or None where it was written to self.input. length: how many of its tokens
        # count, by default all; those behind are padding. Only where the config says "lengths".
        if x is not None and x is not self.input:
            checks.values("input", x, len(self.input), False, self.code)
            if self.arena:
                checks.apart("input", x, len(x) * signals.ITEMSIZES[self.code], "arena",
                             self.arena, len(self.arena))
        self.begin(x, length)
        return self.run(0, len(self._steps))

    def begin(self, x=None, length=None):
        # What `run` takes from now on
        self._values[0] = self.input if x is None else x
        if self.tokens:
            self._heed(self.tokens if length is None else length)
        elif length is not None:
            raise ValueError('length: the model takes none; its config says no "lengths"')

    def run(self, at, end):
        # The steps from `at` up to `end`, after those before; -> what the last of them gives
        values = self._values
        x = None
        while at < end:
            step = self._steps[at]
            n = len(step)
            if n == 2:
                x = step[0](values[step[1]])
            elif n == 3:
                x = step[0](values[step[1]], values[step[2]])
            else:  # a call with *arguments would allocate
                x = step[0](values[step[1]], values[step[2]], values[step[3]])
            at += 1
            values[at] = x
        return x

    def _heed(self, length):
        lengths = self._lengths
        lengths[0] = checks.between("length", length, 1, self.tokens)
        for layer, place, gives in self._heeding:
            if lengths[place] is None:  # behind a pooling there is none
                lengths[gives] = None
            else:
                lengths[gives] = layer.heed(lengths[place])

    def feed(self, values):
        # Writes what a sensor gives, array('f'), array('h'), array('i') or a list of numbers, to
        # self.input and returns that, for model(model.feed(values))
        if self._feed is None:
            from .feed import feed

            if self._channels is None:
                raise ValueError("feed: the file has no input.channels, which attn8 quantize makes "
                                 "of all but token ids: fill model.input")
            self._feed = feed
        return self._feed(values, self._channels, self._inner, self.input)

    def batch(self, x, out, lengths=None):
        # Several inputs, one behind another in x; the last layer's results go to `out`, an array of
        # their type, one behind another as well. lengths: a list or an array, one each. -> out
        if self._batch is None:
            from .batches import batch

            self._batch = batch
        return self._batch(self, x, out, lengths)

    def step(self, x=None):
        # The next token -> its results; of a model that was loaded with step=True
        if not self._one:
            raise ValueError("step: load the model with step=True")
        return self(x)

    def prefill(self, tokens):
        # The next tokens, array('h') of ids, as so many steps -> the results of the last one. Of
        # the others no more is computed than what comes after them needs.
        if not self._one or self.code != "h":
            raise ValueError("prefill: load a model of token ids with step=True")
        checks.values("tokens", tokens, None, False, "h")
        checks.between("tokens", len(tokens), 1, 1 << 15)
        end = len(self.layers)
        while end and not hasattr(self.layers[end - 1], "reset"):
            end -= 1
        for i in range(len(tokens) - 1):
            self.input[0] = tokens[i]
            self.begin()
            self.run(0, end)
        self.input[0] = tokens[len(tokens) - 1]
        return self()

    def reset(self):
        # The next token is the first one of a new sequence
        if not self._one:
            raise ValueError("reset: load the model with step=True")
        for layer in self.layers:
            if hasattr(layer, "reset"):
                layer.reset()
