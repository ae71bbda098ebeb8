"""`attn8 import`: a float model file from ONNX, llama2.c, or a folder of Hugging Face."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from ..errors import Attn8Error, ModelError
from .parser import Command, Parser
from .shared import positive

TORCH = "make its module in Python, load these weights, and give it to attn8_host.from_torch"
KERAS = "make an ONNX file of it with tf2onnx"
OTHERS = {**dict.fromkeys((".pt", ".pth", ".pt2", ".ckpt"), TORCH),
          **dict.fromkeys((".h5", ".keras", ".tflite", ".pb"), KERAS)}


def options(parser: Parser) -> None:
    parser.add_argument("model", type=Path,
                        help="ONNX file, folder of Hugging Face (Llama, GPT-2), or a .bin of "
                        "llama2.c; docs/import.md has modules of PyTorch")
    parser.add_output("--output", "the float model file to write, for attn8 quantize",
                      required=True)
    parser.add_argument("--shape", type=_shape, metavar="1,N,...",
                        help="of the input, where the file leaves it open")
    parser.add_argument("--graph-output", metavar="NAME",
                        help="which one of several; by default all are made")
    parser.add_argument("--core", default="exact", metavar="NAME",
                        help="of attention layers (default: %(default)s)")
    parser.add_argument("--tokenizer", type=Path, metavar="FILE.bin",
                        help="of llama2.c, which goes along with its checkpoint")
    parser.add_argument("--context", type=positive, metavar="N",
                        help="tokens that a checkpoint's model has room for (default: its own, at "
                        "most 516)")
    parser.ignores(["--tokenizer"], lambda a: not is_checkpoint(a.model),
                   "it is for checkpoints (.bin); a folder has its own")
    parser.ignores(["--context"], lambda a: not is_text(a.model),
                   "it is for checkpoints (.bin) and folders")
    parser.ignores(["--shape", "--graph-output", "--core"], lambda a: is_text(a.model),
                   "a checkpoint says it")
    parser.add_argument("--name", metavar="WORD", help="of the model (default: that of the file)")


def is_checkpoint(path: Path) -> bool:
    """Whether a file is called as llama2.c calls its checkpoints."""
    return path.suffix == ".bin"


def is_text(path: Path) -> bool:
    """Whether a model is one of text: a checkpoint of llama2.c or a folder."""
    return is_checkpoint(path) or path.is_dir()


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected whole numbers from 1, as 1,32,12, got {text!r}")
    return shape


def run(arguments: argparse.Namespace, console: Console) -> int:
    from .. import float_model, modelfile

    if is_text(arguments.model):
        from ..importers import decoder, huggingface, llama2c

        if is_checkpoint(arguments.model):
            config, tensors = llama2c.read(arguments.model, arguments.context, arguments.tokenizer,
                                           arguments.name)
        else:
            config, tensors = huggingface.read(arguments.model, arguments.context, arguments.name)
        try:
            modelfile.check_config(config)
            float_model.check(config, tensors)
        except ModelError as error:
            raise ModelError(f"{arguments.model}: {error}") from None
        modelfile.write(arguments.output, config, tensors)
        console.print(
            f"{arguments.output}: {len(config['layers'])} layers for "
            f"{config['input']['shape'][0]} tokens of {config['layers'][0]['vocab_size']}, "
            f"{decoder.parameters(tensors):,} parameters"
            f"{', and a tokenizer' if decoder.has_tokenizer(tensors) else ''}.", highlight=False,
            markup=False,
        )
        return 0
    if arguments.model.suffix in OTHERS:
        raise Attn8Error(f"{arguments.model}: not ONNX; {OTHERS[arguments.model.suffix]} "
                         "(docs/import.md)")
    if arguments.model.suffix in (".safetensors", ".json"):
        raise Attn8Error(f"{arguments.model}: a part of a Hugging Face folder? Give the folder, "
                         "with config.json in it")
    try:
        from ..importers.onnx import from_onnx
    except ModuleNotFoundError as error:
        raise Attn8Error(f"attn8 import needs {error.name}: python -m pip install 'attn8[import]'"
                         ) from None
    with console.status("reading, and comparing with the original"):
        config, tensors = from_onnx(
            arguments.model, shape=arguments.shape, output=arguments.graph_output,
            core=arguments.core, name=arguments.name,
        )
    modelfile.write(arguments.output, config, tensors)
    shape = " x ".join(map(str, config["input"]["shape"]))
    console.print(
        f"{arguments.output}: {len(config['layers'])} layers of input {shape}, "
        f"{sum(tensor.size for tensor in tensors.values()):,} parameters. "
        f"{_claim(config, arguments)}", highlight=False, markup=False,
    )
    return 0


def _claim(config: dict[str, Any], arguments: argparse.Namespace) -> str:
    from ..importers.convert import is_softmax

    name = arguments.model
    if is_softmax(arguments.core) or not any("core" in entry for entry in config["layers"]):
        return f"It computes what {name} does."
    return (f"With the core exact it computes what {name} does; with {arguments.core}, another "
            "attention, it does not: see what that costs with attn8 run --labels, or train with it")


COMMAND = Command("make a float model file from an ONNX file or a checkpoint", options, run,
                  place=5.5)
