# A model over what a sensor goes on giving; attn8_host.stream is the twin.
from array import array

from . import checks
from .feed import check, put
from .kernels.cache import copy

MASK = (1 << 29) - 1  # counts of samples go round, as larger ones would be made on the heap
NOTHING = -1  # in the history: below the threshold


class Stream:
    # Calls on_result(stream) with the model's results every `hop` samples, from the first whole
    # window on. A sample is a number of each channel; `stream(samples)` takes some and calls the
    # model as often as they make a result due. Where samples come by a timer's soft interrupt,
    # `put` takes them, and `poll` or `run` call the model meanwhile. Allocates nothing per sample.
    #
    # channels: how many a sample has; None: as many as the file has scales. result: what the last
    # layer gave, until the next call. label: its largest value's place, or None. overruns: results
    # that were due and never computed, as newer samples took the place of theirs.
    #
    # threshold: below this value of the last layer's integers the label is None. hysteresis: how
    # far another value must be above that of the label to take over, and that of the label below
    # the threshold to be given up. majority: the label is what more than half of so many results
    # said; until there is such it stays.

    def __init__(self, model, hop, on_result, channels=None, majority=1, threshold=None,
                 hysteresis=0):
        if not hasattr(model, "_channels"):
            checks.refuse("model", model)
        scales = model._channels
        if scales is None:
            raise ValueError("feed: the file has no input.channels, which attn8 quantize makes of "
                             "all but token ids: fill model.input")
        self._count = len(scales) // 4
        n = len(model.input)
        if channels is None and self._count == 1 and n > 1:
            raise ValueError("stream: the model's file has one scale for all of its input; say "
                             "channels=N, how many values a sample has")
        width = checks.between("channels", self._count if channels is None else channels, 1, n)
        if model._inner != 1 or n % width or width != self._count and self._count != 1:
            raise ValueError("stream: expected channels along the input's last axis, %d of them, "
                             "got %d" % (self._count, width))
        if not callable(on_result):
            raise TypeError("on_result: expected a function of the stream, got %s"
                            % type(on_result).__name__)
        self.hop = checks.between("hop", hop, 1, 1 << 20)
        self.window = n // width
        checks.between("majority", majority, 1, 255)
        if threshold is not None:
            checks.kind("threshold", threshold, int)
        checks.between("hysteresis", hysteresis, 0, (1 << 29) - 1)
        self._model = model
        self._on_result = on_result
        self._scales = scales
        self._width = width
        self._threshold = threshold
        self._hysteresis = hysteresis
        self._history = array("h", [NOTHING] * majority)
        # One sample more than a window and a hop, as one that is refused may be written in part
        self._size = (self.window + self.hop + 1) * width
        self._ring = bytearray(self._size)
        self._one = array("i", [0]), array("f", [0.0])
        self._flag = None
        self._written = self._at = 0  # samples, and the place of the next one: of `put` alone
        self.overruns = 0
        self.result = None
        self.reset()

    def reset(self):
        # The next sample is the first of a new window, for one where samples were missed
        self._due = self._written + self.window & MASK  # samples when the next result is due
        self._from = self._at  # where its window begins
        self.label = self._before = None  # `_before` the majority
        for i in range(len(self._history)):
            self._history[i] = NOTHING
        self._next = 0

    def __call__(self, samples):
        # Takes samples as `put` does, and calls the model whenever a result is due
        n = self._check(samples)
        start = 0
        while start < n:
            step = max(1, -self._behind()) * self._width
            if step > n - start:
                step = n - start
            self._take(samples, start, step)
            start += step
            while self.poll():
                pass

    def put(self, samples):
        # Takes one sample or several, one behind another: array('h'), array('i'), array('f') or a
        # list of numbers. Calls no model.
        self._take(samples, 0, self._check(samples))
        if self._flag and self._behind() >= 0:
            self._flag.set()

    def poll(self):
        # Calls the model if a result is due -> whether one was
        width = self._width
        n = self.window * width
        while True:
            behind = self._behind()
            if behind < 0:
                return False
            if behind <= self.hop:
                first = min(n, self._size - self._from)
                copy(self._ring, self._from, self._model.input, 0, first)
                copy(self._ring, 0, self._model.input, first, n - first)
                if self._behind() <= self.hop:  # nor was it overwritten meanwhile
                    break
            self.overruns += 1
            self._advance()
        self._advance()
        self.result = self._model()
        self._smooth(self.result)
        self._on_result(self)
        return True

    async def run(self):
        # For asyncio: results without end, as `put` makes them due
        from asyncio import ThreadSafeFlag, sleep

        self._flag = ThreadSafeFlag()
        while True:
            while self.poll():
                await sleep(0)
            await self._flag.wait()

    def _behind(self):
        # Samples that came since the next result was due; below 0 while there are too few
        half = (MASK >> 1) + 1
        return (self._written - self._due + half & MASK) - half

    def _advance(self):
        self._due = self._due + self.hop & MASK
        self._from = (self._from + self.hop * self._width) % self._size

    def _check(self, samples):
        # -> how many values they are
        check(samples)
        n = len(samples)
        if n % self._width:
            raise ValueError("stream: expected samples of %d values, got %d values"
                             % (self._width, n))
        return n

    def _take(self, samples, start, n):
        width = self._width
        while n:
            step = min(n, self._size - self._at)
            done = put(samples, start, self._scales, self._count, 1, self._ring, self._at, step,
                       self._one)
            whole = done // width
            self._at = (self._at + whole * width) % self._size
            self._written = self._written + whole & MASK
            if done < step:
                raise ValueError("stream: sample %d, channel %d: expected a finite number, got %s"
                                 % ((start + done) // width, done % width, samples[start + done]))
            start += step
            n -= step

    def _smooth(self, values):
        before = self._before
        best = 0
        for i in range(1, len(values)):
            if values[i] > values[best]:
                best = i
        if before is not None and values[best] - values[before] <= self._hysteresis:
            best = before
        least = self._threshold
        if least is not None:
            if best == before:
                least -= self._hysteresis
            if values[best] < least:
                best = NOTHING
        self._before = None if best == NOTHING else best
        history = self._history
        history[self._next] = best
        self._next = (self._next + 1) % len(history)
        count = 0
        for other in history:
            count += other == best
        if count > len(history) // 2:
            self.label = self._before
