from ..pointwise import norm

TOKENWISE = True


def build(f, entry, given):
    return norm(f, entry, given, True)
