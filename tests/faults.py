"""A stream that damages what passes through it, as serial lines and USB do; seeded."""

import random
import time

from attn8_host.link.frames import MAGIC

PACKET = 64  # bytes of a USB packet
LONGEST_STALL = 0.04  # seconds


class FaultyStream:
    """Wraps a pyserial object; each write and each read suffers one fault with chance `share`."""

    def __init__(self, stream, seed, share):
        self.stream = stream
        self.random = random.Random(seed)
        self.share = share
        self.faults = 0
        self.timeout = stream.timeout

    @property
    def in_waiting(self):
        return self.stream.in_waiting

    def write(self, data):
        self.stream.write(self._pass(data))

    def read(self, size):
        self.stream.timeout = self.timeout
        return self._pass(self.stream.read(size))

    def _pass(self, data):
        if not data or self.random.random() >= self.share:
            return data
        fault = self.random.choice((flip, drop, repeat, swap, insert, stall))
        unit = self.random.choice((1, PACKET))
        parts = [data[i : i + unit] for i in range(0, len(data), unit)]
        fault(self.random, parts)
        damaged = b"".join(parts)
        self.faults += damaged != data or fault is stall
        return damaged


def flip(rng, parts):
    place = rng.randrange(len(parts))
    part = bytearray(parts[place])
    for _ in range(rng.choice((1, 1, 2, 8))):
        part[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
    parts[place] = bytes(part)


def drop(rng, parts):
    del parts[rng.randrange(len(parts))]


def repeat(rng, parts):
    place = rng.randrange(len(parts))
    parts.insert(place, parts[place])


def swap(rng, parts):
    place, other = rng.randrange(len(parts)), rng.randrange(len(parts))
    parts[place], parts[other] = parts[other], parts[place]


def insert(rng, parts):
    garbage = rng.choice((b"", MAGIC, MAGIC[:1])) + rng.randbytes(rng.randrange(1, 12))
    parts.insert(rng.randrange(len(parts) + 1), garbage)


def stall(rng, parts):
    time.sleep(rng.random() * LONGEST_STALL)
