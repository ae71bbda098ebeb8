"""Attention of one token to a cache of int16 on RV32IM: attn8/forms/viper/decode16.py says what it
computes."""

from ..mpy import Rv32Function
from ..rv32 import A0, A1, A2, A3, A4, A5, T0, T1, ZERO
from . import decode_rv32

SPARE = {"attend": decode_rv32.SPARE}


def put(a: Rv32Function) -> None:
    k, v, keys, values, slot, size, t, u = A0, A1, A2, A3, A4, A5, T0, T1
    a.arguments(k=k, v=v, keys=keys, values=values, slot=slot, size=size)
    a.mul(t, slot, size)
    a.slli(t, t, 1)
    a.add(keys, keys, t)
    a.andi(t, slot, 3)
    a.sub(slot, slot, t)
    a.mul(slot, slot, size)
    a.add(slot, slot, t)
    a.slli(slot, slot, 1)
    a.add(values, values, slot)
    a.label("put")
    a.lhu(t, 0, k)
    a.lhu(u, 0, v)
    a.addi(k, k, 2)
    a.addi(v, v, 2)
    a.sh(t, 0, keys)
    a.sh(u, 0, values)
    a.addi(keys, keys, 2)
    a.addi(values, values, 8)
    a.addi(size, size, -1)
    a.bne(size, ZERO, "put")


def attend(a: Rv32Function) -> None:
    decode_rv32.attend(a, True)
