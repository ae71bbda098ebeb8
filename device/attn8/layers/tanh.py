from ..lookup import build_lookup

TOKENWISE = True


def build(entry, given, need_weights):
    return build_lookup(entry, given)
