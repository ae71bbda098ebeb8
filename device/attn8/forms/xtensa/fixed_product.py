# Products of training's fixed point in machine code. Mantissas are packed as int16, rows of them
# filled up to words.
import micropython


@micropython.viper
def pack(x: ptr32, acc: int, m: ptr32, exponents: ptr8, offset: int, rows: int, inner: int,
         row_stride: int, step: int):
    pass


@micropython.viper
def matmul(a: ptr32, acc: int, b: ptr32, a_exponents: ptr8, b_exponents: ptr8, out: ptr32,
           offset: int, cols: int, shape: ptr32, count: ptr32):
    pass
