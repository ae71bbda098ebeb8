"""Kernels specialised by size: viper source from one template each, compiled for a board.

A specialised module does what the generic one of attn8.kernels does, for the sizes that its name
carries: matmul_64 takes 64 inputs, matvec_64 too, for few rows; attention_32_16 has 32 tokens and a
head_dim of 16, sparse_32_16 too, linear_16 a head_dim of 16. The board takes it where it is there
(attn8.kernels.family).
"""

from jinja2 import Environment, PackageLoader, StrictUndefined

_templates = Environment(
    loader=PackageLoader("attn8_host.kernels", ""),
    undefined=StrictUndefined,
    line_statement_prefix="%",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
LANES = 3  # rows that a kernel works on at a time
MAX_INPUTS = 64  # of one dot product: 127 * 128 * 64 < 2**20
STREAMING = ("decode", "sliding")  # cores that get their tokens one by one
OCTAVES_FROM = 32  # keys for which a softmax is worth its table of 8 KB
MAX_INDEX = 255  # mpy-cross is wrong for larger constants, but for a pointer in a register
MAX_WEIGHTS = 128  # in local variables: mpy-cross is wrong for more than 255 words of stack


def matmul(inputs: int, word: int = 32) -> str:
    """Viper source of the matmul family for `inputs` inputs; `word` is an int's size in bits."""
    return _templates.get_template("matmul.j2").render(inputs=inputs, word=word)


def matvec(inputs: int, word: int = 32) -> str:
    """Viper source of the matmul family for `inputs` inputs and fewer rows than LANES."""
    return _templates.get_template("matvec.j2").render(inputs=inputs, word=word)


def attention(seq_len: int, head_dim: int, word: int = 32) -> str:
    """Viper source of the attention family for one sequence length and head_dim."""
    template = _templates.get_template("attention.j2")
    return template.render(
        seq_len=seq_len,
        head_dim=head_dim,
        word=word,
        max_weights=MAX_WEIGHTS,
        octaves=seq_len >= OCTAVES_FROM,
        columns=_divisor(head_dim, max(1, MAX_WEIGHTS // seq_len)),
    )


def linear(head_dim: int, word: int = 32) -> str:
    """Viper source of the linear family for one head_dim, and as many features."""
    return _templates.get_template("linear.j2").render(
        head_dim=head_dim,
        word=word,
        rows=_divisor(head_dim, 64 // head_dim),  # unrolled: some code for few dimensions
        columns=_divisor(head_dim, 1 + MAX_INDEX // head_dim),
        step=_divisor(head_dim, 16),
        pair=_divisor(head_dim, 2),
    )


def sparse(seq_len: int, head_dim: int, word: int = 32) -> str:
    """Viper source of the sparse family for one sequence length and head_dim."""
    return _templates.get_template("sparse.j2").render(
        seq_len=seq_len, head_dim=head_dim, word=word, octaves=seq_len >= OCTAVES_FROM
    )


def _divisor(n: int, most: int) -> int:
    """The largest divisor of n that is not above `most`."""
    return max(i for i in range(1, most + 1) if n % i == 0)


def modules(config: dict, word: int = 32) -> dict[str, str]:
    """The modules that a model's layers use: {file name: source}.

    Args:
        config: of the model file.
        word: size of the board's viper int in bits.
    """
    made = {}
    for entry in config["layers"]:
        if entry["type"] == "dense":
            inputs, rows = entry["in_features"], entry.get("rows", 1)
        elif entry["type"] == "attention":
            inputs, rows = entry["embed_dim"], entry["seq_len"]
            keys, head_dim = rows, inputs // entry["num_heads"]
            if entry["core"] == "exact" and head_dim <= MAX_INPUTS and keys >= LANES:
                made[f"attention_{keys}_{head_dim}.py"] = attention(keys, head_dim, word)
            if entry["core"] == "linear" and head_dim <= MAX_INPUTS:
                made[f"linear_{head_dim}.py"] = linear(head_dim, word)
            if entry["core"] == "sparse" and head_dim <= MAX_INPUTS:
                made[f"sparse_{keys}_{head_dim}.py"] = sparse(keys, head_dim, word)
        else:
            continue
        if inputs <= MAX_INPUTS and rows >= LANES:
            made[f"matmul_{inputs}.py"] = matmul(inputs, word)
        if inputs <= MAX_INPUTS and (rows < LANES or entry.get("core") in STREAMING):
            made[f"matvec_{inputs}.py"] = matvec(inputs, word)
    return made
