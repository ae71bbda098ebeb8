# What a stream of int16 needs beside its normalization, in machine code.
import micropython


@micropython.viper
def add(a: ptr16, acc: int, b: ptr16, out: ptr16, n: int):
    pass


@micropython.viper
def widen(x: ptr8, acc: int, out: ptr16, n: int, mult: int, shift: int):
    pass


@micropython.viper
def narrow(x: ptr16, acc: int, out: ptr8, n: int, mult: int, shift: int):
    pass


@micropython.viper
def settle(x: ptr32, acc: int, out: ptr16, rows: int, columns: int, mult: ptr16, shift: ptr8):
    pass
