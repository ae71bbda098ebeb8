# Attention cores: each turns q, k, v of one head, [seq_len, head_dim], into out of the same shape,
# all int8, or in the `format` that it says. A core is named by its module, which `get` imports when
# it is first asked for, and its class by the module: LocalGlobal in local_global. All share this:
#   core = Core(seq_len, head_dim, causal=, need_weights=, buffers=, **constants and options)
#   core(q, k, v, out) -> out, which shares no memory with the others
#   core.run(q, k, v, out) -> out: unchecked, for a layer's own buffers, and all that a core of a
#                  loaded model keeps of both; out may be q, of which it
#                  reads a row before it writes that row, and none after
#   core.buffers   room to work in, which may go to another core of the same shape as `buffers`;
#                  None where all that a core holds is its own
#   core.outputs   with need_weights the intermediates, [(name, typecode, array)], else empty
#   core.room(seq_len, head_dim, causal=, need_weights=, constants and options) -> the bytes of
#                  the arrays that a core makes for itself and in `buffers`; small ones left out
#   core.constants, core.options   the keywords that it takes, those that the host computes apart
#   core.tensors   and those that come as tensors, a share for each head: {name: (typecode, shape of
#                  a share)}, where None stands for any length and 0 for head_dim
#   core.needs     those options without which there is no core, where there are such
# Its module has
#   constants(head_dim, scale_q, scale_k, scale_v, scale_out, **options) -> its keywords, where the
#                  board makes them (see attn8.quantize)
# A streaming core also has step(q, k, v, out), one token [head_dim] each, and reset(). With
# shares_state it takes steps=False, where there will be none: its state is then in `buffers` too.
from .. import checks
from ..find import cls, module


def get(name):
    core = cls(module("cores", name), name)
    if not hasattr(core, "room"):
        raise ValueError("core: there is no core %s; see docs/mechanisms.md" % name)
    return core


def form(name):
    # -> the format of q, k, v and out
    return getattr(get(name), "format", "int8")


def expect(what, core, key, known):
    if key not in known:
        raise ValueError("%s: core %s takes %s" % (what, core, ", ".join(known) or "none"))


def operands(q, k, v, out, n, m, code="b"):
    # What a call checks. out lies apart: a kernel may read a row after others were written
    checks.values("q", q, n)
    checks.values("k", k, m)
    checks.values("v", v, m)
    checks.values("out", out, n, True, code)
    if code == "i":
        n *= 4
    if (checks.overlap(out, n, q, len(q)) or checks.overlap(out, n, k, m)
            or checks.overlap(out, n, v, m)):
        checks.refuse("operands")


def key_mask(x, keys, pairs, out, size):
    # What hides keys: a byte for each key or, where pairs is not 0, for each pair of query and key
    if not pairs or len(checks.values("key_padding_mask", x)) != pairs:
        checks.values("key_padding_mask", x, keys)
    checks.apart("out", out, size, "key_padding_mask", x, len(x))
