# An attention core that trains is the module of its name, with the class of the same, as in
# attn8.cores:
#   core = Core(f, name, sizes, operands, causal, recompute, **options and constants)
# for a format f and the parameters' prefix `name`. sizes: heads, queries, keys, key_dim, value_dim;
# operands: the words in which q, k and v come to lie, [tokens, heads * key_dim or value_dim].
#   core() -> context  [queries, heads * value_dim]; it stays until the next call
#   core.backward(dcontext, dq)  puts the gradient of q into dq, which may be dcontext, and leaves
#                      those of k and v in core.dk and core.dv, which may be where k and v were
#   core.READS         with "context", where its backward pass reads that: dcontext may else lie
#                      there
#   core.length        no query sees a key from this one on
#   core.options, core.constants   lists of the keywords that it takes: those of the int8 core, and
#                      those that only training has, if there are any
#   core.maker         the function of attn8.quantize that makes the constants of the int8 core


class Core:
    READS = ()
    value_widths = crosses = False  # as cores on the host say it
    maker = "exact_constants"

    def __init__(self, f, name, sizes, operands, causal):
        self.f = f
        self.name = name
        self.num_heads, self.seq_len, self.key_len, self.key_dim, self.value_dim = sizes
        self.q, self.k, self.v = operands
        self.causal = causal
        self.length = self.key_len
        self.context = f.room("kept", self.seq_len * self.num_heads * self.value_dim)
        f.phase(1, 1, 1, 1)  # for what a core computes in; gradients of k and v are needed until 3

    def collect_params(self):
        return []

    def learned(self, r):
        # What `maker` takes of the parameters
        return {}

    def requantize(self, r, fields, scales):
        # New constants for the int8 layer's `fields`, of the scales of q, k, v and heads -> all
        # that `maker` makes of them
        from ... import quantize

        keywords = dict(fields.get("options", {}))
        keywords.update(self.learned(r))
        made = getattr(quantize, self.maker)(
            self.key_dim, scales["q"], scales["k"], scales["v"], scales["heads"], **keywords)
        constants = fields["constants"]
        for key in constants:
            value = made[key]
            constants[key] = value if type(value) is int else list(value)
        return made
