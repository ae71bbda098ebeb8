from ..lookup import build_lookup

TOKENWISE = True

# The table is made of one of these, with its parameters
FUNCTIONS = ("abs celu clip elu hard_sigmoid hard_swish leaky_relu log_sigmoid mish quick_gelu selu"
             " softplus softsign square")


def build(entry, given, need_weights):
    if entry.word("function") not in FUNCTIONS.split():
        raise ValueError("%s.function: expected one of %s" % (entry.name, FUNCTIONS))
    return build_lookup(entry, given)
