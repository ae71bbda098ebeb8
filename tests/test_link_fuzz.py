"""Mutated frames against both parsers: what they take is a frame that was sent, byte for byte.

`pytest tests/test_link_fuzz.py --mutations 1000000` makes the full run.
"""

import random
import struct
import subprocess
import sys
import zlib

from attn8_host.link.frames import MAGIC, MAX_REPLY, MAX_REQUEST, Decoder, Frame
from attn8_host.paths import DEVICE

BATCH = 20_000  # mutations in one stream
BETWEEN = 20  # of them before a frame that must be found
STOP = 0x7E

# Runs on MicroPython's unix port; a pipe has no gaps, whatever the computer's load
BOARD = f"""
import sys
sys.path.insert(0, {str(DEVICE)!r})
from attn8.link import frames
frames.Frames.gap_ms = 1000000
link = frames.Frames()
while True:
    kind = link.receive(1000000)
    if kind:
        print(kind, link.sequence, link.payload.hex())
    if kind == {STOP}:
        break
"""


def mutate(rng, frame):
    """One frame's bytes, damaged in one of the ways that a parser may trip over."""
    data = bytearray(frame.pack())
    way = rng.randrange(7)
    place = rng.randrange(len(data))
    if way == 0:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 1:
        del data[place : place + rng.randrange(1, 5)]
    elif way == 2:
        del data[place:]
    elif way == 3:
        data[place:place] = rng.randbytes(rng.randrange(1, 9))
    elif way == 4:
        data[place:place] = MAGIC[: rng.randrange(1, 3)]
    elif way == 5:  # another length, the rest as it was
        struct.pack_into("<H", data, 4, rng.choice((rng.randrange(1200), rng.randrange(65536))))
    else:  # a length that does not hold, under a CRC that does
        struct.pack_into("<H", data, 4, rng.randrange(65536))
        struct.pack_into("<I", data, len(data) - 4, zlib.crc32(data[2:-4]))
    return bytes(data)


def streams(mutations, seed, longest, padding):
    """Yields (stream, frames that must be found in it, frames that may be)."""
    rng = random.Random(seed)
    for done in range(0, mutations, BATCH):
        stream, must, may = bytearray(), [], set()
        for i in range(min(BATCH, mutations - done)):
            frame = Frame(
                rng.randrange(1, 0x7E), rng.randrange(256), rng.randbytes(rng.randrange(longest))
            )
            may.add(frame)
            stream += mutate(rng, frame)
            if i % BETWEEN == 0:
                # Zeros complete what is incomplete: this one has to be found
                must.append(Frame(0x7D, i // BETWEEN & 255, rng.randbytes(20)))
                stream += bytes(padding) + must[-1].pack()
        yield bytes(stream), must, may


def check(found, must, may):
    assert [frame for frame in found if frame in set(must)] == must
    assert set(found) <= may | set(must)


def test_the_hosts_parser(request):
    mutations = request.config.getoption("--mutations")
    for stream, must, may in streams(mutations, 1, 60, MAX_REPLY + 10):
        decoder, found = Decoder(), []
        for start in range(0, len(stream), 512):
            found += decoder.feed(stream[start : start + 512])
        check(found, must, may)
        assert len(found) > len(must)


def test_the_boards_parser(request, tmp_path):
    mutations = request.config.getoption("--mutations")
    script = tmp_path / "parse.py"
    script.write_text(BOARD)
    command = [sys.executable, "-c", "import micropython_unix as m; m.main()", str(script)]
    for stream, must, may in streams(mutations, 2, 40, MAX_REQUEST + 8):
        end = Frame(STOP, 0)
        data = stream + bytes(MAX_REQUEST + 8) + end.pack()
        done = subprocess.run(command, input=data, capture_output=True, timeout=300)
        assert not done.stderr
        found = []
        for line in done.stdout.decode().splitlines():
            kind, sequence, *payload = line.split()
            found.append(Frame(int(kind), int(sequence), bytes.fromhex("".join(payload))))
        assert found.pop() == end
        check(found, must, may)
        assert len(found) > len(must)


def test_the_mutations_are_damage():
    # A fuzz test that changes nothing proves nothing
    rng = random.Random(0)
    frames = [Frame(1, i, rng.randbytes(20)) for i in range(100)]
    assert sum(mutate(rng, frame) != frame.pack() for frame in frames) > 90
