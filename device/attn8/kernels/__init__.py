# The only viper code of the package. A kernel gets pointers and trusts them: whoever calls one
# has checked every length. It allocates nothing.
#
# Three rules make one source right on a chip (32-bit words) and on the unix port (64-bit words):
# - no intermediate leaves int32, or only where a comment says that the wrap is harmless;
# - operands are offset to 0..255 before they are multiplied, so that loads need no sign;
# - a signed word is read as `(p[i] ^ sign) - sign`, sign being 1 << 31 (shifted at run time, as a
#   literal beyond 2**30 is an object): the unix port's ptr32 loads are zero-extended, and this
#   extends the sign there and changes nothing on a chip.
#
# Only the first two locals of a viper function live in registers (parameters count first). So a
# kernel starts with its streaming pointer and its accumulator: `acc` is always passed as 0.
#
# Families. Some kernels come in two forms with the same signature and the same results to the bit;
# the functions below choose one when a layer or core is made. The viper form is the module of the
# family's name; the form in machine code, modules `turbo` and turbo_*, is what `attn8 deploy` adds
# for chips that can run it. What each function does stands at the viper one:
#   matmul     matmul(w, 0, x, constants, mult, shift, out, row, rows, inputs, outputs, wide), where
#              w is packed; `constants` are the packed bias, or what the form makes of it
#   attention  pack_keys, pack_values, scores, mask_keys, softmax, weighted_sum
#   linear     fill, accumulate, shrink, features, attend
#   sparse     list_spans, list_bits, pack_keys, pack_values, scores, softmax, weighted_sum; or, all
#              at once, pack(k, 0, v, packed, keys, head_dim) for the two that pack, and
#              attend(packed, 0, q, ...) for the three that follow
# A form states its own bounds; where a layer is not within them viper is taken.
#
# Machine code is taken for up to 511 inputs, once it has given known answers. Where it was asked
# for, module `simd` stands in for `turbo`: the same with vector instructions.
import os
import sys

# The modules in machine code, None where there is none to use, as far as looked for
_turbo = {"viper": None}


def backend():
    return "simd" if _proven("simd") else "turbo" if _proven("turbo") else "viper"


def _proven(name):
    # A module of kernels in machine code that gives known answers, or None; looked for once
    if name not in _turbo:
        _turbo[name] = None
        if name in ("simd", "turbo") or backend() != "viper":
            _turbo[name] = _tested(name)
    return _turbo[name]


def _tested(name):
    wrong = None
    try:
        module = _present(name)
        if module:
            from . import selftest

            wrong = selftest.fault(name, module)
            # Its 4 KB are not needed any more
            del sys.modules[selftest.__name__], globals()["selftest"]
    except ValueError as error:  # MicroPython's word on a file for another chip or version
        wrong = "cannot be loaded (%s)" % error
    if not wrong:
        return module
    if name == "simd":
        print("attn8: kernels/simd.mpy %s; turbo is used. Run attn8 deploy." % wrong)
    else:
        print("attn8: kernels/%s.mpy %s; slower viper is used. Run attn8 deploy." % (name, wrong))


def choose_matmul(linear):
    # -> (matmul, constants, bytes of `row`) for a layers.dense.Linear
    form = backend()
    turbo = _proven(form)
    if turbo:
        from . import turbo_operands

        if linear.inputs <= turbo_operands.MAX_INPUTS:
            if not linear.constants:
                linear.constants = turbo_operands.pack(form, turbo, linear)
            return turbo.matmul, linear.constants, turbo_operands.row(form, linear.inputs)
    return _module("matmul").matmul, linear.bias, linear.inputs


def choose_attention(keys, head_dim, viper_packing):
    # -> (module, room): room is the bytes of packed keys, packed values and row, None for the
    # usual. viper_packing: other viper kernels read these
    form = backend()
    turbo = _proven(form)
    if turbo and not viper_packing:
        from . import turbo_operands

        return turbo, turbo_operands.room(form, keys, head_dim)
    return _module("attention"), None


def choose_linear():
    return _proven("turbo_linear") or _module("linear")


def choose_sparse(seq_len, head_dim, score_mult=1, score_shift=25, out_shift=22):
    # -> the module; for one that does all at once the bytes of packed keys and values and of room,
    # else None; and how many percent of the pairs a mask may show: beyond them the dense kernels
    # are faster
    turbo = _proven("turbo_sparse")
    # 256 * a score fits into 32 bits, and the high word of one product is what is wanted
    if (turbo and head_dim <= 256 and score_shift <= 25 and score_mult >> (score_shift + 7) == 0
            and 18 <= out_shift <= 33):
        from . import turbo_operands

        mac16 = hasattr(_proven(backend()), "configid0")  # helps the dense kernels more
        room = turbo_operands.sparse_room(seq_len, head_dim, mac16)
        return turbo, room, 85 if mac16 else 94
    # Instructions a pair on Xtensa; on RISC-V they are to each other as here
    pair = 95 + 237 * (head_dim >> 3) + 99 * (head_dim & 7)
    return _module("sparse"), None, min(94, 100 * (220 + 26 * head_dim) // pair)


def choose_swap_axes():
    return (_proven(backend()) or _module("pointwise")).swap_axes


def _present(name):
    # Looked up, not tried: each name that an import looks for takes memory for good
    try:
        if name + ".mpy" in os.listdir(__path__):
            return _module(name)
    except OSError:  # frozen into a firmware
        pass
    return None


def _module(name):
    return __import__("attn8.kernels." + name, None, None, [name])
