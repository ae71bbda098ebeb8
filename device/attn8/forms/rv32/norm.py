# Normalization of int16 rows in machine code.
import micropython


@micropython.viper
def norm(x: ptr16, acc: int, found: ptr32, weight: ptr32, bias: ptr32, out: ptr8, rows: int, n: int,
         centred: int, left: int, eps_high: int, eps_low: int, shift: int, most: int):
    pass
