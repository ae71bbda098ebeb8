"""The page of `attn8 watch` is for this computer and for who knows its address, and for no page
else; what it is given is text."""

import http.client
import json
import re
import socket
import struct
from html.parser import HTMLParser

import numpy as np
import pytest
import websockets
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from attn8_host.errors import Attn8Error
from attn8_host.watch.history import KEPT
from attn8_host.watch.results import About, Result
from attn8_host.watch.server import ADDRESS, PAGE, Server, packed

ABOUT = About("model", ["a", "b"], {"attn": (1, 2, 3)}, "a test")


def result(i):
    maps = [np.arange(6, dtype=np.uint16).reshape(2, 3) + i]
    return Result(np.array([[i, 0.5]]), np.array([0.25, 0.75]), maps, 70 + i, (1000, 2000))


@pytest.fixture
def server():
    with Server() as found:
        found.about(ABOUT)
        found.status("live", "live")
        yield found


def ask(server, path, host=None, method="GET", **headers):
    """(status, headers, body) of a request as it is given."""
    connection = http.client.HTTPConnection(ADDRESS, server.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for each in [f"{ADDRESS}:{server.port}"] if host is None else host:
        connection.putheader("Host", each)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


def live(server, **options):
    return connect(server.address.replace("http", "ws") + "live", proxy=None, **options)


def own(server):
    return f"http://{ADDRESS}:{server.port}"


def unpacked(message):
    (length,) = struct.unpack_from("<I", message)
    return json.loads(message[4 : 4 + length]), np.frombuffer(message, "<u2", offset=4 + length)


@pytest.mark.parametrize(("file", "kind"), [
    ("", "text/html"), ("app.js", "text/javascript"), ("style.css", "text/css"),
])
def test_the_page_loads_its_own_files_alone(server, file, kind):
    status, headers, body = ask(server, f"/{server.token}/{file}")
    assert status == 200 and headers["Content-Type"] == f"{kind}; charset=utf-8"
    assert body == (PAGE / (file or "index.html")).read_text(encoding="utf-8")
    policy = dict(each.split(" ", 1) for each in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("img-src") == "data:"  # its icon, which is none
    assert {*policy.values()} == {"'self'", "'none'"}
    assert {key for key, value in policy.items() if value == "'self'"} == {
        "script-src", "style-src", "connect-src"}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"  # the token is in the address
    assert headers["Cache-Control"] == "no-store"
    assert not any(name.startswith("Access-Control") for name in headers)


@pytest.mark.parametrize("host", [
    ["evil.example"], ["evil.example:{port}"], ["127.0.0.1"], ["127.0.0.1:1"], ["127.0.0.2:{port}"],
    ["localhost.evil.example:{port}"], ["127.0.0.1:{port}.evil.example"], [],
    ["127.0.0.1:{port}", "evil.example"], [""], ["127.0.0.1:{port} "[:-1] + "0"],
])  # fmt: skip
def test_another_host_is_refused(server, host):
    """As of a page whose name was made to lead here."""
    status, _, body = ask(server, f"/{server.token}/", [each.format(port=server.port)
                                                        for each in host])
    assert (status, body) == (403, "refused: another host\n")


def test_this_computer_by_name_is_itself(server):
    assert ask(server, f"/{server.token}/", [f"localhost:{server.port}"])[0] == 200


ORIGINS = ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}",
           "http://localhost:{port}", "http://127.0.0.1:{port}0", "http://127.0.0.1:{port}.evil"]


@pytest.mark.parametrize("origin", ORIGINS)
def test_another_origin_is_refused(server, origin):
    origin = origin.format(port=server.port)
    status, _, body = ask(server, f"/{server.token}/app.js", Origin=origin)
    assert (status, body) == (403, "refused: another origin\n")
    with pytest.raises(InvalidStatus) as error, live(server, origin=origin):
        pass
    assert error.value.response.status_code == 403


def test_a_socket_without_an_origin_is_refused(server):
    with pytest.raises(InvalidStatus) as error, live(server):
        pass
    assert error.value.response.status_code == 403


