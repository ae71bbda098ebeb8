"""The page of `attn8 watch` in a browser, headless Chromium, at the sizes of a laptop and a phone.

`pytest tests/test_watch_page.py --watch-minutes 10` has a board give 30 results a second for so
long, and looks at what they leave.
"""

import csv
import http.server
import io
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from attn8_host.proof.soak import growth
from attn8_host.watch.history import KEPT
from attn8_host.watch.results import WHOLE, About, Result
from attn8_host.watch.server import Server

api = pytest.importorskip("playwright.sync_api", reason="needs playwright, of attn8[dev]")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs a browser: {' or '.join(BROWSERS)}")

api.expect.set_options(timeout=60_000)  # ms: a browser shares its computer with other tests

# Nothing of it goes to a network, and root needs no sandbox
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
SIZES = {"laptop": {"viewport": {"width": 1280, "height": 800}},
         "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}}
EVIL = '<img src=x onerror="document.title=1">&amp;<script>document.title=2</script>'
ABOUT = About(f"model {EVIL}", [f"rest {EVIL}", '=wave "1"', "shake"],
              {f"layer {EVIL}": (2, 4, 4), "second": (1, 3, 5)}, f"signal {EVIL}", rate=50,
              board=f"board {EVIL}")


def result(i):
    rng = np.random.default_rng(i)
    maps = [(rng.dirichlet(np.ones(keys), rows) * WHOLE).astype(np.uint16)
            for rows, keys in ((4, 4), (4, 4), (3, 5))]
    return Result(rng.normal(0, 1000, (25, 3)), rng.dirichlet([0.3, 0.3, 0.3]), maps, 900 + i,
                  (80_000, 120_000), truth=int(rng.integers(3)))


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as made:
        found = made.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def server():
    with Server() as found:
        found.about(ABOUT)
        found.status("live", "live")
        for i in range(40):
            found.result(i / 10, result(i))
        yield found


@pytest.fixture
def opened(browser, server):
    """A function that opens the page, and what the browser complains of while it is open."""
    contexts, wrong = [], []

    def open_page(size="laptop", **options):
        context = browser.new_context(**SIZES[size], **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.goto(server.address)
        api.expect(page.locator("#which")).to_have_text("39 · 3.9 s")
        return page

    open_page.wrong = wrong
    yield open_page
    for context in contexts:
        context.close()


# Of a canvas: its CSS pixels, its own, and how many colours it has
LOOK = """(canvas) => {
  const box = canvas.getBoundingClientRect();
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return [box.width, box.height, canvas.width, canvas.height,
          new Set(new Uint32Array(data.buffer)).size];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_it_fits_and_is_crisp(opened, size, scheme):
    page = opened(size, color_scheme=scheme)
    width = SIZES[size]["viewport"]["width"]
    ratio = SIZES[size].get("device_scale_factor", 1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if size == "laptop":
        assert page.evaluate("document.documentElement.scrollHeight") <= 800
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
    for canvas in page.locator("canvas").all():
        w, h, own_w, own_h, colours = canvas.evaluate(LOOK)
        assert w > 100 and h > 50 and colours > 20
        assert (own_w, own_h) == (round(w * ratio), round(h * ratio))
        box = canvas.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    ground, ink = page.evaluate("[style('--panel'), style('--ink')]")
    assert contrast(ground, ink) > 12
    assert contrast(ground, page.evaluate("style('--faint')")) > 4.5
    assert not opened.wrong


def contrast(*colours):
    """The ratio of two colours' luminance (WCAG 2)."""
    found = []
    for colour in colours:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        found.append(float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05)
    return max(found) / min(found)


WRITTEN = """
const fill = CanvasRenderingContext2D.prototype.fillText;
window.written = new Set();
CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
  window.written.add(text);
  fill.call(this, text, ...place);
};
"""


def test_names_that_have_room_are_whole(browser, server):
    server.about(replace(ABOUT, classes=["rest", "wave", "circle"]))
    context = browser.new_context(**SIZES["phone"])
    context.add_init_script(WRITTEN)
    page = context.new_page()
    page.goto(server.address)
    api.expect(page.locator("#which")).to_have_text("39 · 3.9 s")
    assert {"rest", "wave", "circle"} <= {*page.evaluate("[...written]")}
    context.close()


def test_text_is_text(opened):
    page = opened()
    assert page.title() == "attn8 watch"
    assert page.locator("img, main script").count() == 0
    assert page.locator("#about").text_content() == (
        f"model {EVIL} · signal {EVIL} · board {EVIL}")
    assert f"layer {EVIL}, 2 heads" in page.locator("#attention canvas").get_attribute("aria-label")
    assert not opened.wrong


def test_scripts_of_others_do_not_run(opened):
    page = opened()
    page.evaluate("""() => {
      const made = document.createElement("div");
      made.innerHTML = "<img src='data:,' onerror='document.title = 1'>";
      document.body.append(made);
      const script = document.createElement("script");
      script.textContent = "document.title = 2";
      document.body.append(script);
      const other = document.createElement("script");
      other.src = "http://127.0.0.1:9/x.js";
      document.body.append(other);
    }""")
    end = time.monotonic() + 60
    while sum("Content Security Policy" in said for said in opened.wrong) < 3:  # what was blocked
        assert time.monotonic() < end, opened.wrong
        page.wait_for_timeout(20)
    assert page.title() == "attn8 watch"


def test_pause_and_step(opened, server):
    page = opened()
    which, pause = page.locator("#which"), page.locator("#pause")
    page.keyboard.press("Space")
    assert pause.get_attribute("aria-pressed") == "true"
    server.result(4.0, result(40))
    page.keyboard.press("ArrowLeft")
    api.expect(which).to_have_text("38 · 3.8 s")
    says = page.locator("#probabilities .note")
    shown = result(38)
    assert says.text_content() == (f"{ABOUT.classes[shown.answer]} · "
                                   f"{100 * shown.probabilities.max():.0f} %, it is "
                                   f"{ABOUT.classes[shown.truth]}")
    for key, wanted in (("ArrowRight", 39), ("ArrowRight", 39), ("Home", 0), ("ArrowLeft", 0),
                        ("End", 39)):
        page.keyboard.press(key)
        api.expect(which).to_have_text(f"{wanted} · {wanted / 10:.1f} s")
    page.locator("#place").fill("7")
    api.expect(which).to_have_text("7 · 0.7 s")
    page.locator("#back").click()
    api.expect(which).to_have_text("6 · 0.6 s")
    pause.click()
    api.expect(which).to_have_text("40 · 4.0 s")
    page.keyboard.press("Space")  # the button has the focus: once is enough
    assert pause.get_attribute("aria-pressed") == "true"
    assert not opened.wrong


def test_what_is_saved(opened):
    page = opened()
    with page.expect_download() as found:
        page.locator("#csv").click()
    assert found.value.suggested_filename == "attn8-watch-39.csv"
    text = found.value.path().read_bytes().decode("utf-8")
    head, *rows = csv.reader(io.StringIO(text))
    assert head == ["result", "seconds", "answer", "truth",
                    *(f"probability of {name}" for name in ABOUT.classes), "microseconds",
                    "heap bytes", "gaps"]
    assert len(rows) == 40
    for i, row in enumerate(rows):
        want = result(i)
        assert row[:4] == [str(i), f"{i / 10:g}", ABOUT.classes[want.answer],
                           ABOUT.classes[want.truth]]
        assert [float(p) for p in row[4:7]] == pytest.approx(want.probabilities, abs=1e-5)
        assert row[7:] == [str(900 + i), "80000", "0"]
    with page.expect_download() as found:
        page.locator("#png").click()
    assert found.value.suggested_filename == "attn8-watch-39.png"
    picture = matplotlib.image.imread(io.BytesIO(found.value.path().read_bytes()))
    height, width, _ = picture.shape
    assert 1200 < width <= 1280 and 600 < height <= 800
    assert len(np.unique(picture[..., :3].sum(axis=-1))) > 500
    assert not opened.wrong


def test_the_end_is_said(browser, opened):
    with Server() as other:
        other.about(ABOUT)
        other.status("live", "live")
        other.result(0.0, result(0))
        page = browser.new_page()
        page.goto(other.address)
        api.expect(page.locator("#which")).to_have_text("0 · 0.0 s")
        other.status("lost", f"the board is lost and looked for again: {EVIL}")
        api.expect(page.locator("#status")).to_have_text(
            f"the board is lost and looked for again: {EVIL}")
        assert page.locator("#status").get_attribute("data-state") == "lost"
        other.status("ended", "ended: its port is gone")
    api.expect(page.locator("#status")).to_have_text("ended: its port is gone")
    page.keyboard.press("ArrowLeft")  # what came remains to be looked at
    api.expect(page.locator("#pause")).to_have_text("Go on")
    page.close()


# What a page of another origin can do with an address that it was given
TRY = """async (address) => {
  const socket = new WebSocket(address.replace("http", "ws") + "live");
  const opened = new Promise((done) => {
    socket.onopen = () => done("opened");
    socket.onerror = () => done("refused");
  });
  const read = fetch(address).then((it) => it.text(), () => "refused");
  const blind = fetch(address, { mode: "no-cors" }).then((it) => it.type, () => "refused");
  return [await opened, await read, await blind];
}"""


def test_a_page_of_another_origin_gets_nothing(browser, server):
    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Foreign)
    thread = threading.Thread(target=foreign.serve_forever)
    thread.start()
    try:
        page = browser.new_page()
        page.goto(f"http://localhost:{foreign.server_port}/")
        assert page.evaluate(TRY, server.address) == ["refused", "refused", "refused"]
        named = server.address.replace("127.0.0.1", "localhost")  # same site, another port
        assert page.evaluate(TRY, named) == ["refused", "refused", "refused"]
        page.evaluate("""(address) => new Promise((done) => {
          const made = document.createElement("iframe");
          made.onload = done;
          made.src = address;
          document.body.append(made);
        })""", named)
        frame = page.frames[-1]
        assert frame != page.main_frame and "attn8" not in frame.content()
        page.close()
    finally:
        foreign.shutdown()
        thread.join()
        foreign.server_close()


class Foreign(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>another</title>")

    def log_message(self, *_):
        pass


def memory(session):
    """Bytes that a page holds, once what nobody needs is collected."""
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")
    return used["usedSize"] + used.get("backingStorageSize", 0)


def test_the_page_keeps_the_last_results_and_no_more(opened, server):
    page = opened()
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    looks, elements = [], []
    count = 40
    for more in (KEPT, *[KEPT // 2] * 5):
        for i in range(count, count := count + more):
            server.result(i / 10, result(i % 40))
        api.expect(page.locator("#which")).to_have_text(f"{count - 1} · {(count - 1) / 10:.1f} s")
        assert page.evaluate("results.length") == KEPT
        looks.append(memory(session))
        elements.append(page.evaluate("document.querySelectorAll('*').length"))
    assert len({*elements}) == 1
    assert growth(looks) < 400_000  # of 750 results, each of which is 2 kB
    assert not opened.wrong


def test_nothing_grows(request, browser):
    """Heap of the board, memory of the host, and of the page, while 30 results come a second."""
    minutes = request.config.getoption("--watch-minutes")
    if not minutes:
        pytest.skip("takes minutes: --watch-minutes 10")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "attn8_host", "watch", "--demo", "digits", "--board",
         "virtual", "--speed", "30"], stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://\S+", process.stdout.readline())[0]
        page = browser.new_page(**SIZES["laptop"])
        page.goto(address)
        session = page.context.new_cdp_session(page)
        session.send("HeapProfiler.enable")
        board, host, script, counts = [], [], [], []
        start, end = None, time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            page.wait_for_timeout(5000)
            kept, count, heap = page.evaluate(
                "[results.length, results.at(-1)?.number, results.at(-1)?.heap[0]]")
            if kept < KEPT:  # until then the page, and the host, have more to keep
                continue
            start = start or (count, time.monotonic())
            board.append(heap)
            script.append(memory(session))
            status = Path(f"/proc/{process.pid}/status").read_text()
            host.append(1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1]))
            counts.append(count)
        number, since = counts[-1] - start[0], time.monotonic() - start[1]
        print(f"{number} results, {number / since:.2f} a second, {len(board)} looks; bytes at "
              "first, at last, and grown:", *(
                  f"{name} {looks[0]:,} {looks[-1]:,} {growth(looks):,}"
                  for name, looks in (("board", board), ("host", host), ("page", script))))
        assert number / since > 29
        assert growth(board) == 0
        assert growth(host) < 1 << 20 and growth(script) < 1 << 20
        page.close()
    finally:
        process.terminate()
        process.communicate()
