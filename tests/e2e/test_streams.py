"""What live pages stand on: a stream that tells every audit row once and in order, whatever happens to the service; and
pages that are small and soon complete."""

import gzip
import html
import json
import os
import re
import signal
import socket
import threading
from html.parser import HTMLParser

import httpx
import pytest

from stack import SERVICES, http, wait

PAGE_BYTES_MAX = 30 * 1024


# --- The stream

class Follower(threading.Thread):
    """Reads /api/stream as a browser would: comes back with the last id that it saw."""

    def __init__(self, port, after):
        super().__init__(daemon=True)
        self.port, self.last, self.rows, self.connections, self.over = port, str(after), [], 0, False
        self.start()

    def run(self):
        while not self.over:
            try:
                self.follow()
            except OSError:
                pass

    def follow(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
            head = f"GET /api/stream HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {self.last}\r\n\r\n"
            s.sendall(head.encode())
            messages = s.makefile("rb")
            if not messages.readline().startswith(b"HTTP/1.1 200"):
                return
            self.connections += 1
            message = {}
            while not self.over:
                try:
                    line = messages.readline()
                except TimeoutError:
                    return
                if not line:
                    return  # what is incomplete does not count
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    message[name] = value
                elif message:
                    self.last = message.get("id", self.last)
                    if message.get("event") == "audit":
                        self.rows.append(json.loads(message["data"]))
                    message = {}


@pytest.mark.full
def test_a_stream_that_is_resumed_tells_every_row_once_while_the_service_is_killed(stack):
    newest = stack.audit("sales")[0]["id"]
    followers = [Follower(stack.ports["SALES"], newest) for _ in range(3)]
    ids = []
    for _ in range(4):
        ids += [stack.submit() for _ in range(40)]
        before = wait(lambda: stack.pid_of("sales"), 60, "sales runs")
        os.kill(before, signal.SIGKILL)
        ids += [stack.submit() for _ in range(10)]
        wait(lambda: stack.pid_of("sales") not in (None, before), 60, "sales is back")
    stack.await_audits(ids, ["sales"], 180)
    stack.await_connected(["sales"])
    rows = [row for row in reversed(stack.audit("sales")) if row["id"] > newest]
    assert len(rows) >= len(ids)
    for follower in followers:
        wait(lambda: len(follower.rows) >= len(rows), 60, "the follower has seen all rows")
        follower.over = True
        assert follower.rows == rows
        assert follower.connections > 3, "it was to be interrupted"


# --- Pages

class Linked(HTMLParser):
    """The addresses of what a page cannot do without."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "link" and given.get("rel") in ("stylesheet", "modulepreload"):
            self.found.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.found.append(given["src"])


def transfer(client, url):
    """(bytes over the wire with a typical head, text) of what a browser would be sent."""
    with client.stream("GET", url, headers={"Accept-Encoding": "gzip, deflate, br"}) as answer:
        body = b"".join(answer.iter_raw())
    head = sum(len(k) + len(v) + 4 for k, v in answer.headers.raw) + 20
    compressed = answer.headers.get("Content-Encoding") == "gzip"
    return answer, head + len(body), (gzip.decompress(body) if compressed else body).decode()


def pages_of(stack, service, client):
    """(path, bytes, text) of all pages of a service that its links lead to, one of each kind."""
    kinds, left = {}, ["/"]
    while left:
        path = left.pop()
        kind = re.sub(r"R-[0-9A-Z]+|[0-9]+", "…", path)
        if kind in kinds or len(kinds) > 60:
            continue
        answer, size, text = transfer(client, stack.url(service) + path)
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        kinds[kind] = path, size, text
        links = map(html.unescape, re.findall(r'<a [^>]*href="([^"#]+)', text))
        left += [link for link in links if link.startswith("/") and not link.startswith("/api/")]
    return kinds.values()


@pytest.mark.parametrize("service", SERVICES)
def test_every_page_with_its_assets_is_small_and_complete_after_one_more_round_trip(stack, service):
    for _ in range(60):
        stack.submit()  # a full page of rows
    newest = stack.submit()
    stack.await_audits([newest], [service], 180)
    with httpx.Client(trust_env=False) as client:
        pages = list(pages_of(stack, service, client))
        assert len(pages) >= 4
        for path, size, text in pages:
            assets = Linked(text).found
            assert any("/assets/style.css" in url for url in assets) and any("/assets/live.js" in url for url in assets), path
            total = size
            for url in assets:
                assert re.fullmatch(r"/assets/[\w.-]+\?v=[0-9a-f]{16}", url), f"{url} on {path}"
                answer, asset_size, asset = transfer(client, stack.url(service) + url)
                assert answer.status_code == 200 and "immutable" in answer.headers["Cache-Control"], url
                # It refers to nothing that is not there yet.
                assert not re.search(r"^\s*import\b|\bimport\(|@import|url\((?!['\"]?data:)", asset, re.M), url
                total += asset_size
            print(f"{service}{path}: {total} bytes, {len(assets)} assets")
            assert total <= PAGE_BYTES_MAX, f"{path} of {service}: {total} bytes with {assets}"


def test_an_answer_is_compressed_only_for_who_takes_that(stack):
    def encoding(accept):
        answer = http.get(stack.url("sales") + "/audit", headers={"Accept-Encoding": accept})
        assert answer.headers["Vary"] == "Accept-Encoding" and "</html>" in answer.text
        return answer.headers.get("Content-Encoding")

    assert encoding("gzip") == "gzip"
    assert encoding("br;q=1, GZIP;q=0.5") == "gzip"
    assert encoding("*") == "gzip"
    for refused in ("identity", "br", "gzip;q=0", "gzip; q=0.0, br"):
        assert encoding(refused) is None, refused
