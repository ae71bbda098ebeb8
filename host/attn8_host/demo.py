"""`attn8 demo`: handwritten digits, classified on a board and proven against NumPy."""

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.numpy import load_file

from . import modelfile, report
from .boards import Board
from .deploy import MODELS as BOARD_MODELS
from .deploy import deploy, push
from .paths import MODELS
from .reference import floating, load
from .verify import Verification, verify

# Python heap in use, before anything of attn8 is imported
BASELINE = "import gc\ngc.collect()\nprint(gc.mem_alloc())"


@dataclass
class DemoResult:
    """What the demo measured; the keys of its JSON."""

    board: dict
    transport: str
    model: str
    samples: int
    accuracy: float
    float_accuracy: float
    bit_exact: bool
    compared: int
    mismatches: int
    digest: str  # CRC-32 over every tensor of every run, as the board computed it
    expected_digest: str  # as NumPy did
    max_lsb_vs_float: float  # head outputs against float64 attention over the same int8 q, k, v
    cosine_vs_float: float  # attention layer's output against the float32 model's, mean
    top1_agreement_vs_float: float
    device_us_per_inference: float  # median
    ram_bytes: int  # Python heap that the package, the model and its buffers take on the board
    link_bytes_per_s: float  # payload, both directions, while frames were under way
    link_retries: int
    png: str

    def as_dict(self) -> dict:
        return asdict(self)


def run(
    board: Board, console: Console, png: Path, samples: int | None = None
) -> tuple[DemoResult, Verification]:
    """Deploys, streams the test digits and compares; draws one digit's attention to `png`."""
    model = load(MODELS / "digits.safetensors")
    float_config, float_tensors = modelfile.read(MODELS / "digits_float.safetensors")
    data = load_file(MODELS / "digits_data.safetensors")
    images, labels = data["test.images"][:samples], data["test.labels"][:samples]
    # A pixel p in 0..16 stands for p/16 = 7p * 1/112: exact in int8
    inputs = (images.astype(np.int16) * 7).astype(np.int8)

    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        baseline = int(board.execute(BASELINE))

        def progress(description: str):
            task = bar.add_task(description, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        deploy(
            board, progress=progress("device/ to /lib/attn8 (bytes)"), config=model.config
        )
        path = f"{BOARD_MODELS}/digits.safetensors"
        content = (MODELS / "digits.safetensors").read_bytes()
        push(board, path, content, progress(f"the model to {BOARD_MODELS} (bytes)"))
        with board.serve() as client:
            client.load(path)
            ram = client.heap()[1] - baseline
            task = bar.add_task("digits: infer and compare", total=len(inputs))
            result = verify(client, model, inputs, lambda: bar.advance(task))
            traffic = client.statistics

    floats = [
        floating.run(float_config, float_tensors, x * np.float32(model.config["input"]["scale"]))
        for x in inputs
    ]
    logits = np.array([o["head"] for o in result.outputs])
    float_top1 = np.array([f["head"].argmax() for f in floats])
    top1 = logits.argmax(axis=1)
    cosines = [
        _cosine(o["attn"], f["attn"]) for o, f in zip(result.outputs, floats, strict=True)
    ]
    report.draw_attention(png, images[0].reshape(8, 8), result.outputs[0], int(top1[0]))
    outcome = DemoResult(
        board=board.info.as_dict(),
        transport=f"mpremote serial, {board.transport.serial.baudrate} baud",
        model=model.name,
        samples=result.samples,
        accuracy=float((top1 == labels).mean()),
        float_accuracy=float((float_top1 == labels).mean()),
        bit_exact=result.bit_exact,
        compared=result.compared,
        mismatches=result.mismatches,
        digest=f"{result.digest:08x}",
        expected_digest=f"{result.expected_digest:08x}",
        max_lsb_vs_float=max(_lsb_error(model.config, o) for o in result.outputs),
        cosine_vs_float=float(np.mean(cosines)),
        top1_agreement_vs_float=float((top1 == float_top1).mean()),
        device_us_per_inference=statistics.median(result.microseconds),
        ram_bytes=ram,
        link_bytes_per_s=traffic.payload / traffic.seconds,
        link_retries=traffic.resent,
        png=str(png),
    )
    return outcome, result


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _lsb_error(config: dict, outputs: dict[str, np.ndarray]) -> float:
    """The largest error of the head outputs, in steps of int8, that integer attention adds."""
    entry = next(layer for layer in config["layers"] if layer["type"] == "attention")
    q, k, v = (outputs[f"attn.{part}"].astype(np.float64) for part in ("q", "k", "v"))
    scales = entry["scales"]
    scale = scales["q"] * scales["k"] / np.sqrt(q.shape[-1])
    exact = floating.attention(q, k, v, scale, entry["causal"]) * scales["v"] / scales["heads"]
    return float(np.abs(outputs["attn.heads"] - np.clip(exact, -127, 127)).max())
