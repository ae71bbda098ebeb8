"""Hardware-in-the-loop tests with pytest, for attn8 and for any other MicroPython project.

The plugin comes with the package. A test that asks for a fixture of it runs on a board:

    def test_there_is_room(board):
        assert board.free_heap() > 50_000

    def test_the_package_is_there(deployed):
        assert deployed.execute("import attn8; print(attn8.__version__)")

    def test_the_link_echoes(link):
        assert link.echo(b"hello") == b"hello"

    @pytest.mark.board("ESP32C3", "virtual")
    def test_only_on_these(board): ...

`board` is the open board (attn8_host.boards.Board), `deployed` the same with the attn8 package on
it, `link` a client of its attn8 server (attn8_host.link.Client). Tests that use one carry the
marker `board`: `-m "not board"` leaves them out. With words in it (of the board's machine name or
kind), others than these boards skip the test.

    pytest                                  on the virtual board, or on ATTN8_BOARD
    pytest --board=/dev/ttyUSB0             on a chip: every name that `attn8 --board` takes
    pytest --board u0 --board u1 -n auto    on two at once (pytest-xdist), one worker a board
    pytest --board rfc2217://lab:2217       on one at another machine, where esptool's
                                            `esp_rfc2217_server -p 2217 /dev/ttyUSB0` runs
    pytest --count 100                      every test a hundred times (pytest-repeat)

A board that stops answering fails the test that it stopped in and those that its worker holds
already, all with its name; other boards run the rest. Nothing is tried again by itself.

A path after `--board` needs the `=`: pytest looks for its configuration at any path that stands
alone.

`--board-results=FILE` writes JSON: `boards` (what each is, how many of its tests passed, failed and
were skipped, and the test it died in), `tests` (test, board, outcome, seconds, message) and, with
--count, `flaky` (tests that both passed and failed: [passed, runs]). JUnit's XML (--junitxml) has
the properties board, chip and firmware in each test case.
"""

# Every pytest run in this environment loads this file: what is heavy is imported when it is used

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from .boards import Board
    from .link import Client

DEFAULT = "virtual"
OWN_EACH = ("virtual", "qemu")  # of these, every worker starts one of its own


@dataclass
class Run:
    """What this process knows of its boards and tests."""

    specs: list[str]  # of all boards, as given
    free: list[str]  # those that no worker has
    spec: str = DEFAULT  # of the board of this process
    board: Board | None = None  # once it is open
    died: str | None = None  # why it is not used any more
    dead_workers: set[object] = field(default_factory=set)  # those whose board died


RUN = pytest.StashKey[Run]()
STEP = re.compile(r"\[\d+-\d+\]$|-\d+-\d+(?=\]$)")  # which of how many, as pytest-repeat adds it


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("attn8", "tests on MicroPython boards")
    group.addoption(
        "--board", action="append", metavar="BOARD",
        help="board to test on: virtual (default), a serial port, a URL, ...; repeat it, with -n "
        "auto, to use several at once",
    )
    group.addoption(
        "--board-results", type=Path, metavar="FILE",
        help="write what each test did on which board here, as JSON",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "board(*words): runs on a board; with words, only where one is in its machine name or kind",
    )
    results = config.getoption("board_results")
    if results and results.is_dir():
        raise pytest.UsageError(f"--board-results: {results} is a folder; give a file in it")
    given = config.getoption("board")
    specs = given or [os.environ.get("ATTN8_BOARD") or DEFAULT]
    if given and not hasattr(config, "workerinput"):
        _check(config, specs)
    run = Run(specs, list(specs))
    run.spec = getattr(config, "workerinput", {}).get("attn8_board", specs[0])
    config.stash[RUN] = run
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results(config), "attn8-results")


def _check(config: pytest.Config, specs: list[str]) -> None:
    from .boards import resolve
    from .errors import BoardError

    for spec in specs:
        if config.inipath is None and spec in config.invocation_params.args and Path(spec).exists():
            raise pytest.UsageError(
                f"write --board={spec} with =: pytest looked for its configuration at {spec}"
            )
        try:
            resolve(spec)
        except BoardError as error:
            raise pytest.UsageError(str(error)) from None
    workers = len(getattr(config.option, "tx", None) or [])
    if len(specs) > 1 and not workers:
        raise pytest.UsageError(
            f"{len(specs)} boards need a worker each: install pytest-xdist and add -n auto"
        )
    if workers > len(specs) and not set(specs) <= set(OWN_EACH):
        raise pytest.UsageError(f"{workers} workers for {len(specs)} boards: use -n auto")


def pytest_report_header(config: pytest.Config) -> str | None:
    return f"boards: {', '.join(config.getoption('board'))}" if config.getoption("board") else None


# Fixtures


@pytest.fixture(scope="session")
def board(request: pytest.FixtureRequest) -> Iterator[Board]:
    """The board of this run, or of this worker, as attn8_host.boards.Board."""
    from .boards import open_board
    from .errors import Attn8Error

    run = request.config.stash[RUN]
    try:
        run.board = open_board(run.spec)
    except Attn8Error as error:
        run.died = f"board {run.spec}: {error}"
        pytest.fail(run.died, pytrace=False)
    with run.board:
        yield run.board


@pytest.fixture(scope="session")
def deployed(board: Board) -> Board:
    """The board with the attn8 package on it."""
    from .deploy import deploy

    deploy(board)
    return board


