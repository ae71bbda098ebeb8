from .. import checks, cores, forms, memory, signals
from .dense import Dense, expect, kinds

TOKENWISE = True


class MultiHeadAttention:
    # Multi-head attention, [seq_len, embed_dim] of the core's format in, int8 or int16 out
    # (`output`):
    #   q, k, v = x @ w.T + b, each head attends on its own, out = heads @ w_out.T + b_out
    # Cross-attention takes k and v from another sequence, `memory` [key_len, embed_dim].
    #
    # tensors holds the parameters as arrays: q, k, v, out . weight, bias, mult, shift (see Linear),
    # under `name`.; they are taken out of the dict. constants and options (window ...) are those of
    # the core, as keywords; so are tensors `name`.core.KEYWORD [num_heads, ...], a share per head.
    # q, k, v and heads are kept as [num_heads, seq_len, head_dim] (key_len for k and v), so that a
    # head is contiguous.
    # With a streaming core, `step` takes the next token alone; made with step=True, the layer has
    # room for no more than that. With `lengths` the keys behind the length that `heed` was given
    # last are padding.

    def __init__(self, seq_len, embed_dim, num_heads, tensors, constants, core="exact",
                 causal=False, need_weights=False, name="attn", key_len=None, output="int8",
                 lengths=False, step=False, **options):
        checks.kind("name", name, str)
        checks.kind("tensors", tensors, dict)
        checks.kind("constants", constants, dict)
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        if embed_dim % num_heads:
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        self.name = name
        self._memory_name = name + ".memory"
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = head_dim = embed_dim // num_heads
        kind = cores.get(checks.kind("core", core, str))
        for key in options:
            cores.expect(name + ".options." + key, core, key, kind.options)
        for key in constants:
            cores.expect(name + ".constants." + key, core, key, kind.constants)
        if key_len is None:
            key_len = seq_len
        else:
            checks.between(name + ".key_len", key_len, 1, 1 << 15)
            options["key_len"] = key_len
        self.key_len = key_len
        self.format = form = getattr(kind, "format", "int8")
        self._code, self._unit = signals.CODES[form], signals.BYTES[form]
        linear_kind, _ = kinds(form)
        streaming = hasattr(kind, "step")
        if step and not causal:
            raise ValueError("%s.causal: steps need true, got false" % name)
        if step and not streaming:
            raise ValueError("%s.core: %s takes no steps; see docs/mechanisms.md" % (name, core))
        rows = seq_len
        if step:  # room for one token
            rows = key_len = 1
        size = rows * embed_dim
        options.update(constants)
        shares = _shares(tensors, name + ".core.", num_heads)
        for key in shares[0]:
            cores.expect(name + ".core." + key, core, key, kind.tensors)
        alone = need_weights or streaming or shares[0]  # each head with a core of its own
        own, shared = kind.room(seq_len, head_dim, causal=causal, need_weights=need_weights,
                                **options, **shares[0])
        # q, heads, out, then k, v and the projections' results
        room = 0
        if form == "int16":  # what the projections work in; out is as its results are
            from ..dense16 import block

            room = block(rows, embed_dim, embed_dim) * 10 * embed_dim
            room -= size * (2 - signals.BYTES[signals.known(name + ".output", output)])
        memory.require(name, self._unit * (3 * size + (2 * key_len + max(rows, key_len))
                                           * embed_dim)
                       + (num_heads * own if alone else own) + shared + room)
        self.q = signals.zeros(form, size)
        self._padding = None
        if lengths:
            if not hasattr(kind, "masks_keys") or key_len != seq_len:
                raise ValueError("%s.lengths: expected the core exact and no memory, got %s"
                                 % (name, core))
            self._padding = bytearray(seq_len)
            self._length = seq_len  # from where on that is not 0
        self.k = signals.zeros(form, key_len * embed_dim)
        self.v = signals.zeros(form, key_len * embed_dim)
        self.heads = signals.zeros(form, size)
        # [tokens, embed_dim], what a projection gives and what the heads are merged to
        merged = memoryview(signals.zeros(form, max(rows, key_len) * embed_dim))
        self._merged = merged[:size]
        linears = [linear_kind.take(tensors, name + "." + part, embed_dim, embed_dim, form)
                   for part in ("q", "k", "v")]
        self._projections = []
        for linear, target in zip(linears, (self.q, self.k, self.v)):
            if linear.wide:
                raise ValueError("missing tensor %s.mult" % linear.name)
            n = len(target)
            most = kind.most(head_dim) if form == "int16" and target is not self.v else None
            self._projections.append(
                (self._dense(linear, n // embed_dim, merged[:n], most), target))
        self.out = self._dense(
            linear_kind.take(tensors, name + ".out", embed_dim, embed_dim, output), rows)

        # Views are made here, once: a slice made in a forward pass would allocate
        views = [_views(t, num_heads) for t in (self.q, self.k, self.v, self.heads)]
        self.cores = []
        self._swap_axes = forms.choose("swap_axes").swap_axes
        self._calls = []
        for h in range(num_heads):
            # Heads run in turn: they can all use one core where it keeps nothing of its own
            if alone or not self.cores:
                options.update(shares[h])
                buffers = self.cores[0].buffers if self.cores else None
                self.cores.append(kind(seq_len, head_dim, causal=causal, need_weights=need_weights,
                                       buffers=buffers, **options))
            self._calls.append((self.cores[-1], [view[h] for view in views]))
        self._rows = rows
        # What the cores keep for whoever asked with need_weights: (name, typecode, array)
        self.outputs = [("%s.%d" % (part, h), code, values)
                        for h, core in enumerate(self.cores) for part, code, values in core.outputs]
        if streaming:
            self._token_out = self._dense(self.out.linear, 1)
            self._token_projections = [self._dense(linear, 1, memoryview(target)[:embed_dim])
                                       for linear, target in zip(linears, (self.q, self.k, self.v))]
            self._token_merged = merged[:embed_dim]
            token = [_views(dense.out, num_heads) for dense in self._token_projections]
            token.append(_views(self._token_merged, num_heads))
            self._steps = [(core, [view[h] for view in token])
                           for h, (core, _) in enumerate(self._calls)]

    def _dense(self, linear, rows, out=None, most=None):
        # In int16 one room does for all projections, which run in turn
        if self.format == "int8":
            return Dense(linear, rows, out)
        from ..dense16 import Dense16

        beside = self._projections[0][0] if self._projections else None
        return Dense16(linear, rows, out, most, beside)

    def __call__(self, x, memory=None, key_padding_mask=None):
        # key_padding_mask: key_len bytes, not 0 where a key is padding (with the exact core)
        unit = self._unit
        checks.values(self.name, x, self._rows * self.embed_dim, False, self._code)
        if memory is None:
            memory = x
        size = self.key_len * self.embed_dim
        checks.values(self._memory_name, memory, size, False, self._code)
        size *= unit
        # q is written before k and v are computed, and k before v
        checks.apart(self.name, memory, size, "q", self.q, unit * len(self.q))
        checks.apart(self.name, memory, size, "k", self.k, size)
        if self._padding is not None and self._length < self.seq_len:
            key_padding_mask = self._padding
        if key_padding_mask is not None:
            if not hasattr(self.cores[0], "key_len"):
                checks.refuse("padding")
            checks.int8("key_padding_mask", key_padding_mask, self.key_len)
        x_or_memory = x
        for dense, target in self._projections:
            self._swap_axes(dense.run(x_or_memory), target, dense.rows, self.num_heads,
                            self.head_dim * unit)
            x_or_memory = memory
        for core, (q, k, v, out) in self._calls:
            if key_padding_mask is None:
                core.run(q, k, v, out)
            else:
                core.run(q, k, v, out, key_padding_mask)
        self._swap_axes(self.heads, self._merged, self.num_heads, self.seq_len,
                        self.head_dim * unit)
        return self.out.run(self._merged)

    def heed(self, length):
        if self._padding is not None:
            checks.between("length", length, 1, self.seq_len)
            while self._length < length:
                self._padding[self._length] = 0
                self._length += 1
            while self._length > length:
                self._length -= 1
                self._padding[self._length] = 1
        return length

    def step(self, x):
        # The next token, [embed_dim] in and out; only with a streaming core
        checks.int8(self.name, x, self.embed_dim)
        for dense in self._token_projections:
            dense(x)
        for core, (q, k, v, out) in self._steps:
            core.step(q, k, v, out)
        return self._token_out.run(self._token_merged)

    def reset(self):
        # The next token is the first one of a new sequence
        for core in self.cores:
            core.reset()


def _views(values, n):
    # n equal parts
    size = len(values) // n
    view = memoryview(values)
    return [view[i * size : (i + 1) * size] for i in range(n)]


def _shares(tensors, prefix, num_heads):
    # Takes the tensors under `prefix` out of the dict: one dict of keywords for each head
    shares = [{} for _ in range(num_heads)]
    for key in [key for key in tensors if key.startswith(prefix)]:
        tensor = tensors.pop(key)
        if len(tensor) % num_heads:
            raise ValueError("%s: expected a share for each of %d heads, got %d values"
                             % (key, num_heads, len(tensor)))
        for share, view in zip(shares, _views(tensor, num_heads)):
            share[key[len(prefix) :]] = view
    return shares


def build(entry, given, need_weights):
    e, h = entry.size("embed_dim"), entry.size("num_heads")
    tokens = entry.rows("seq_len")
    s = entry.tokens if entry.step else tokens
    core = entry.word("core")
    form = getattr(cores.get(core), "format", "int8")
    code = signals.CODES[form]
    entry.accept(given, form, tokens * e)
    for part in ("q.", "k.", "v.", "out."):
        expect(entry, part, e, e)
    # What the file holds besides the parameters: a fixed sequence to attend to, and its padding
    sequence = mask = key_len = None
    if entry.has("memory"):
        key_len = entry.expect("memory", code, [None, e])[0]
        sequence = entry.tensor("memory", code, [key_len, e])
    if entry.has("key_padding_mask"):
        mask = entry.tensor("key_padding_mask", "b", [key_len or s])
    output = signals.output(entry)
    options = entry.keywords("options", {})
    if "normalise" in options:  # as files before had it
        options["normalize"] = options.pop("normalise")
    causal, lengths = entry.flag("causal"), entry.lengths(s)
    if sequence is not None or mask is not None:
        if lengths or entry.step:
            raise ValueError("%s: a memory or a key_padding_mask of the file goes with neither "
                             "lengths nor steps" % entry.name)
    if entry.step and core == "exact" and causal and not options.pop("precise", False):
        core, options = "decode", {"cache_len": s}  # the same row by row
    layer = MultiHeadAttention(s, e, h, entry.tensors, entry.keywords("constants"), core, causal,
                               need_weights, entry.name, key_len, output, lengths, entry.step,
                               **options)
    for part in ("q", "k", "v"):
        entry.gives(code, getattr(layer, part), part)
    for part, kept, values in layer.outputs:
        entry.gives(kept, values, part)
    entry.gives(code, layer.heads, "heads")
    entry.gives(signals.CODES[output], layer.out.out)
    gives = output, tokens * e
    if sequence is not None or mask is not None:
        return lambda x: layer(x, sequence, mask), gives
    return layer, gives
