from ..lookup import build_lookup

TOKENWISE = True

# The table is made of one of these, with its parameters, which only training asks for
FUNCTIONS = ("abs celu clip elu hard_sigmoid hard_swish leaky_relu log_sigmoid mish quick_gelu selu"
             " softplus softsign square")
PARAMETERS = "alpha beta factor high low offset slope"


def build(entry, given, need_weights):
    if entry.word("function") not in FUNCTIONS.split():
        raise ValueError("%s.function: expected one of %s" % (entry.name, FUNCTIONS))
    for key in PARAMETERS.split():
        entry.take(key, None)
    return build_lookup(entry, given)
