# Carries out the request LOAD. The server imports this for it, and forgets it at once.
import gc
import json
import struct
from array import array

from .. import memory

SCRATCH = 3  # the first region that holds nothing of a model
WORKING = 0xFD  # the reply is still to come


def load(caller, payload):
    # caller: the server. payload: what to load (0: a model, 1: one that keeps all weights, 2: what
    # trains one) and its path. -> the parts of the reply: the length of a JSON text in region TEXT,
    # which holds until the input is written or the first layer runs, as the input does
    caller._model = None
    caller._regions[:SCRATCH] = [[], [], []]
    caller.digest = 0
    gc.collect()
    path = bytes(payload[1:]).decode()
    if payload[0] == 2:
        from ..train import load as load_training

        model = load_training(path)
    else:
        from ..model import load

        link = caller._frames
        model = load(path, payload[0] == 1, None, lambda: link.send(WORKING, link.sequence),
                     False, True)
        del load
        memory.forget("attn8.model")
    said = _text(model, getattr(model, "arena", None))
    parts = [output[2] for output in model.outputs]
    caller._crcs = array("i", bytes(4 * len(parts)))
    caller._regions[:SCRATCH] = [said], [model.input], parts + [caller._crcs]
    caller._model = model
    caller._at = 0
    return (struct.pack("<I", len(said)),)


def _text(model, arena):
    # What there is to read of a model (see client.load)
    # -> the JSON in memory. Where layers share an arena it lies there: the first one overwrites it
    size = 0
    for piece in _pieces(model, arena):
        size += len(piece.encode())
    found = memoryview(arena if arena and size <= len(arena) else bytearray(size))[:size]
    at = 0
    for piece in _pieces(model, arena):
        piece = piece.encode()
        found[at : at + len(piece)] = piece
        at += len(piece)
    return found


def _pieces(model, arena):
    # An output at a time: all of it at once would take as much again
    yield json.dumps({"name": model.name, "input": len(model.input),
                      "code": getattr(model, "code", "b")})[:-1]
    if arena:
        yield ', "ends": %s' % json.dumps(model.ends)
    comma = ', "outputs": ['
    for name, code, values in model.outputs:
        yield comma + json.dumps([name, code, len(values)])
        comma = ", "
    yield "]}" if model.outputs else ', "outputs": []}'
