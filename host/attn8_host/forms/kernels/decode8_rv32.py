"""Attention of one token to a cache of int8 on RV32IM: attn8/forms/viper/decode8.py says what it
computes."""

from ..mpy import Rv32Function
from . import decode_rv32

SPARE = {"attend": decode_rv32.SPARE}


def attend(a: Rv32Function) -> None:
    decode_rv32.attend(a, False)
