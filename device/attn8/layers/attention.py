import attn8.cores as cores

from .. import checks, forms, memory, signals
from ..kernels import objects
from .dense import expect, kinds

TOKENWISE = True
PLACES = 7  # in an arena, at least, of a layer whose parts share memory
TILE = 1024  # results of a projection that are made before they go to their heads


class MultiHeadAttention:
    # Multi-head attention, [seq_len, embed_dim] of the core's format in, int8 or int16 out
    # (`output`):
    #   q, k, v = x @ w.T + b, each head attends on its own, out = heads @ w_out.T + b_out
    # Cross-attention takes k and v from another sequence, `memory` [key_len, memory_dim]; heads may
    # be of other widths than embed_dim / num_heads, key_dim of q and k, value_dim of v.
    #
    # tensors holds the parameters as arrays: q, k, v, out . weight, bias, mult, shift (see Linear),
    # under `name`.; they are taken out of the dict. constants and options (window ...) are those of
    # the core, as keywords; so are tensors `name`.core.KEYWORD [num_heads, ...], a share per head.
    # q and k are kept as [num_heads, seq_len, key_dim], v and heads as [num_heads, seq_len,
    # value_dim] (key_len for k and v), so that a head is contiguous.
    # With a streaming core, `step` takes the next token alone; made with step=True, the layer has
    # room for no more than that. In an arena there are no steps otherwise: heads share one state.
    # With `lengths` the keys behind the length that `heed` was given last are padding. shared: a
    # dict in which layers of the same shape find each other's room to work in. parts: whether what
    # `project`, `attend` and `join` need shares memory: then each is read before the next one runs,
    # and heads take the place of q.

    def __init__(self, seq_len, embed_dim, num_heads, tensors, constants, core="exact",
                 causal=False, need_weights=False, name="attn", key_len=None, output="int8",
                 lengths=False, step=False, key_dim=None, value_dim=None, memory_dim=None,
                 make=signals.make, shared=None, parts=False, **options):
        checks.kind("name", name, str)
        if not hasattr(tensors, "settle"):  # those of a file
            checks.kind("tensors", tensors, dict)
        checks.kind("constants", constants, dict)
        checks.between(name + ".seq_len", seq_len, 1, 1 << 15)
        checks.between(name + ".embed_dim", embed_dim, 1, 1 << 15)
        checks.between(name + ".num_heads", num_heads, 1, embed_dim)
        self.name = name
        self._memory_name = name + ".memory"
        self.seq_len = seq_len
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        key_dim, value_dim = head_dims(name, embed_dim, num_heads, key_dim, value_dim)
        if memory_dim is None:
            memory_dim = embed_dim
        checks.between(name + ".memory_dim", memory_dim, 1, 1 << 15)
        self.key_dim = key_dim
        self.value_dim = value_dim
        self.memory_dim = memory_dim
        kind = cores.get(checks.kind("core", core, str))
        for key in options:
            cores.expect(name + ".options" + "." + key, core, key, kind.options)
        if value_dim != key_dim:
            if not hasattr(kind, "value_widths"):
                raise ValueError("%s.value_dim: core %s takes heads of one width, %d, got %d; exact"
                                 " takes two" % (name, core, key_dim, value_dim))
            options["value_dim"] = value_dim
        for key in constants:
            cores.expect(name + ".constants" + "." + key, core, key, kind.constants)
        if key_len is None:
            key_len = seq_len
        else:
            checks.between(name + ".key_len", key_len, 1, 1 << 15)
            options["key_len"] = key_len
        self.key_len = key_len
        self._kind = kind
        self.memory = None  # what a call takes keys and values from by default, if not from x
        self._mask = None
        self._head = 0
        self.format = form = cores.form(core)
        self._code, self._unit = code, unit = signals.CODES[form], signals.BYTES[form]
        linear_kind, dense_kind = kinds(form)
        if form == "int16" and (num_heads * key_dim, memory_dim) != (embed_dim, embed_dim):
            raise ValueError("%s: core %s takes heads of embed_dim / num_heads and a memory of "
                             "embed_dim %d, got %d and %d"
                             % (name, core, embed_dim, key_dim, memory_dim))
        streaming = hasattr(kind, "step")
        if step and not causal:
            raise ValueError("%s.causal: steps need true, got false" % name)
        if step and not streaming:
            raise ValueError("%s.core: %s takes no steps; see docs/mechanisms.md" % (name, core))
        rows = seq_len
        if step:  # room for one token
            rows = key_len = 1
        keys, values = num_heads * key_dim, num_heads * value_dim
        # The longest of what projections give and of the heads, merged
        room = max(rows, key_len) * max(keys, values)
        options.update(constants)
        steps = streaming and (step or make is signals.make)
        if hasattr(kind, "shares_state"):
            options["steps"] = steps
        shares = _shares(tensors, name + ".core.", num_heads)
        for key in shares[0]:
            cores.expect(name + ".core" + "." + key, core, key, kind.tensors)
        alone = need_weights or steps or shares[0]  # each head with a core of its own
        own, working = kind.room(seq_len, key_dim, causal=causal, need_weights=need_weights,
                                **options, **shares[0])
        # What projections give and the heads are merged to lies in the second half of the results,
        # where these are wider: row by row, they are written where nothing is read any more. In
        # parts it has places of its own, of which that of projections holds a tile of their rows.
        size = rows * embed_dim
        out_unit = signals.BYTES[signals.known(name + ".output", output)]
        apart = key_len > rows or not keys == values == embed_dim
        behind = 0
        if out_unit <= unit and not apart:
            apart = True
            if not (parts or step or make is signals.make):  # as files before have it
                behind = (embed_dim * out_unit + 15 & ~15) // unit
        # Cores work where the results come to lie, if these lie in an arena; in parts apart
        within = (behind + size) * unit if behind else size * out_unit
        needs = num_heads * own if alone else own
        if make is signals.make:  # q, heads, k, v and out
            needs += unit * ((rows + key_len) * (keys + values) + room * apart) + within
        tile = max(rows, key_len)
        if parts:
            n = max(1, TILE // max(keys, values))
            if n < tile:
                tile = n if n < 3 else n - n % 3  # as machine code has rows
            n = tile * max(keys, values)
            # What x and the tile leave, or packed keys and values of a head and six rows of scores
            within = max(unit * (size + n), self.key_len * (key_dim + value_dim + 36) + 256)
        free = 0 if make is signals.make or hasattr(kind, "own_memory") else within
        memory.require(name, needs + max(0, working - free))
        # From which part to which: q, k and v
        of_q = [False, 0, 2 if keys == values else 1] if parts else []
        of_k = [False, 0, 1] if parts else []
        self.q = make(code, rows * keys, *of_q)
        self._padding = None
        if lengths:
            if not hasattr(kind, "masks_keys"):
                raise ValueError("%s.lengths: expected a core that masks keys, got %s"
                                 % (name, core))
            self._padding = bytearray(self.key_len)
            self._length = self.key_len  # from where on that is not 0
        self.k = make(code, key_len * keys, *of_k)
        self.v = make(code, key_len * values, *of_k)
        self.heads = self.q
        if not parts:
            self.heads = make(code, rows * values, True)
        elif keys != values:
            self.heads = make(code, rows * values, False, 1)
        taken = make
        projected = results = out = None
        if parts:
            projected = memoryview(make(code, n, False, 0, 0))
            results = make("b", within, False, 1, 1)
            merged = memoryview(make(code, rows * values, False, 2))
            taken = lambda code, n: make(code, n, False, 2)  # noqa: E731
        elif apart:
            merged = memoryview((signals.make if behind else make)(code, room))
        linear = linear_kind.take(tensors, name + ".out", values, embed_dim, output)
        if behind:
            results = memoryview(make(code, behind + size))
            out = results[:size]
        self.out = dense_kind(linear, rows, out, taken)
        if not (parts or behind):
            results = self.out.out
            if not apart:
                merged = objects.part(memoryview(b""), results, size, size)
        projected = projected or merged
        self._merged = merged[: rows * values]
        self._out_bytes = 0 if parts else size * out_unit  # which are apart from all else
        self._x = memoryview(b"")  # of a tile's rows
        self._result = memoryview(b"")
        # Views are made here, once: a slice made in a forward pass would allocate
        views = [_views(t, num_heads) for t in (self.q, self.k, self.v, self.heads)]
        self.cores = []
        self._swap_axes = forms.choose("swap_axes").swap_axes
        self._calls = []
        shared = {} if shared is None or need_weights else shared
        within = objects.part(memoryview(b""), results, 0, free) if free else None
        place = (core, seq_len, key_len, key_dim, value_dim, causal,
                 str([options.get(key) for key in kind.options]))
        for h in range(num_heads):
            # Heads run in turn: they can all use one core where it keeps nothing of its own
            if alone or not self.cores:
                options.update(shares[h])
                buffers = self.cores[0].buffers if self.cores else within or shared.get(place)
                self.cores.append(kind(seq_len, key_dim, causal=causal, need_weights=need_weights,
                                       buffers=buffers, **options))
                if not within:
                    shared[place] = self.cores[0].buffers
            self._calls.append((self.cores[-1], [view[h] for view in views]))
        # Weights come after what makes a core was there, as that of a mask is forgotten again
        linears = [linear_kind.take(tensors, name + "." + part, inputs, outputs, form)
                   for part, inputs, outputs in (("q", embed_dim, keys), ("k", memory_dim, keys),
                                                 ("v", memory_dim, values))]
        self._projections = []
        for linear, target in zip(linears, (self.q, self.k, self.v)):
            if linear.wide:
                raise ValueError("missing tensor %s.mult" % linear.name)
            n = min(tile, len(target) // linear.outputs)
            most = [make, kind.most(key_dim)] if form == "int16" and target is not self.v else []
            dense = dense_kind(linear, n, projected[: n * linear.outputs], *most)
            self._projections.append((dense, target))
        self._rows = rows
        # What the cores keep for whoever asked with need_weights: (name, typecode, array)
        self.outputs = [("%s.%d" % (part, h), code, values)
                        for h, core in enumerate(self.cores) for part, code, values in core.outputs]
        self._steps = None
        if steps:
            self._token_out = dense_kind(self.out.linear)
            self._token_projections = [dense_kind(linear, 1, memoryview(target)[: linear.outputs])
                                       for linear, target in zip(linears, (self.q, self.k, self.v))]
            self._token_merged = merged[:values]
            token = [_views(dense.out, num_heads) for dense in self._token_projections]
            token.append(_views(self._token_merged, num_heads))
            self._steps = [(core, [view[h] for view in token])
                           for h, (core, _) in enumerate(self._calls)]

    @classmethod
    def from_floats(cls, seq_len, embed_dim, num_heads, floats, x, memory=None, **options):
        # For experiments. floats: arrays or lists, "q.weight" [num_heads * key_dim, embed_dim],
        # "q.bias" and so on of q, k, v, out, and "core.gate" or "core.features", a share per head.
        # x [..., seq_len, embed_dim] and memory: examples, for the ranges; see floats.py
        from ..floats import attention

        return attention(cls, seq_len, embed_dim, num_heads, floats, x, memory, **options)

    def __call__(self, x, memory=None, key_padding_mask=None):
        # key_padding_mask: key_len bytes, not 0 where a key is padding; with the softmax cores also
        # seq_len * key_len, where that query does not see that key, or so many for each head
        self.project(x, memory)
        self.attend(None, key_padding_mask)
        return self.join()

    def parts(self):
        # In turn what a call does, and how many of what it gives come after each
        return (self.project, len(self.outputs) + 2), (self.attend, 1), (self.join, 0)

    def project(self, x, memory=None):
        # -> q; k and v are there as well
        unit = self._unit
        checks.values(self.name, x, self._rows * self.embed_dim, False, self._code)
        if memory is None:
            memory = x if self.memory is None else self.memory
        size = self.key_len * self.memory_dim
        checks.values(self._memory_name, memory, size, False, self._code)
        size *= unit
        # q is written before k and v are computed, k before v, and v a tile after another
        checks.apart(self.name, memory, size, "q", self.q, unit * len(self.q))
        checks.apart(self.name, memory, size, "k", self.k, unit * len(self.k))
        checks.apart(self.name, memory, size, "v", self.v, unit * len(self.v))
        if self._out_bytes:
            checks.apart(self.name, memory, size, "out", self.out.out, self._out_bytes)
        heads = self.num_heads
        for dense, target in self._projections:
            p = dense.linear
            if p.stored:
                p.stored.fetch()
            inputs = p.inputs * unit
            width = p.outputs // heads * unit
            rows = len(target) // p.outputs
            n = len(dense.out) // p.outputs
            first = 0
            while first < rows:
                n = min(n, rows - first)
                tile = objects.part(self._x, x, first * inputs, n * inputs)
                dense.product(tile, dense.out, n)
                start = first * width
                rest = objects.part(self._result, target, start, unit * len(target) - start)
                self._swap_axes(dense.out, rest, n, heads, width, rows)
                first += n
            x = memory
        return self.q

    def attend(self, q=None, key_padding_mask=None):
        # -> the heads
        head = self._head
        if key_padding_mask is not None:
            head = self._check_mask(key_padding_mask)
        elif self._padding is not None and self._length < self.key_len:
            key_padding_mask = self._padding
        else:
            key_padding_mask = self._mask
        at = 0
        for core, (q, k, v, out) in self._calls:
            if key_padding_mask is None:
                core.run(q, k, v, out)
            else:
                core.run(q, k, v, out, key_padding_mask, at)
                at += head
        return self.heads

    def join(self, heads=None):
        # -> the results
        self._swap_axes(self.heads, self._merged, self.num_heads, self.seq_len,
                        self.value_dim * self._unit, self.num_heads)
        return self.out.run(self._merged)

    def _check_mask(self, mask):
        # -> from one head's part of the mask to the next
        if self._padding is not None or not hasattr(self._kind, "masks_keys"):
            checks.refuse("padding", self._padding is not None)
        head = 0
        size = self.key_len
        if hasattr(self._kind, "masks_pairs"):
            pairs = self.seq_len * size
            n = len(checks.values("key_padding_mask", mask))
            if n == self.num_heads * pairs:
                head = pairs
            if head or n == pairs:
                size = n
        checks.values("key_padding_mask", mask, size)
        checks.apart("out", self.out.out, self._out_bytes, "key_padding_mask", mask, size)
        return head

    def set_mask(self, mask):
        # What hides keys in all calls from now on that bring no mask of their own: bytes as theirs,
        # a Mask, a list with a Mask for each head, or None
        if isinstance(mask, list) or hasattr(mask, "hidden"):
            from .. import masks

            mask = masks.mask.hidden(mask)
        self._head = 0 if mask is None else self._check_mask(mask)
        self._mask = mask

    def update_global_indices(self, indices):
        # The tokens that all see, with the core local_global; see there
        if not hasattr(self.cores[0], "update_global_indices"):
            raise ValueError("%s: expected the core local_global, which has global tokens"
                             % self.name)
        for core in self.cores:
            core.update_global_indices(indices)

    def heed(self, length):
        if self._padding is not None:
            checks.between("length", length, 1, self.key_len)
            while self._length < length:
                self._padding[self._length] = 0
                self._length += 1
            while self._length > length:
                self._length -= 1
                self._padding[self._length] = 1
        return length

    def step(self, x):
        # The next token, [embed_dim] in and out; only with a streaming core
        if self._steps is None:
            raise ValueError("%s: load the model with step=True" % self.name)
        checks.values(self.name, x, self.embed_dim)
        for dense in self._token_projections:
            dense(x)
        for core, (q, k, v, out) in self._steps:
            core.step(q, k, v, out)
        return self._token_out.run(self._token_merged)

    def reset(self):
        # The next token is the first one of a new sequence
        for core in self.cores:
            core.reset()


def head_dims(name, embed_dim, num_heads, key_dim, value_dim):
    # Where one is None it is embed_dim / num_heads
    if key_dim is None or value_dim is None:
        if embed_dim % num_heads:
            raise ValueError(
                "%s.embed_dim: expected a multiple of num_heads %d, got %d"
                % (name, num_heads, embed_dim)
            )
        head_dim = embed_dim // num_heads
        key_dim = head_dim if key_dim is None else key_dim
        value_dim = head_dim if value_dim is None else value_dim
    checks.between(name + ".key_dim", key_dim, 1, 1 << 15)
    checks.between(name + ".value_dim", value_dim, 1, 1 << 15)
    return key_dim, value_dim


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
    e, tokens = entry.size("embed_dim"), entry.rows("seq_len")
    s = entry.tokens if entry.step else tokens
    core = entry.word("core")
    if given[0] == "int8":
        forms.choose("matmul", e)  # what proves it takes memory, and is gone before there is more
    form = cores.form(core)
    code = signals.CODES[form]
    entry.accept(given, form, tokens * e)
    # What the file holds besides the parameters: a fixed sequence to attend to, and its padding
    sequence = mask = key_len = None
    if entry.has("memory"):
        key_len = entry.expect("memory", code, [None, e])[0]
        sequence = entry.tensor("memory", code, [key_len, e])
    if entry.has("key_padding_mask"):
        mask = entry.tensor("key_padding_mask", "b", [key_len or s])
    if (sequence is not None or mask is not None) and not hasattr(cores.get(core), "masks_keys"):
        raise ValueError("%s.core: expected exact with a memory or a key_padding_mask of the file, "
                         "got %s" % (entry.name, core))
    lengths = entry.lengths(s)
    if (sequence is not None or mask is not None) and (lengths or entry.step):
        raise ValueError("%s: a memory or a key_padding_mask of the file goes with neither "
                         "lengths nor steps" % entry.name)
    layer, output = make(entry, core, s, e, e, key_len, need_weights, lengths)
    gives = output, tokens * e
    layer.memory = sequence
    layer.set_mask(mask)
    return layer, gives


def make(entry, core, s, e, memory_dim, key_len, need_weights, lengths=False):
    # -> the layer of an entry, whose outputs are added to what the model computes, and its format
    h = entry.size("num_heads")
    key_dim, value_dim = head_dims(entry.name, e, h, entry.integer("key_dim", None),
                                   entry.integer("value_dim", None))
    bias = entry.flag("bias", True)
    for part, inputs, outputs in (("q.", e, h * key_dim), ("k.", memory_dim, h * key_dim),
                                  ("v.", memory_dim, h * value_dim), ("out.", h * value_dim, e)):
        expect(entry, part, inputs, outputs, False, bias)
    output = entry.output()
    form = cores.form(core)
    tensors = cores.get(core).tensors
    for part in tensors:
        if entry.has("core." + part):
            code, shape = tensors[part]
            entry.expect("core." + part, code, [h] + [key_dim if n == 0 else n for n in shape])
    options = entry.keywords("options", {})
    if "normalise" in options:  # as files before had it
        options["normalize"] = options.pop("normalise")
    causal = entry.flag("causal")
    if entry.step and core == "exact" and causal and not options.pop("precise", False):
        core, options = "decode", {"cache_len": s}  # the same row by row
    # Files before had fewer places, for all parts at a time
    places = PLACES + (output == "int16" and form == "int8")
    parts = entry.make is not signals.make and not entry.step and (
        entry.offsets is None or len(entry.offsets) >= places)
    layer = MultiHeadAttention(s, e, h, entry.tensors, entry.keywords("constants"), core, causal,
                               need_weights, entry.name, key_len, output, lengths, entry.step,
                               key_dim, value_dim, memory_dim, entry.make, entry.rooms, parts,
                               **options)
    code = signals.CODES[layer.format]
    for part in ("q", "k", "v"):
        entry.gives(code, getattr(layer, part), part)
    for part, kept, values in layer.outputs:
        entry.gives(kept, values, part)
    entry.gives(code, layer.heads, "heads")
    entry.gives(signals.CODES[output], layer.out.out)
    return layer, output
