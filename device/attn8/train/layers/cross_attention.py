from .attention import make

INPUTS = 2
HEEDS = 1


def build(f, entry, given, memory):
    # seq_len x embed_dim, and the memory [key_len, memory_dim]
    s, e = entry.size("seq_len"), entry.size("embed_dim")
    keys, width = entry.rows("key_len"), entry.size("memory_dim")
    entry.accept(("", given), "", s * e)
    entry.accept(("", memory), "", keys * width)
    return make(f, entry, s, e, entry.lengths(keys), keys, width), s * e
