# Text from a model of token ids that was loaded with step=True.
from array import array

from . import checks
from .sampling import Sampler


def generate(model, prompt="", tokens=None, temperature=0, top_p=1, seed=1):
    # Yields the prompt and what the model goes on with, piece by piece as it makes them: so many
    # tokens at most, until a text ends or there is no more room. temperature 0: the likeliest
    # token each time.
    if not hasattr(model, "tokenizer"):
        checks.refuse("model", model)
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ValueError("the model has no tokenizer: import it with --tokenizer, or with "
                         "tokenizer.json in its folder")
    decode = tokenizer.decode
    ids = tokenizer.encode(checks.kind("prompt", prompt, str))
    left = b""  # bytes of a character that is not whole
    before = tokenizer.begin
    for token in ids:
        left += decode(before, token)
        before = token
    for token, _ in steps(model, ids, tokens, temperature, top_p, seed):
        piece, left = whole(left)
        if piece:
            yield piece
        left += decode(before, token)
        before = token
    piece, left = whole(left)
    if piece or left:
        yield piece + ("\ufffd" if left else "")


def steps(model, ids, tokens=None, temperature=0, top_p=1, seed=1):
    # Yields (token, the logits that it was chosen from) behind a list of ids
    room = 1 << 15
    for layer in model.layers:
        if hasattr(layer, "reset"):
            room = min(room, layer.seq_len)
    if len(ids) > room:
        raise ValueError("the prompt has %d tokens, the model has room for %d" % (len(ids), room))
    if tokens is None:
        tokens = room
    checks.between("tokens", tokens, 1, 1 << 15)
    tokenizer = model.tokenizer
    # Says as well who began last
    ends = tokenizer.ends = (tokenizer.begin, tokenizer.end)
    model.reset()
    logits = model.prefill(array("h", ids))
    mult, shift = model.text
    sampler = Sampler(len(logits), mult, shift, temperature, top_p, seed)
    left = min(tokens, room + 1 - len(ids))
    while True:
        token = sampler(logits)
        if token in ends:
            return
        yield token, logits
        if tokenizer.ends is not ends:
            raise ValueError("generate: a newer one writes with this model; end one before the "
                             "next, or load the model twice")
        left -= 1
        if not left:
            return
        model.input[0] = token
        logits = model.step()


def whole(data):
    # -> the characters of some bytes, U+FFFD for what is none, and what is behind them of one that
    # may go on: as CPython decodes them, of whose errors MicroPython takes some for characters
    text = ""
    done = start = left = low = high = 0
    for at in range(len(data)):
        byte = data[at]
        if left and low <= byte <= high:
            left -= 1
            low = 0x80
            high = 0xBF
            continue
        if left:
            text += str(data[done:start], "utf-8") + "\ufffd"
            done = at
        start = at
        left = 0
        if byte > 0x7F:
            left = 1 + (byte > 0xDF) + (byte > 0xEF)
            low = 0xA0 if byte == 0xE0 else 0x90 if byte == 0xF0 else 0x80
            high = 0x9F if byte == 0xED else 0x8F if byte == 0xF4 else 0xBF
            if not 0xC2 <= byte <= 0xF4:
                high = 0  # nothing goes on behind it
    at = start if left else len(data)
    return text + str(data[done:at], "utf-8"), data[at:]
