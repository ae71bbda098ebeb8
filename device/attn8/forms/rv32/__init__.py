# Machine code for RV32IM, which every rv32imc chip has: ESP32-C3, C6 and others. Functions without
# a body are those of host/attn8_host/forms/kernels/FAMILY_rv32.py.
BACKEND = "turbo"
RANK = 1
