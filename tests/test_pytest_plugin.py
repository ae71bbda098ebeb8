"""The pytest plugin, in pytest runs of its own: one board, several, one that dies."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from attn8_host.boards.virtual import VirtualBoard

EXAMPLE = Path(__file__).parent.parent / "examples/test_example.py"


@pytest.fixture
def run(tmp_path):
    """Runs pytest on a test file, as another project would; returns (process, results)."""

    def run(source, *arguments):
        (tmp_path / "test_it.py").write_text(source)
        command = [sys.executable, "-m", "pytest", "-p", "attn8_host.pytest_plugin"]
        command += ["-c", "/dev/null", "--rootdir", str(tmp_path)]
        command += ["--board-results", str(tmp_path / "results.json")]
        command += ["--junitxml", str(tmp_path / "junit.xml"), str(tmp_path / "test_it.py")]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path)
        results = tmp_path / "results.json"
        return done, json.loads(results.read_text()) if results.exists() else None

    return run


@pytest.fixture
def three_boards():
    boards = [VirtualBoard() for _ in range(3)]
    yield boards
    for board in boards:
        board.stop()


def on(boards):
    return [f"--board={board.port}" for board in boards] + ["-n", "auto"]


def test_the_example_of_another_project(run, tmp_path):
    done, results = run(EXAMPLE.read_text(), "--strict-markers")
    assert done.returncode == 0, done.stdout
    ((port, board),) = results["boards"].items()
    assert (board["passed"], board["failed"], board["skipped"]) == (7, 0, 1)
    assert board["firmware"].startswith("micropython 1.")
    skipped = [test for test in results["tests"] if test["outcome"] == "skipped"]
    assert "for ESP32; this board is virtual" in skipped[0]["message"]
    for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        assert properties["board"] == port
        assert properties["chip"] == board["chip"]


def test_results_get_their_folder_and_a_folder_is_refused(run, tmp_path):
    into = tmp_path / "new/results.json"
    done, _ = run("def test_it(): pass", f"--board-results={into}")
    assert done.returncode == 0, done.stdout
    assert json.loads(into.read_text())["tests"]
    done, _ = run("def test_it(): pass", f"--board-results={tmp_path}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--board-results: {tmp_path} is a folder" in done.stderr


def test_a_failure_names_the_board_and_the_next_test_runs(run):
    done, results = run(
        "def test_a(board): board.execute('1 / 0')\n"
        "def test_b(board): assert board.execute('print(3)') == '3\\n'\n"
        "def test_host(): pass\n"
    )
    assert done.returncode == 1
    port = next(iter(results["boards"]))
    assert f"(x64) at {port}" in done.stdout
    assert [(t["outcome"], t["board"]) for t in results["tests"]] == [
        ("failed", port), ("passed", port), ("passed", None)
    ]  # fmt: skip
    assert "ZeroDivisionError" in results["tests"][0]["message"]


def test_a_board_that_dies_costs_its_own_tests_only(run, three_boards):
    victim = three_boards[1]
    done, results = run(
        "import os, signal, time, pytest\n"
        "ran = []\n"
        "@pytest.mark.parametrize('n', range(18))\n"
        "def test_it(board, n):\n"
        "    ran.append(n)\n"
        f"    if board.info.port == {victim.port!r} and len(ran) == 2:\n"
        f"        os.kill({victim.process.pid}, signal.SIGKILL)\n"
        "    time.sleep(0.1)\n"
        "    assert board.execute('print(6 * 7)') == '42\\n'\n",
        *on(three_boards),
    )
    assert done.returncode == 1
    assert len(results["tests"]) == 18
    failed = [test for test in results["tests"] if test["outcome"] == "failed"]
    assert {test["board"] for test in failed} == {victim.port}
    assert 1 <= len(failed) <= 3  # the one that it died in, and what its worker held already
    died = results["boards"][victim.port]
    assert died["passed"] == 1
    assert died["died"].startswith(f"board {victim.port} died in test_it.py::test_it[")
    assert died["died"] in done.stdout
    others = [board for port, board in results["boards"].items() if port != victim.port]
    assert sum(board["passed"] for board in others) == 18 - len(failed) - 1
    assert min(board["passed"] for board in others) >= 2  # which each has from the start


def test_count_measures_flakiness_and_retries_nothing(run):
    done, results = run(
        "import itertools\n"
        "turns = itertools.count()\n"
        "def test_unstable(board): assert next(turns) % 3\n"
        "def test_stable(board): pass\n",
        "--count", "6",
    )  # fmt: skip
    assert done.returncode == 1
    assert len(results["tests"]) == 12
    assert results["flaky"] == {"test_it.py::test_unstable": [4, 6]}
    assert "flaky: test_it.py::test_unstable passed 4 of 6" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--board", "nosuch"], "no such board: nosuch; expected auto"),
        (["-c", "", "--board", "/dev/null"], "write --board=/dev/null with ="),
        (["--board", "virtual", "--board", "virtual"], "2 boards need a worker each"),
        (["--board", "/dev/a", "--board", "/dev/b", "-n", "3"], "3 workers for 2 boards"),
    ],
)
def test_a_bad_command_line_is_one_line(run, arguments, message):
    done, _ = run("def test_a(board): pass\n", *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message}" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_board_that_is_not_there_fails_its_tests_at_once(run):
    done, results = run("def test_a(board): pass\ndef test_b(board): pass\n", "--board", "/dev/no")
    assert done.returncode == 1
    assert done.stdout.count("no such board or port: /dev/no") >= 2
    assert [test["outcome"] for test in results["tests"]] == ["failed", "failed"]


def test_it_is_light_where_no_board_is_used():
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import pytest, attn8_host.pytest_plugin"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    for heavy in ("numpy", "mpremote", "esptool", "serial", "rich", "attn8_host.boards", "xdist"):
        assert f" {heavy}\n" not in loaded
