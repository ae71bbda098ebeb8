# The rate of a UART board's line, by the clock divider of the REPL's UART: machine.UART refuses a
# port that the REPL owns. Scaling what is there needs no knowledge of the clock behind it.
import struct
import time

from machine import mem32

TRIAL_MS = 1000  # in which the host's first frame at a new rate must come
LOST_MS = 4000  # after a damaged frame at a new rate, in which a whole one must come


def aim(given, payload):
    # payload: address of the UART's clock divider, the line's rate and the one that it gets once
    # the reply is sent -> the Rate, `given` or, where that is None, a new one
    register, rate, new_rate = struct.unpack("<III", payload)
    found = given or Rate(register)
    found.aim(rate, new_rate)
    return found


class Rate:
    def __init__(self, register):
        # register: the address of CLKDIV, as the chips' manuals name it: the divider's whole part
        # in bits 0..19, sixteenths in bits 20..23
        self._register = register
        self._first = mem32[register]
        self._until = None  # when the new rate counts as a failure, in ticks; None: it works

    def aim(self, rate, new_rate):
        # rate: what `register` gave at the start
        word = self._first
        sixteenths = (word & 0xFFFFF) << 4 | word >> 20 & 15
        scaled = (sixteenths * rate + new_rate // 2) // new_rate
        if not 16 <= scaled < 1 << 24:
            raise ValueError("no clock divider gives %d baud" % new_rate)
        self._new = word & 0xFF000000 | scaled >> 4 | (scaled & 15) << 20
        self._drain_us = 2000000000 // rate  # 200 bytes: more than the UART holds

    def change(self):
        time.sleep_us(self._drain_us)
        mem32[self._register] = self._new
        self._until = time.ticks_add(time.ticks_ms(), TRIAL_MS)

    def restore(self):
        mem32[self._register] = self._first
        self._until = None

    def heard(self, whole):
        # A frame came, whole or damaged
        if whole:
            self._until = None
        elif self._until is None and mem32[self._register] != self._first:
            self._until = time.ticks_add(time.ticks_ms(), LOST_MS)

    def left(self, timeout):
        # -> ms to wait for a frame, at most `timeout`; a new rate that has failed is undone
        if self._until is None:
            return timeout
        left = time.ticks_diff(self._until, time.ticks_ms())
        if left > 0:
            return min(left, timeout)
        self.restore()
        return timeout
