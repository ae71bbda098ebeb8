from .sparse import Masked


class LocalGlobal(Masked):
    # context = g * local + (1 - g) * distant: local is the softmax of the keys at most `window`
    # away, distant that of the keys global_indices, and g = sigmoid(gate), gate [num_heads *
    # key_dim], trains as well.

    DIRECT = True
    by_rows = False
    options = ["block_rows", "global_indices", "window"]
    maker = "local_global_constants"

    def __init__(self, f, name, sizes, operands, causal, recompute, window=0, global_indices=(),
                 **options):
        heads, s, keys, _, w = sizes
        indices = sorted(set(global_indices))
        super().__init__(f, name, sizes, operands, causal, recompute,
                         [["local_window", min(window, s - 1)], ["global_indices", indices]])
        self.gate = f.parameter(name + ".core.gate", heads * w)
        self.p = f.pointwise()
        self.rooms = [f.room("back", s * heads * w), f.room("back", heads * w)]
        self.share = f.zeros(heads * w)  # g
        self.difference = f.room("kept", s * heads * w)  # local - distant, then local's gradient
        self.distant_scores = self.distant_weights = f.room("spare", len(self.scores))
        if self._again:
            self.distant_dscores = f.room("back", len(self.scores))
        else:
            self.distant_dscores = self.distant_scores
            self.distant_weights = f.room("kept", len(self.weights))
        self._dv_add = f.product(keys, w, self.block, (1, keys), (1, heads * w), (heads * w, 1),
                                 add=True)

    def _softmax(self, head, first, start):
        self.f.spread(self.scores, self.distant_scores, 1, len(self.scores))
        self._weigh(self.scores, self.masks[0], self.weights, first, start)
        self._weigh(self.distant_scores, self.masks[1], self.distant_weights, first, start)

    def __call__(self):
        f, s, hw = self.f, self.seq_len, self._values
        self.p.sigmoid(self.gate.value, self.share, hw)
        for head in range(self.num_heads):
            column = head * self.value_dim
            first = 0
            while first < s:
                start, at = self._attend(head, first), first * hw + column
                self._context(self.weights, self.v, self.difference, start, column, at)
                self._context(self.distant_weights, self.v, self.context, start, column, at)
                first += self.block
        f.subtract(self.difference, self.context, self.difference, s * hw)
        self.p.multiply(self.difference, self.share, self.context, s, hw, 1)
        return self.context

    def backward(self, dcontext, dq):
        f, p, local = self.f, self.p, self.difference
        s, keys, hw = self.seq_len, self.key_len, self._values
        room, slope = self.rooms
        p.multiply(self.share, self.share, slope, 1, hw)
        f.subtract(self.share, slope, slope, hw)
        p.multiply(dcontext, local, room, 1, s * hw)
        p.multiply(room, slope, room, s, hw)
        f.column_sums(room, self.gate.begin(), s, hw)
        self.gate.end()
        # From here on dcontext is the gradient of the distant part
        p.multiply(dcontext, self.share, local, s, hw)
        f.subtract(dcontext, local, dcontext, s * hw)
        if self.recompute:
            f.clear(self.dk, keys * self._keys)
            f.clear(self.dv, keys * hw)
        for head in range(self.num_heads):
            column, values = head * self.key_dim, head * self.value_dim
            first = 0
            while first < s:
                rows, of_values = first * self._keys + column, first * hw + values
                start = self._kept(head, first)
                # dv may lie where v does
                self._dscores(local, self.v, self.dscores, of_values, values)
                self._dscores(dcontext, self.v, self.distant_dscores, of_values, values)
                self._dv(self.weights, local, self.dv, start, of_values, values)
                self._dv_add(self.distant_weights, dcontext, self.dv, start, of_values, values)
                f.softmax_backward(self.weights, start, self.dscores, self.block, keys, self._scale)
                f.softmax_backward(self.distant_weights, start, self.distant_dscores, self.block,
                                   keys, self._scale)
                f.add(self.dscores, self.distant_dscores, self.dscores, self.block * keys)
                self._dq(self.dscores, self.k, dq, 0, column, rows)
                self._dk(self.dscores, self.q, self.dk, 0, rows, column)
                first += self.block

    def collect_params(self):
        return [self.gate]

    def learned(self, r):
        return {"gate": r.floats(self.gate), "heads": self.num_heads}

    def requantize(self, r, fields, scales):
        made = Masked.requantize(self, r, fields, scales)
        r.put(self.name, "core.gate", made["gate"])
        return made
