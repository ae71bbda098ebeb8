# Says what there is to read of a model (see client.load). The server forgets this module then.
import json


def text(model, arena):
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
