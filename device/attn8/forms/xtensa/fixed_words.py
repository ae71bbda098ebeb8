# What training computes word by word in machine code.
import micropython


@micropython.viper
def peak(x: ptr32, acc: int, n: int) -> int:
    pass


@micropython.viper
def spread(x: ptr32, out: ptr32, rows: int, columns: int):
    pass


@micropython.viper
def column_sums(x: ptr32, acc: int, out: ptr32, rows: int, columns: int, limit: int,
                count: ptr32):
    pass


@micropython.viper
def add(x: ptr32, y: ptr32, out: ptr32, n: int, negate: int, limit: int, count: ptr32):
    pass


@micropython.viper
def scale(x: ptr32, acc: int, out: ptr32, n: int, mult: int, shift: int):
    pass


@micropython.viper
def relu(x: ptr32, gate: ptr32, out: ptr32, n: int):
    pass


@micropython.viper
def sgd(value: ptr32, acc: int, grad: ptr32, velocity: ptr32, n: int, momentum: int,
        momentum_shift: int, lr: int, lr_shift: int, limit: int, count: ptr32):
    pass


@micropython.viper
def squares(x: ptr32, acc: int, n: int, shift: int) -> int:
    pass
