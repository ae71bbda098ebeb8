from ...find import module

TOKENWISE = True
# The functions, by the modules of train/functions that have their classes
FAMILIES = (("pieces", "abs clip hard_sigmoid hard_swish leaky_relu"),
            ("exponential", "celu elu selu"),
            ("logistic", "log_sigmoid mish quick_gelu softplus"),
            ("rational", "softsign square"))


def build(f, entry, given):
    name = entry.word("function")
    for family, names in FAMILIES:
        if name in names.split():
            kind = module("train.functions", family).KINDS[name]
            parameters = {key: entry.integer(key) for key in kind.KEYS}
            return kind(f, entry.name, given, parameters), given
    raise ValueError("%s.function: expected one of %s, got %s"
                     % (entry.name, " ".join([names for _, names in FAMILIES]), name))
