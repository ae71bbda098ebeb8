"""`attn8 deploy`: the package onto a board."""

import argparse
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from .parser import Command, Parser
from .shared import add_board, opened


def options(parser: Parser) -> None:
    add_board(parser)
    parser.add_argument("--source", action="store_true", help="send .py instead of .mpy files")
    parser.add_argument(
        "--model", type=Path, metavar="FILE",
        help="put this model there as well, and of the package what it needs",
    )
    parser.add_argument("--all", action="store_true",
                        help="with --model, put all of the package there (default without)")
    parser.add_argument("--boot", action="store_true", help="replace a boot.py that is there")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.ignores(["--boot"], lambda a: a.dry_run, "--dry-run speaks of the package alone")


def run(arguments: argparse.Namespace, console: Console) -> int:
    from rich.progress import Progress

    from ..deploy import (
        LIB,
        MODELS,
        apply,
        compiler_warning,
        install_boot,
        package_for,
        plan,
        push,
        try_model,
    )
    from ..forms import experimental
    from ..model import load
    from ..needed import needed

    model, modules = arguments.model, None
    if model:
        loaded = load(model)  # what cannot run is refused before anything is sent
        modules = None if arguments.all else needed(loaded.config, model.read_bytes())
    with opened(arguments, console) as board, board.keeping():
        planned = plan(board, package_for(board, arguments.source), modules)
        for form in experimental(planned.files):
            console.print(f"forms/{form} is experimental: no chip has run it yet")
        if warning := compiler_warning(board.info, planned.files):
            console.print(warning, highlight=False, soft_wrap=True)
        if arguments.dry_run:
            for path in planned.changed:
                console.out(f"send {LIB}/{path} ({len(planned.files[path]):,} bytes)")
            for path in planned.stale:
                console.out(f"remove {planned.folder}/{path}")
            console.print(f"{len(planned.changed)} files to send, {len(planned.stale)} to remove")
            return 0
        with Progress(console=console) as bar:
            def progress(description: str) -> Callable[[int, int], None]:
                task = bar.add_task(description, visible=False)  # until there is something to send
                return lambda done, total: bar.update(task, completed=done, total=total,
                                                      visible=total > 0)

            done = apply(board, planned, progress(f"device/ to {LIB}"))
            if model:
                push(board, f"{MODELS}/{model.name}", model.read_bytes(),
                     progress(f"the model to {MODELS}"))
        booting = install_boot(board, replace=arguments.boot)
        if model:
            try_model(board, f"{MODELS}/{model.name}", "text" in loaded.config)
    console.print(
        f"{done.files} files, {done.sent} sent ({done.bytes_sent:,} bytes); boot.py is "
        + ("attn8's" if booting else "the board's own (--boot replaces it)")
    )
    return 0


COMMAND = Command("put the attn8 package onto a board", options, run, place=5)
