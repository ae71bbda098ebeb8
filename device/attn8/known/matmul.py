from array import array
from binascii import unhexlify as a2b

from . import numbers

ANSWERS = {
    36: a2b("bc212045c7f819c2090ac0067d22f7f611e4"),
    39: a2b("b4b91215400111c90a47d5f002f01d26d9ef"),
    48: a2b("aa10fb811c0ef6b71ea6dff393fa0c24ebfc"),
}  # inputs: two rows of nine outputs


def right(form):
    for inputs in ANSWERS:
        if answer(form, inputs) != ANSWERS[inputs]:
            return False
    return True


def answer(form, inputs):
    x = numbers("b", 2 * inputs, 37)
    bias = array("i", [500 * j - 2000 for j in range(9)])
    mult = array("h", [20000 + j for j in range(9)])
    shift = array("b", [23 + j % 3 for j in range(9)])
    operands = form.operands(numbers("b", 9 * inputs, 91), bias, mult, shift, inputs, 9)
    out = array("b", bytes(18))
    row = bytearray(*form.room(inputs))
    form.matmul(operands[0], 0, x, operands[1], operands[2], operands[3], out, row, 2, inputs, 9, 0)
    return bytes(out)