@pytest.mark.parametrize("path", [
    "/", "//", "/live", "/app.js", "/{token}x/", "/{short}/", "/{lower}/", "/x/{token}/",
    "/?{token}/", "/{short}%00/", "/%C3%BF/",
])  # fmt: skip
def test_a_wrong_token_is_refused(server, path):
    token = server.token
    path = path.format(token=token, short=token[:-1], lower=token.swapcase())
    assert ask(server, path)[0] == 403
    address = f"ws://{ADDRESS}:{server.port}{path}live"
    with pytest.raises(InvalidStatus) as error, connect(address, origin=own(server), proxy=None):
        pass
    assert error.value.response.status_code == 403


@pytest.mark.parametrize("path", ["../server.py", "%2e%2e/server.py", "/etc/passwd", "index.html",
                                  "app.js/", "app.js?", "..", "live/", "__init__.py"])
def test_no_other_file_is_served(server, path):
    assert ask(server, f"/{server.token}/{path}")[0] == 404


def test_nothing_can_be_sent_to_it(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD"):
        try:
            assert ask(server, f"/{server.token}/", method=method)[0] == 405
        except http.client.RemoteDisconnected:
            assert int(websockets.__version__.partition(".")[0]) < 17  # it just hung up
    with live(server, origin=own(server)) as page:
        page.send("x" * 100)
        assert json.loads(page.recv())["type"] == "about"  # and what it says moves nothing
    assert ask(server, f"/{server.token}/")[0] == 200


def test_only_this_computer_reaches_it(server):
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", server.port), 5):
        pass


def test_nobody_guesses_the_token():
    tokens = set()
    for _ in range(3):
        with Server() as found:
            tokens.add(found.token)
    assert len(tokens) == 3
    assert all(re.fullmatch(r"[\w-]{22}", token) for token in tokens)  # 128 bits


def test_a_port_in_use_is_refused(server):
    with pytest.raises(Attn8Error, match=f"--port {server.port}: Address already in use; give"):
        Server(server.port)


def test_a_page_gets_what_there_is_and_what_comes(server):
    for i in range(3):
        server.result(i / 10, result(i))
    with live(server, origin=own(server)) as page:
        said = json.loads(page.recv())
        assert said["type"] == "about" and said["classes"] == ["a", "b"] and said["kept"] == KEPT
        assert json.loads(page.recv()) == {"type": "status", "state": "live", "text": "live"}
        for i in range(5):
            head, maps = unpacked(page.recv())
            assert head["number"] == i and head["answer"] == 1 and head["microseconds"] == 70 + i
            assert head["signal"] == [i, 0.5] and head["probabilities"] == [0.25, 0.75]
            assert (maps == np.arange(6) + i).all()
            if 2 <= i < 4:  # one a page has not got yet and a status come in either order
                server.result(0, result(i + 1))
        server.status("lost", "gone")
        assert json.loads(page.recv())["state"] == "lost"


def test_a_page_that_comes_late_gets_the_last_ones(server):
    for i in range(KEPT + 40):
        server.result(0, result(i))
    with live(server, origin=own(server)) as page:
        page.recv(), page.recv()
        numbers = [unpacked(page.recv())[0]["number"] for _ in range(KEPT)]
    assert numbers == list(range(40, KEPT + 40))


def test_the_last_word_reaches_the_page():
    with Server() as server:
        server.about(ABOUT)
        with live(server, origin=own(server)) as page:
            page.recv()
            server.result(0, result(0))
            server.status("ended", "ended after 1 results")
            server.close()
            said = [each if isinstance(each, str) else "result" for each in page]
    said.remove("result")  # whichever came first
    assert len(said) == 1 and "ended after 1" in said[0]


def test_a_result_as_it_is_sent():
    for name in ("a", "bc"):  # whatever the text's length, the maps begin at an even place
        made = result(7)
        made.truth, made.signal = len(name), np.ones((1, len(name)))
        head, maps = unpacked(packed(3, 1.23456, made))
        assert head["seconds"] == 1.235 and head["truth"] == len(name)
        assert (maps == np.arange(6) + 7).all()


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.scripts = [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.scripts += data.strip()


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    page = Page()
    page.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    assert len(page.tags) > 20 and not page.scripts
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        for name in ("src", "href"):
            assert attributes.get(name, "data:,") in ("data:,", "app.js", "style.css")
    for file in ("app.js", "style.css"):
        text = (PAGE / file).read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|"
                             r"new Function|https?://|@import|url\(|setAttribute\(.on", text), file


def test_every_canvas_and_button_has_words():
    page = Page()
    page.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        if tag == "canvas":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if tag in ("button", "input"):
            assert attributes.get("aria-label") or attributes.get("title")
