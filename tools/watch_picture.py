"""Makes docs/watch.png: the page of `attn8 watch --demo` in headless Chromium.

    python -m tools.watch_picture
"""

import io
import re
import shutil
import subprocess
import sys

from PIL import Image
from playwright.sync_api import Locator, expect, sync_playwright

from attn8_host.paths import DEVICE

PICTURE = DEVICE.parent / "docs/watch.png"
RESULT = 196  # that is shown: all nine speakers were heard
WIDTH, HEIGHT = 1280, 800
COLOURS = 256


def shown(which: Locator) -> int:
    """The number of the result that is shown; -1: there is none."""
    number = (which.text_content() or "").partition(" ")[0]
    return int(number) if number else -1


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("needs chromium or google-chrome")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "attn8_host", "watch", "--demo", "--board", "virtual",
         "--speed", "30"], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    try:
        with sync_playwright() as made:
            chromium = made.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(found[0])
            which = page.locator("#which")
            while shown(which) < RESULT:
                page.wait_for_timeout(50)
            page.keyboard.press("Space")
            while shown(which) > RESULT:
                page.keyboard.press("ArrowLeft")
            expect(page.locator("#pause")).to_have_text("Go on")
            picture = Image.open(io.BytesIO(page.screenshot()))
            chromium.close()
    finally:
        process.terminate()
        process.communicate()
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=5,
                                          dither=Image.Dither.NONE)
    few.save(PICTURE, optimize=True)
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
