# Rotary positions, and what a cache of int8 keeps of int16, in machine code.
import micropython


@micropython.viper
def rotate(q: ptr16, acc: int, k: ptr16, turns: ptr32, sines: ptr16, position: int, heads: int,
           kv_heads: int, head_dim: int, most: int):
    pass


@micropython.viper
def put(x: ptr16, acc: int, centre: ptr16, cache: ptr8, steps: ptr8, slot: int, heads: int,
        head_dim: int, most: int):
    pass
