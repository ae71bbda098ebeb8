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
# Families. Some kernels come in several forms with the same signature and the same results to the
# bit; the functions below choose one when a layer or core is made. The generic form is the module
# of the family's name, for all sizes; the host's `attn8 deploy --model` adds modules specialised by
# size (attn8_host.kernels). What each function does stands at the generic one:
#   matmul     matmul(w, 0, x, constants, mult, shift, out, row, rows, inputs, outputs, wide), where
#              w is packed; `constants` are the packed bias, or what the form makes of it
#   attention  pack_keys, pack_values, scores, mask_keys, softmax, weighted_sum
#   linear     fill, accumulate, shrink, features, attend
#   sparse     list_spans, list_bits, pack_keys, pack_values, scores, softmax, weighted_sum; or, all
#              at once, pack(k, 0, v, packed, keys, head_dim) for the two that pack, and
#              attend(packed, 0, q, ...) for the three that follow
# A form states its own bounds; where a layer is not within them the next form is taken.
#
# Before both comes the form in machine code, modules `turbo` and turbo_*, which `attn8 deploy` adds
# for chips that can run it: it is taken for up to 511 inputs, once it has given known answers.
# Where it was asked for, module `simd` stands in for `turbo`: the same with vector instructions.
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
        module = _specialised(name)
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
        # What was deployed with turbo has no modules specialised by size to fall back on
        print("attn8: kernels/%s.mpy %s; slower viper is used. Run attn8 deploy, or for kernels of "
              "a model's sizes ATTN8_BACKEND=viper attn8 deploy --model FILE." % (name, wrong))


def choose_matmul(linear, rows):
    # -> (matmul, constants, bytes of `row`) for a layers.dense.Linear applied to `rows` rows at a
    # time
    form = backend()
    turbo = _proven(form)
    if turbo:
        from . import turbo_operands

        if linear.inputs <= turbo_operands.MAX_INPUTS:
            if not linear.constants:
                linear.constants = turbo_operands.pack(form, turbo, linear)
            return turbo.matmul, linear.constants, turbo_operands.row(form, linear.inputs)
    if rows >= 3 and linear.outputs >= 2 and not linear.wide:
        module = _specialised("matmul_%d" % linear.inputs)
        if module:
            from . import lanes

            constants = lanes.constants(linear)
            if constants:
                return module.matmul, constants, linear.inputs
    module = _specialised("matvec_%d" % linear.inputs)
    if module:
        from . import lanes

        return module.matmul, lanes.row_constants(linear), linear.inputs
    return _module("matmul").matmul, linear.bias, linear.inputs


def choose_attention(rows, keys, head_dim, out_shift, largest, viper_packing):
    # -> (module, softmax, its table, room) for queries of which `rows` or more come at a time and
    # logarithms t of up to `largest`; room is the bytes of packed keys, packed values and row, None
    # for the usual. viper_packing: other viper kernels read these
    from .. import tables

    form = backend()
    turbo = _proven(form)
    if turbo and not viper_packing:
        from . import turbo_operands

        return turbo, turbo.softmax, tables.EXP2, turbo_operands.room(form, keys, head_dim)
    generic = _module("attention")
    module = _attention_of_size(rows, keys, head_dim, out_shift)
    if not module:
        return generic, generic.softmax, tables.EXP2, None
    table = _table(module, largest)
    if not table:
        return module, generic.softmax, tables.EXP2, None
    return module, module.softmax, table, None


def _table(module, largest):
    # What a specialised softmax looks up, or None
    from .. import tables

    if not module.OCTAVES:
        return tables.EXP2
    return tables.octaves() if largest < 4096 else None


def _attention_of_size(rows, keys, head_dim, out_shift):
    if rows >= 3 and 22 <= out_shift <= 36:  # results below 2**15 until they are clamped
        return _specialised("attention_%d_%d" % (keys, head_dim))


def choose_linear(features, head_dim):
    module = _proven("turbo_linear")
    if not module and features == head_dim:
        module = _specialised("linear_%d" % head_dim)
    return module or _module("linear")


def choose_sparse(seq_len, head_dim, score_mult=1, score_shift=25, out_shift=22, largest=None):
    # -> the module; for one that does all at once the bytes of packed keys and values and of room,
    # else None; the table of its softmax; and how many percent of the pairs a mask may show: beyond
    # them the dense kernels are faster. Logarithms t are up to `largest`; None: a table is not made
    from .. import tables

    turbo = _proven("turbo_sparse")
    # 256 * a score fits into 32 bits, and the high word of one product is what is wanted
    if (turbo and head_dim <= 256 and score_shift <= 25 and score_mult >> (score_shift + 7) == 0
            and 18 <= out_shift <= 33):
        from . import turbo_operands

        mac16 = hasattr(_proven(backend()), "configid0")  # helps the dense kernels more
        room = turbo_operands.sparse_room(seq_len, head_dim, mac16)
        return turbo, room, tables.EXP2, 85 if mac16 else 94
    dense = _attention_of_size(seq_len, seq_len, head_dim, out_shift)
    module = 22 <= out_shift <= 36 and _specialised("sparse_%d_%d" % (seq_len, head_dim))
    table = module and (largest is None or _table(module, largest))
    if table:  # beyond 82 dense kernels of that size are faster, generic ones never
        return module, (seq_len * module.ROW, 4 * seq_len), table, 82 if dense else 100
    # Instructions a pair on Xtensa; on RISC-V they are to each other as here
    pair = 95 + 237 * (head_dim >> 3) + 99 * (head_dim & 7)
    dense = 60 + 14 * head_dim if dense else 220 + 26 * head_dim
    return _module("sparse"), None, tables.EXP2, min(94, 100 * dense // pair)


def choose_swap_axes():
    return (_proven(backend()) or _module("pointwise")).swap_axes


def _specialised(name):
    # Looked up, not tried: each name that an import looks for takes memory for good
    try:
        if name + ".mpy" in os.listdir(__path__):
            return _module(name)
    except OSError:  # frozen into a firmware
        pass
    return None


def _module(name):
    return __import__("attn8.kernels." + name, None, None, [name])