@pytest.fixture
def link(deployed: Board) -> Iterator[Client]:
    """A client of the board's attn8 server, as attn8_host.link.Client."""
    with deployed.serve() as client:
        yield client


# Tests


def pytest_itemcollected(item: pytest.Item) -> None:
    if _on_board(item):
        item.add_marker("board")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    run = item.config.stash[RUN]
    if run.died and _on_board(item):
        pytest.fail(run.died, pytrace=False)
    result = yield
    words = [word for marker in item.iter_markers("board") for word in marker.args]
    if words and run.board:
        name = f"{run.board.info.kind} {run.board.info.machine}"
        if not any(word in name for word in words):
            pytest.skip(f"for {' or '.join(words)}; this board is {name}")
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    run = item.config.stash[RUN]
    if not _on_board(item):
        return report
    if run.board:
        info = run.board.info
        firmware = f"{info.implementation} {info.version}"
        report.user_properties += [
            ("board", info.port), ("chip", info.machine), ("firmware", firmware)
        ]
        if report.failed:
            report.sections.append(("board", str(info)))
            if not run.died:
                run.died = _last_words(run.board, item.nodeid)
    elif run.died:
        report.user_properties.append(("board", run.spec))
    if run.died:
        report.user_properties.append(("board_died", run.died))
    return report


def _on_board(item: pytest.Item) -> bool:
    return "board" in getattr(item, "fixturenames", ())


def _last_words(board: Board, test: str) -> str | None:
    """Says that a board died, if it does not answer after a test that failed."""
    from .errors import BoardError

    try:
        board.enter_repl()
        board.execute("")
    except BoardError:
        return f"board {board.info.port} died in {test}"
    return None


# Several boards, with pytest-xdist


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    given = config.getoption("board") or []
    own_each = len(given) == 1 and given[0] in OWN_EACH
    return None if own_each else len(given) or None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    run = node.config.stash[RUN]
    node.workerinput["attn8_board"] = run.free.pop(0) if run.free else run.specs[0]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    # Where a worker crashed, the one that takes its place gets its board
    node.config.stash[RUN].free.append(node.workerinput["attn8_board"])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    if len(config.stash[RUN].specs) == 1 or config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScheduling

    class BoardScheduling(LoadScheduling):  # type: ignore[misc]  # xdist says no types
        """Few tests ahead for each board, and none for one that died while others live."""

        maxschedchunk: int | None

        def __init__(self, *arguments: Any):
            super().__init__(*arguments)
            self.maxschedchunk = self.maxschedchunk or 1

        def check_schedule(self, node: object, duration: float = 0) -> None:
            dead = config.stash[RUN].dead_workers
            if node not in dead or dead >= set(self.nodes):
                super().check_schedule(node, duration)

    return BoardScheduling(config, log)


# Results


class Results:
    """What each test did on which board, gathered where the reports of all workers come in."""

    def __init__(self, config: pytest.Config):
        self.run = config.stash[RUN]
        self.path: Path | None = config.getoption("board_results")
        self.repeated = getattr(config.option, "count", 1) > 1
        self.tests: dict[str, dict[str, Any]] = {}
        self.boards: dict[str, dict[str, Any]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: dict[str, Any] = dict(report.user_properties)
        if "board_died" in properties and hasattr(report, "node"):
            self.run.dead_workers.add(report.node)
        test = self.tests.setdefault(
            report.nodeid,
            {"test": report.nodeid, "board": None, "outcome": "passed", "seconds": 0.0},
        )
        test["seconds"] += report.duration
        if not report.passed and test["outcome"] == "passed":
            test["outcome"] = report.outcome
            test["message"] = _message(report)
        if "board" in properties:
            test["board"] = properties["board"]
            board = self.boards.setdefault(properties["board"], {"died": None})
            board.update({k: properties[k] for k in ("chip", "firmware") if k in properties})
            board["died"] = properties.get("board_died")

    def flaky(self) -> dict[str, list[int]]:
        """Of --count's repeated tests, those that both passed and failed: [passed, runs]."""
        outcomes = defaultdict(list)
        for nodeid, test in self.tests.items():
            if self.repeated:
                outcomes[STEP.sub("", nodeid)].append(test["outcome"] == "passed")
        return {test: [sum(o), len(o)] for test, o in outcomes.items() if 0 < sum(o) < len(o)}

    def pytest_sessionfinish(self) -> None:
        if self.path is None:
            return
        for name, board in self.boards.items():
            counts = Counter(t["outcome"] for t in self.tests.values() if t["board"] == name)
            board.update({outcome: counts[outcome] for outcome in ("passed", "failed", "skipped")})
        content = {"boards": self.boards, "tests": list(self.tests.values())}
        if self.repeated:
            content["flaky"] = self.flaky()
        self.path.parent.mkdir(parents=True, exist_ok=True)  # as --junitxml does
        self.path.write_text(json.dumps(content, indent=2) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for board in self.boards.values():
            if board["died"]:
                terminalreporter.write_line(board["died"], red=True)
        for test, (passed, runs) in self.flaky().items():
            terminalreporter.write_line(f"flaky: {test} passed {passed} of {runs}", yellow=True)


def _message(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):  # of a skip: file, line, reason
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash else str(report.longrepr)
