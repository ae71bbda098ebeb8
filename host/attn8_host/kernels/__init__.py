"""Kernels specialised by size: viper source from one template each, compiled for a board.

A specialised module does what the generic one of attn8.kernels does, for the sizes that its name
carries: matmul_64 takes 64 inputs, attention_32_16 has 32 tokens and a head_dim of 16. The board
takes it where it is there (attn8.kernels.family).
"""

from collections.abc import Iterator

from jinja2 import Environment, PackageLoader, StrictUndefined

_templates = Environment(
    loader=PackageLoader("attn8_host.kernels", ""),
    undefined=StrictUndefined,
    line_statement_prefix="%",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
MAX_WEIGHTS = 128  # in local variables: mpy-cross is wrong for more than 255 words of stack
MAX_LANES = 64  # operands that a function holds in local variables: 128*127*64 < 2**20


def matmul(inputs: int, word: int = 32) -> str:
    """Viper source of the matmul family for `inputs` inputs; `word` is an int's size in bits."""
    return _templates.get_template("matmul.j2").render(inputs=inputs, word=word)


def attention(seq_len: int, head_dim: int, word: int = 32) -> str:
    """Viper source of the attention family for one sequence length and head_dim."""
    template = _templates.get_template("attention.j2")
    return template.render(
        seq_len=seq_len, head_dim=head_dim, word=word, max_weights=MAX_WEIGHTS
    )


def modules(config: dict, word: int = 32) -> dict[str, str]:
    """The modules that a model's layers use: {file name: source}.

    Args:
        config: of the model file.
        word: size of the board's viper int in bits.
    """
    return dict(_modules(config, word))


def _modules(config: dict, word: int) -> Iterator[tuple[str, str]]:
    for entry in config["layers"]:
        if entry["type"] != "attention" or entry["seq_len"] < 3:
            continue
        if entry["embed_dim"] <= MAX_LANES:
            yield f"matmul_{entry['embed_dim']}.py", matmul(entry["embed_dim"], word)
        head_dim = entry["embed_dim"] // entry["num_heads"]
        if head_dim < MAX_LANES:
            sizes = entry["seq_len"], head_dim
            yield "attention_{}_{}.py".format(*sizes), attention(*sizes, word)
