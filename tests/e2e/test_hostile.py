"""Peers that are slow, many, half gone or up to something: others are answered at once, memory stays bounded, and the
workers come back. One support service, started by hand, without Kafka."""

import contextlib
import json
import os
import re
import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from stack import ByHand, form, http, request, wait
from test_input import NOWHERE, Support

QUICK = 2.0  # seconds that nobody may have to wait; alone it is a few milliseconds, without the guard ten seconds and more
CROWD = 500
GROWTH_KB = 48_000
GOOD = json.dumps(request()).encode()
HEAD = b"POST /api/returns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
ASK = b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with ByHand(["support"], tmp_path_factory.mktemp("hostile"), **NOWHERE) as hand:
        hand.submit()
        yield Support(hand)


def sockets(process):
    found = 0
    for entry in (process / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(entry).startswith("socket:")
    return found


@pytest.fixture
def support(running):
    """What is attempted changes nothing, and leaves neither a descriptor nor a thread behind."""
    process = Path(f"/proc/{running.hand.services['support'].process.pid}")
    before, threads, open_before = running.holds(), len(os.listdir(process / "task")), sockets(process)
    yield running
    assert running.holds() == before
    wait(lambda: sockets(process) <= open_before, 60, "the connections are closed")
    assert len(os.listdir(process / "task")) == threads
    assert others_wait(running, 20) < QUICK


@contextlib.contextmanager
def clients(support, n, first=b""):
    """Connections that have sent this much."""
    opened = []
    try:
        for _ in range(n):
            s = socket.create_connection(("127.0.0.1", support.port), timeout=10)
            opened.append(s)
            with contextlib.suppress(OSError):
                s.sendall(first)
        yield opened
    finally:
        for s in opened:
            s.close()


def others_wait(support, times=30):
    """The longest that another user waited, in seconds."""
    longest = 0
    for _ in range(times):
        begin = time.monotonic()
        assert support.raw(ASK).startswith(b"HTTP/1.1 200")
        longest = max(longest, time.monotonic() - begin)
    return longest


def memory(support):
    return support.hand.services["support"].resident_kb()[0]


def holds_against(support, n, first, trickle=b"", record=lambda *_: None):
    """With n such clients, which send one more byte of `trickle` now and then, others are answered at once."""
    before, stop = memory(support), threading.Event()

    def send(opened):
        for i in range(len(trickle)):
            for s in opened:
                with contextlib.suppress(OSError):
                    s.send(trickle[i : i + 1])
            if stop.wait(0.02):
                return

    with clients(support, n, first) as opened:
        sender = threading.Thread(target=send, args=[opened])
        sender.start()
        try:
            longest = others_wait(support)
            grown = memory(support) - before
        finally:
            stop.set()
            sender.join()
    record("longest_wait_ms", round(longest * 1000))
    record("grown_kb", grown)
    print(f"{n} clients: others waited {longest * 1000:.0f} ms at most; memory grew by {grown} kB")
    assert longest < QUICK
    assert grown < GROWTH_KB


CROWDS = {
    "say nothing": (b"", b""),
    "stop within the head": (b"GET /api/status HTTP/1.1\r\nHost: ", b""),
    "send the head a byte at a time": (b"GET /api/status HTTP/1.1\r\nX: ", b"x" * 5000),
    "stop within the body": (HEAD + b"Content-Length: 60000\r\n\r\n{", b""),
    "send the body a byte at a time": (HEAD + b"Content-Length: 60000\r\n\r\n{", b" " * 5000),
    "stop within a large body": (HEAD + b"Content-Length: 60000\r\n\r\n{" + b" " * 20_000, b""),
    "were answered and stay": (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
}


@pytest.mark.full
@pytest.mark.alone
@pytest.mark.parametrize("first, trickle", CROWDS.values(), ids=CROWDS.keys())
def test_500_connections_that(support, first, trickle, record_property):
    holds_against(support, CROWD, first, trickle, record_property)


@pytest.mark.full
@pytest.mark.alone
def test_a_crowd_that_keeps_coming_back(support, record_property):
    """Whoever is cut off connects again at once: still nobody else waits long."""
    stop = threading.Event()

    def insist():
        while not stop.is_set():
            with clients(support, 60, b"GET /") as opened:
                stop.wait(0.3)

    pushers = [threading.Thread(target=insist) for _ in range(4)]
    for p in pushers:
        p.start()
    try:
        longest = others_wait(support)
    finally:
        stop.set()
        for p in pushers:
            p.join()
    record_property("longest_wait_ms", round(longest * 1000))
    assert longest < QUICK


@pytest.mark.full
@pytest.mark.alone
def test_clients_that_do_not_read_their_answers(support, record_property):
    page = b"GET /returns/new HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
    holds_against(support, 40, page, record=record_property)


@pytest.mark.full
@pytest.mark.alone
def test_clients_that_do_not_read_a_long_answer(support, record_property):
    """More of them than workers, each with an answer that no socket holds."""
    (path,) = (support.hand.services["support"].folder / "data").glob("*.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("""
            INSERT INTO audit (at, action, outcome, actor, summary, hash)
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
            SELECT i, 'fill', 'accepted', 'test', printf('%0400d', i), zeroblob(32) FROM n""")
        try:
            first = b"GET /api/audit.jsonl HTTP/1.1\r\nHost: localhost\r\n\r\n"
            holds_against(support, 20, first, record=record_property)
        finally:
            store.execute("DELETE FROM audit WHERE action = 'fill'")


@pytest.mark.full
@pytest.mark.alone
def test_half_closed_connections(support, record_property):
    """Half a request, and then nothing more to come: the worker is free at once. A whole one is answered."""
    for data in (b"GET /", HEAD + b"Content-Length: 500\r\n\r\n{", b"", b"\r\n\r\n"):
        begin = time.monotonic()
        answer = support.raw(data, half_close=True)
        assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer)
        assert time.monotonic() - begin < QUICK, data
    assert support.raw(ASK, half_close=True).startswith(b"HTTP/1.1 200")
    with clients(support, 100, b"GET /") as opened:
        for s in opened:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_WR)
        longest = others_wait(support)
        record_property("longest_wait_ms", round(longest * 1000))
        assert longest < QUICK


def send_a_gigabyte(support, answers):
    chunk, left = b"x" * (1 << 20), 1 << 30
    with socket.create_connection(("127.0.0.1", support.port), timeout=10) as s:
        s.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % left)
        try:
            while left:
                s.sendall(chunk)
                left -= len(chunk)
        except OSError:
            pass
        try:
            answers.append((s.recv(100), left))
        except OSError:
            answers.append((b"", left))


@pytest.mark.full
@pytest.mark.alone
def test_bodies_of_a_gigabyte(support, record_property):
    before, answers = memory(support), []
    senders = [threading.Thread(target=send_a_gigabyte, args=[support, answers]) for _ in range(20)]
    for s in senders:
        s.start()
    longest = others_wait(support, 10)
    for s in senders:
        s.join(60)
    record_property("longest_wait_ms", round(longest * 1000))
    assert len(answers) == 20
    assert all(left for _, left in answers), "nobody takes in a gigabyte to refuse it"
    assert memory(support) - before < GROWTH_KB
    assert longest < 2 * QUICK


# --- Where one request ends and the next begins

HIDDEN = b"POST /api/returns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(GOOD), GOOD)
CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"
SHAPES = {
    "length and chunked": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked": (b"Transfer-Encoding: chunked\r\n", CHUNKED),
    "chunked, folded": (b"Transfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked, after a tab": (b"Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked, blank before the colon": (b"Transfer-Encoding : chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked, in other letters": (b"tRANSFER-eNCODING: cHuNkEd\r\nContent-Length: 5\r\n", b"0\r\n\r\n"),
    "chunked twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
    "identity": (b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n", b"hello"),
    "a coding that nobody knows": (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
    "a chunk's size with a sign": (b"Transfer-Encoding: chunked\r\n", b"-1\r\n\r\n"),
    "a chunk's size that overflows": (b"Transfer-Encoding: chunked\r\n", b"ffffffffffffffff1\r\nx"),
    "a chunk's extension with a bare LF": (b"Transfer-Encoding: chunked\r\n", b"0;a\n\r\n\r\n"),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: 5\r\n", b"hello"),
    "two equal lengths": (b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"),
    "a list of lengths": (b"Content-Length: 5, 5\r\n", b"hello"),
    "a length with a sign": (b"Content-Length: +5\r\n", b"hello"),
    "a length in hexadecimal": (b"Content-Length: 0x5\r\n", b"hello"),
    "a length with leading text": (b"Content-Length: a5\r\n", b"hello"),
    "a length, folded": (b"Content-Length:\r\n 5\r\n", b"hello"),
    "a length, blank before the colon": (b"Content-Length : 5\r\n", b"hello"),
    "an empty length": (b"Content-Length:\r\n", b"hello"),
    "a length after a bare LF": (b"X: y\nContent-Length: 5\r\n", b"hello"),
    "a length after a bare CR": (b"X: y\rContent-Length: 5\r\n", b"hello"),
    "a header without a name": (b": x\r\nContent-Length: 5\r\n", b"hello"),
    "a NUL in a header": (b"X: a\0b\r\nContent-Length: 5\r\n", b"hello"),
    "a folded header": (b"X: y\r\n Content-Length: 0\r\nContent-Length: 5\r\n", b"hello"),
    "a name with a blank in it": (b"X Y: z\r\nContent-Length: 5\r\n", b"hello"),
}


@pytest.mark.parametrize("method", [b"POST", b"GET"])
@pytest.mark.parametrize("headers, body", SHAPES.values(), ids=SHAPES.keys())
def test_what_another_server_would_have_read_differently(support, method, headers, body):
    """Refused with one answer, and the connection ends: what comes behind it is never taken for a request."""
    answer = support.raw(method + HEAD[4:] + headers + b"\r\n" + body + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, answer
    assert b"Connection: close\r\n" in answer


def test_a_get_with_a_body_hides_nothing(support):
    inner = b"GET /api/nothing HTTP/1.1\r\n\r\n"
    answer = support.raw(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(inner) + inner + ASK)
    assert answer.count(b"HTTP/1.1 200") == 2 and b"HTTP/1.1 404" not in answer


def test_requests_in_one_piece_are_answered_in_their_order(support):
    many = [b"/livez", b"/api/returns/R-1", b"/assets/style.css", b"/api/returns/R-2"]
    answer = support.raw(b"".join(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path for path in many) + ASK)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200", b"404", b"200"]
    assert answer.index(b"R-1") < answer.index(b"R-2")


def test_behind_a_refused_body_nothing_is_read(support):
    answer = support.raw(HEAD + b"Content-Length: 70000\r\n\r\n" + HIDDEN + b" " * 70000)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 413")


# --- Pages of other sites

@pytest.mark.parametrize("headers", [
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "Cross-Site"},
    {"Sec-Fetch-Site": ""}, {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Origin": ""},
    {"Origin": "http://localhost"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "{self}"},
], ids=str)
@pytest.mark.parametrize("path", ["/returns", "/api/returns"])
def test_a_post_from_a_page_of_another_site(support, path, headers):
    sent = {"data": form(request())} if path == "/returns" else {"json": request()}
    headers = {name: value.replace("{self}", support.url) for name, value in headers.items()}
    answer = http.post(support.url + path, headers=headers, **sent)
    assert answer.status_code == 403, answer.text


ANSWERS = {
    "/": 200, "/returns": 200, "/returns/new": 200, "/audit": 200, "/status": 200, "/assets/style.css": 200, "/api/status": 200,
    "/metrics": 200, "/livez": 200, "/audit?limit=0": 400, "/nothing": 404, "/api/nothing": 404, "/%zz": 400,
    "/a" * 3000: 414,
}


@pytest.mark.parametrize("path, status", ANSWERS.items(), ids=[p[:20] for p in ANSWERS])
def test_every_answer_has_the_security_headers(support, path, status):
    answer = http.get(support.url + path)
    assert answer.status_code == status
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy)
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert not {"Access-Control-Allow-Origin", "Server", "X-Powered-By"} & set(answer.headers)
    if "html" in answer.headers["Content-Type"]:
        text = re.sub(r'<script type="module" src="/assets/[a-z]+\.js\?v=[0-9a-f]+"></script>', "", answer.text)
        assert not re.search(r"<script|\son\w+=|javascript:|\sstyle=", text), "nothing that the policy forbids"


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                                  HEAD + b"Content-Length: x\r\n\r\n"])
def test_what_is_refused_early_has_them_too(support, data):
    answer = support.raw(data)
    assert b"Content-Security-Policy: default-src 'none'" in answer and b"nosniff" in answer
