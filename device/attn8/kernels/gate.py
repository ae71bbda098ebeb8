# The derivative of a ReLU: x becomes 0 where its result, gate, is not above 0.
import micropython


@micropython.viper
def gate16(x: ptr16, gate: ptr16, n: int):
    while n:
        if (gate[0] ^ 32768) - 32768 <= 0:
            x[0] = 0
        x = ptr16(int(x) + 2)
        gate = ptr16(int(gate) + 2)
        n -= 1


@micropython.viper
def gate32(x: ptr32, gate: ptr32, n: int):
    sign = 1
    sign <<= 31
    while n:
        if (gate[0] ^ sign) - sign <= 0:
            x[0] = 0
        x = ptr32(int(x) + 4)
        gate = ptr32(int(gate) + 4)
        n -= 1


@micropython.native
def gate(x, gate, n):
    # Of floats
    for i in range(n):
        if gate[i] <= 0.0:
            x[i] = 0.0
