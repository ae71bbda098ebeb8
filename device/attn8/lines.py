# What `attn8.help` says. Written by tools/device_files.py.
LINES = (
    "Add(size, name='add')\n    a + b of `size` int16 values of one scale, within +-32767",
    "backend()\n    \"simd\", \"turbo\" or \"viper\": the form of a matrix product that no bound "
    "stands against",
    "batch(layer, x, out, lengths=None)\n    layer: a layer or a Model",
    "ClassToken(seq_len, embed_dim, weight, name='class_token')\n    weight int16 [embed_dim] in"
    " front of int16 [seq_len, embed_dim]: [seq_len + 1, embed_dim]",
    "Concat(rows, n, m, name='concat')\n    Each of `rows` rows of a with that of b behind it: "
    "int16 [rows, n] and [rows, m] of one scale -> [rows, n + m]",
    "Conv1D(length, kernel_size, stride, filters, linear, time_major=False, channels=1, "
    "padding=0, dilation=1, groups=1, format='int8')\n    Convolution, int8 or int16 (`format`) "
    "[length, channels] -> [filters, positions], or [positions, filters] where time_major, as "
    "attention takes it; positions = (length + 2*padding - reach)//stride + 1, where reach = "
    "dilation*(kernel_size - 1) + 1",
    "Convert(size, format, shift, mult=None)\n    int8 to a number format: raw integers x << "
    "shift, so x stands for x * 2**(shift - frac)",
    "ConvertToInt8(size, format, shift)\n    A fixed-point format to int8: raw integers x / "
    "2**shift, rounded half up, within +-127",
    "CrossAttention(layer)\n    Multi-head attention to another sequence, the second input, that"
    " may have a length",
    "Decode(seq_len, head_dim, cache_len, score_mult, score_shift, score_limit, out_num, "
    "out_shift, causal=True, need_weights=False, output='int8')\nDecode.from_scales(slots, "
    "head_dim, scale_q, scale_k, scale_v, scale_out, **options)\n    Causal softmax attention "
    "over one head, one token at a time: step(q, k, v, out), int8 [head_dim] each, attends to "
    "all tokens since `reset`, of which the cache holds cache_len",
    "Dense(linear, rows=1, out=None)\n    Fully connected layer over `rows` rows: int8 [rows, "
    "inputs] -> [rows, outputs], int8, int16 or int32 (see Linear)",
    "Embedding(seq_len, vocab_size, embed_dim, weight, output='int8', name='embedding', "
    "mult=None, shift=None, paired=0)\n    Rows of a table: int16 ids [seq_len], each from 0 to "
    "vocab_size - 1 -> [seq_len, embed_dim]; weight [vocab_size, embed_dim] in the format of "
    "the results, int8 or int16; or int8 with a ratio each row, mult int16 and shift int8 "
    "[vocab_size], in pairs of rows if `paired` is 1",
    "Exact(seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift, "
    "causal=False, need_weights=False, block_rows=9, key_len=None, precise=False, "
    "value_dim=None)\nExact.from_scales(seq_len, head_dim, scale_q, scale_k, scale_v, scale_out,"
    " **options)\n    Two-pass softmax attention over one head",
    "Exact16(seq_len, head_dim, score_mult, score_shift, out_num, out_shift, causal=False, "
    "need_weights=False, block_rows=9, key_len=None)\nExact16.from_scales(seq_len, head_dim, "
    "scale_q, scale_k, scale_v, scale_out, **options)\n    Two-pass softmax attention over one "
    "head, as Exact, in int16: q and k within `most`, so that scores stay below 2**29",
    "Flash(seq_len, head_dim, score_mult, score_shift, out_num, out_shift, causal=False, "
    "need_weights=False, block_size=16)\nFlash.from_scales(seq_len, head_dim, scale_q, scale_k, "
    "scale_v, scale_out, **options)\n    Softmax attention over one head in one pass over tiles "
    "of block_size keys: int8 q, k, v, out [seq_len, head_dim], room for scores of one tile",
    "generate(model, prompt='', tokens=None, temperature=0, top_p=1, seed=1)\n    Yields the "
    "prompt and what the model goes on with, piece by piece as it makes them: so many tokens at"
    " most, until a text ends or there is no more room",
    "GroupedAttention(seq_len, embed_dim, num_heads, num_kv_heads, linears, score_mult, "
    "score_shift, out_num, out_shift, turns=None, cache='int8', rows=1, name='attention', "
    "centre=None, later=None)\n    Causal attention with a cache, int16 [rows, embed_dim] -> "
    "[rows, embed_dim] int8 or int16: of num_heads heads of queries, num_heads / num_kv_heads "
    "share each head of keys and values",
    "help(what=None)\n    Prints how something public is made and what it is: its name, the "
    "class or function or an object of it; all of them without",
    "LayerNorm(rows, weight, bias, shift, eps_mult, eps_shift, output='int8', "
    "name='layer_norm')\n    (x - mean) / sqrt(variance + eps) * weight + bias over rows of n "
    "values: int16 [rows, n] -> int8 or int16",
    "Linear(seq_len, head_dim, out_num, out_shift, phi='relu+1', table_q=None, table_k=None, "
    "normalize=True, causal=False, need_weights=False, block_rows=8, output='int8', steps=True)"
    "\nLinear.from_scales(seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, phi='relu+1',"
    " normalize=True, **options)\n    Linear attention over one head, O(seq_len) time and "
    "O(head_dim**2) memory: out = phi(q) @ (phi(k).T @ v) / (phi(q) @ sum(phi(k)))",
    "load(path, need_weights=False, count=None, advance=None, step=False, share=None, "
    "weights=None)\n    Loads a model, or its first `count` layers; need_weights keeps all "
    "scores and attention weights (see cores); advance() is called before each layer",
    "LocalGlobal(seq_len, head_dim, gate, window, global_indices, score_mult, score_shift, "
    "score_limit, out_num, out_shift, causal=False, need_weights=False, block_rows=8)\n"
    "LocalGlobal.from_scales(seq_len, head_dim, scale_q, scale_k, scale_v, scale_out, gate=0.0,"
    " window=None, global_indices=None, **options)\n    Each token attends to `window` tokens on"
    " each side and, in a softmax of its own, to the tokens global_indices: out = gate*local + "
    "(1 - gate)*distant, O(seq_len*(window + indices))",
    "masks\n    Sparse attention masks: which keys each query may attend to",
    "MaxPool(length, channels, kernel_size, stride, positions, padding=0, rows=1, "
    "format='int8', name='max_pool')\n    [rows, length, channels] -> [rows, positions, "
    "channels], int8 or int16: the largest value of each channel among kernel_size of the "
    "length, from -padding on, then `stride` further",
    "MeanPool(seq_len, embed_dim, mult, shift, format='int8', output='int8', lengths=False)"
    "\n    Mean over the tokens: [seq_len, embed_dim] -> [embed_dim], requantized; int8 or int16"
    " both",
    "Micro(seq_len, head_dim, causal=False, need_weights=False, window=None, output='int8')\n"
    "Micro.new(embed_dim, num_heads)\n    The original ESP32 attention, kept exactly: scores "
    "shifted instead of scaled, 256 + x/2 in place of exp, weights of 256, everything truncated",
    "Model(name, input, scale, steps, outputs, ends, arena=None, code='b', tokens=None, "
    "step=False, channels=None, inner=1)\n    Runs its layers in turn over one input, the array "
    "`input` of int8; one step of it stands for `scale`, None where the file does not say",
    "MultiHeadAttention(seq_len, embed_dim, num_heads, tensors, constants, core='exact', "
    "causal=False, need_weights=False, name='attn', key_len=None, output='int8', lengths=False,"
    " step=False, key_dim=None, value_dim=None, memory_dim=None, **options)\n"
    "MultiHeadAttention.from_floats(seq_len, embed_dim, num_heads, floats, x, memory=None, "
    "**options)\n    Multi-head attention, [seq_len, embed_dim] of the core's format in, int8 or"
    " int16 out (`output`): q, k, v = x @ w.T + b, each head attends on its own, out = heads @ "
    "w_out.T + b_out Cross-attention takes k and v from another sequence, `memory` [key_len, "
    "memory_dim]; heads may be of other widths than embed_dim / num_heads, key_dim of q and k, "
    "value_dim of v",
    "Multiply(size, mult, shift, output='int8', name='multiply', format='int8')\n    a * b of "
    "`size` int8 or int16 values (`format`), requantized to int8 or int16",
    "Performer(seq_len, head_dim, features, query_mult, query_shift, key_mult, key_shift, "
    "norm_mult, norm_shift, out_num, out_shift, causal=False, need_weights=False, block_rows=8,"
    " output='int8', steps=True)\nPerformer.from_scales(seq_len, head_dim, scale_q, scale_k, "
    "scale_v, scale_out, num_features=32, seed=1, **options)\n    FAVOR+ attention: linear "
    "attention with phi(x) = exp(features @ x - |x|**2 / 2), positive random features that "
    "approximate softmax; O(seq_len)",
    "Position(seq_len, embed_dim, weight, name='position', step=False)\n    weight int16 "
    "[seq_len, embed_dim] is added to int16 of the same shape and scale; with `step` to one "
    "token after another",
    "QConv1D(length, kernel_size, stride, filters, format='Q16.16', rounding='nearest', "
    "overflow='wrap', time_major=False)\n    Convolution in fixed point or floats (see formats)",
    "QDense(inputs, outputs, rows=1, format='Q16.16', rounding='nearest', overflow='wrap')\n    "
    "Fully connected layer in fixed point or floats (see formats): x [rows, inputs] -> [rows, "
    "outputs] = x @ weights.T + biases",
    "QMeanPool(seq_len, embed_dim, format='Q16.16', lengths=False)\n    Mean over the tokens in "
    "fixed point or floats (see formats): [seq_len, embed_dim] -> [embed_dim]",
    "QReLU(size, format='Q16.16')\n    max(x, 0) over `size` values in fixed point or floats "
    "(see formats)",
    "quantize\n    Integer constants from scales, for experiments at the REPL",
    "ReLU(size, format='int8')\n    max(x, 0) over `size` int8 or int16 values",
    "Requantize(size, format, mult, shift, name='convert')\n    int16 to int8 or int8 to int16: "
    "requant(x << 9; mult, shift)",
    "RMSNorm(rows, weight, bias, shift, eps_mult, eps_shift, output='int8', name='rms_norm')"
    "\n    x / sqrt(mean(x**2) + eps) * weight, as LayerNorm without the mean; bias is what "
    "rounds",
    "Select(seq_len, embed_dim, index, format='int8', name='select', lengths=False)\n    The "
    "token `index` of [seq_len, embed_dim], from the end where negative; int8 or int16",
    "SelfAttention1D(seq_len, embed_dim, projection_dim, format='Q16.16', rounding='nearest', "
    "overflow='wrap')\n    Linear self-attention without normalization, in fixed point or floats"
    " (see formats): q = relu(x @ w_q + b_q), k = relu(x @ w_k + b_k), v = x @ w_v + b_v, out ="
    " q @ (k.T @ v) x [seq_len, embed_dim], out [seq_len, projection_dim]",
    "serve(idle=20000)\n    Serves on the REPL's serial line until the host says EXIT or falls "
    "silent for `idle` ms",
    "Slice(seq_len, embed_dim, start, rows, step=1, format='int8', name='slice')\n    `rows` of "
    "the tokens of [seq_len, embed_dim] from `start`, each `step`th; int8 or int16",
    "Sliding(seq_len, head_dim, window, score_mult, score_shift, score_limit, out_num, "
    "out_shift, causal=True, need_weights=False, output='int8')\nSliding.from_scales(slots, "
    "head_dim, scale_q, scale_k, scale_v, scale_out, **options)\n    Softmax attention over one "
    "head to the last `window` tokens, the newest among them: step(q, k, v, out), int8 "
    "[head_dim] each",
    "Softmax(rows, columns, mult, shift, limit, format='int8', name='softmax')\n    "
    "Probabilities of a model's last results: [rows, columns] in int8, int16 or int32 -> uint16"
    " in Q15, each row's sum about 32768",
    "Sparse(seq_len, head_dim, score_mult, score_shift, score_limit, out_num, out_shift, mask, "
    "causal=False, need_weights=False, block_rows=None)\nSparse.from_scales(seq_len, head_dim, "
    "scale_q, scale_k, scale_v, scale_out, mask=None, **options)\n    Softmax attention over the"
    " pairs of query and key that a mask shows: to the bit what the exact core gives under that"
    " mask, in time for these pairs alone",
    "Stream(model, hop, on_result, channels=None, majority=1, threshold=None, hysteresis=0)"
    "\n    Calls on_result(stream) with the model's results every `hop` samples, from the first "
    "whole window on",
    "train\n    Training on the board: layers with backward passes, losses and optimizers in "
    "fixed point",
    "Transpose(rows, columns, format='int8', name='transpose')\n    [rows, columns] -> [columns,"
    " rows], int8 or int16",
    "Unfold(sizes, channels, kernel_size, stride, positions, padding, format='int8', "
    "name='unfold')\n    Windows over two axes, [height, width, channels] -> [positions[0] * "
    "positions[1], kernel_size[0] * kernel_size[1] * channels], int8 or int16: what a "
    "convolution multiplies",
    "masks.Mask(seq_len, rows)\nmasks.Mask.from_keys(seq_len, rows)\n"
    "masks.Mask.from_bits(seq_len, bits)\n    Which keys each of seq_len queries may attend to",
    "masks.adaptive(seq_len, window, edges)\n    A local window for detail and the graph's edges"
    " for reach",
    "masks.block_diagonal(seq_len, block_size)\n    Each query sees the keys of its own block",
    "masks.causal(seq_len)\n    Each query sees itself and the keys before it",
    "masks.from_cut(seq_len, lambda_, partition_count, labels=None)\n    The mask of a cut of "
    "this weight with the default configuration",
    "masks.from_hnsw_edges(seq_len, edges)\n    edges: (from, to) pairs; both see each other",
    "masks.from_hnsw_layers(seq_len, layers)\n    layers: the nodes of each layer, rising, layer"
    " 0 (the finest) first",
    "masks.full(seq_len)\n    Each query sees every key",
    "masks.global_indices(seq_len, indices)\n    Each query sees the keys `indices`, rising",
    "masks.local_global(seq_len, window, indices)\n    A local window and the global indices",
    "masks.local_window(seq_len, window)\n    Each query sees `window` keys on either side of "
    "itself",
    "masks.random(seq_len, level, seed)\n    Each query sees level * seq_len keys, truncated, "
    "that xorshift32 draws without replacement",
    "masks.strided(seq_len, window, stride)\n    A local window and every stride-th key",
    "train.fit(path, samples, epochs=10, batch=None, validation=5, patience=3, seed=1, "
    "report=None)\n    Trains on the board alone, what `attn8 train MODEL --prepare` has put "
    "there, and makes int8 weights of what was learned",
    "train.samples.Samples(path, size, code='b', labels=1)\n    Labelled inputs of a model in a "
    "file, which a board collects: len, append and [i]",
)
