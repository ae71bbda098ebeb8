from ..lookup import build_lookup

TOKENWISE = True


def build(entry, given, need_weights):
    if entry.word("approximate") not in ("none", "tanh"):
        raise ValueError("%s.approximate: expected none or tanh" % entry.name)
    return build_lookup(entry, given)
