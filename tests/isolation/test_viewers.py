"""What 100 live viewers cost the service that they watch: events handled a second while it catches up, with and without
them, in pairs of one run; the time of a processor that the threads take which serve them; and how long a submit takes.
Half of the viewers read every row, half are pages: they load the page when they are told of news, and every two seconds.
Printed, and kept in var/logs/viewers.txt.

The threads' time is exact. The throughput of one arm differs from that of the next by a fifth whoever watches, as
machines are shared; so it speaks against the viewers only if it is less by a tenth in each of the pairs."""

import io
import os
import re
import selectors
import socket
import sqlite3
import statistics
import threading
import time
import uuid
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import fastavro
import json
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stack import ROOT, ByHand, http, wait
from wire import REFUND_REQUEST, refund_request

pytestmark = pytest.mark.alone

EVENTS = 10_000
PAIRS = max(3, int(os.environ.get("ISOLATION_ROUNDS", "1")))
VIEWERS = 100
COST_MAX = 0.10
STATUS_MS = 2000  # how often a status page is loaded without news
SETTLE_SECONDS = 3  # until all viewers are there and have loaded their page


class Viewers(threading.Thread):
    """Sockets that read what comes, on one thread. Every other one is a page."""

    def __init__(self, port, n):
        super().__init__(daemon=True)
        self.port, self.over, self.bytes, self.loads, self.ended = port, False, 0, 0, 0
        self.selector = selectors.DefaultSelector()
        self.pace = 0
        self.pages = {}  # socket of a page: when it was loaded last
        for i in range(n):
            self.open("/api/stream?light=1" if i % 2 else "/api/stream", i % 2)
        self.start()

    def ask(self, path):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n".encode())
        return s

    def open(self, path, is_page):
        s = self.ask(path)
        assert s.recv(12) == b"HTTP/1.1 200"
        self.selector.register(s, selectors.EVENT_READ, "page" if is_page else "rows")
        if is_page:
            self.pages[s] = 0

    def load(self, page, now):
        self.pages[page] = now
        self.loads += 1
        self.selector.register(self.ask("/"), selectors.EVENT_READ, "answer")

    def read(self, key, now):
        try:
            got = key.fileobj.recv(1 << 16)
        except ConnectionError:
            got = b""
        self.bytes += len(got)
        if not got:
            self.ended += key.data != "answer"
            self.pages.pop(key.fileobj, None)
            self.selector.unregister(key.fileobj)
            key.fileobj.close()
        elif key.data == "page" and b"event: audit" in got:
            self.pace = int(re.search(rb'"pace":(\d+)', got)[1])
            self.load(key.fileobj, now)

    def run(self):
        while not self.over:
            ready = self.selector.select(0.05)
            now = time.monotonic() * 1000
            for key, _ in ready:
                self.read(key, now)
            for page, loaded in list(self.pages.items()):
                if now - loaded > max(STATUS_MS, self.pace):
                    self.load(page, now)

    def stop(self):
        self.over = True
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()


def latest_id(registry, subject):
    """None while it has no such subject. The list of all of them is cut at a thousand."""
    try:
        return registry.get_latest_version(subject).schema_id
    except SchemaRegistryError as e:
        assert e.http_status_code == 404, e
        return None


def serving_seconds(process):
    """Processor time of the threads that serve viewers: the hub, and civetweb's."""
    total = 0
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() in ("hub", "civetweb-worker", "civetweb-master"):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class CatchUp:
    """A sales that catches up with what comes all at once. A support of the namespace has made the topic, and registered
    the schema."""

    def __init__(self, stack, hand, store):
        self.topic, self.sales, self.store = hand.topic("support.events"), hand.services["sales"], store
        self.producer = Producer({"bootstrap.servers": stack.kafka, "linger.ms": 20, "queue.buffering.max.messages": 2 * EVENTS})
        registry = SchemaRegistryClient({"url": stack.registry})
        number = wait(lambda: latest_id(registry, f"{self.topic}-returns.support.RefundRequest"), 60, "the schema")
        self.frame, self.schema = b"\0" + number.to_bytes(4), fastavro.parse_schema(json.loads(REFUND_REQUEST))

    def event(self):
        """As it will be produced."""
        event, out = refund_request("R-" + uuid.uuid4().hex[:13].upper()), io.BytesIO()
        out.write(self.frame)
        fastavro.schemaless_writer(out, self.schema, event)
        headers = {"ce_id": event["event_id"], "ce_type": "returns.support.RefundRequest", "ce_source": "http://localhost:1",
                   "ce_specversion": "1.0", "ce_time": datetime.now(timezone.utc).isoformat()}
        return {"value": out.getvalue(), "key": event["return_id"], "headers": headers}

    def newest(self):
        return self.store.execute("SELECT MAX(id) FROM audit").fetchone()[0] or 0

    def done(self, last):
        time.sleep(0.1)  # looking is not to be what is measured
        return self.newest() >= last

    def run(self, n):
        """(events a second, share of a processor for the viewers, the viewers), while n of them watch who came before."""
        events, before = [self.event() for _ in range(EVENTS)], self.newest()
        viewers = Viewers(self.sales.port, n)
        time.sleep(SETTLE_SECONDS)
        loads, served, begin = viewers.loads, serving_seconds(self.sales.process), time.monotonic()
        for event in events:
            self.producer.produce(self.topic, **event)
        assert self.producer.flush(60) == 0
        wait(lambda: self.done(before + EVENTS), 120, "sales has caught up")
        share = (serving_seconds(self.sales.process) - served) / (time.monotonic() - begin)
        viewers.loads -= loads
        viewers.stop()
        assert not viewers.ended, f"{viewers.ended} streams were ended"
        first, last = self.store.execute("SELECT MIN(at), MAX(at) FROM audit WHERE id > ?", (before,)).fetchone()
        return EVENTS / (last - first) * 1000, share, viewers


def test_a_hundred_viewers_cost_the_consumer_less_than_a_tenth(stack, tmp_path):
    lines, ratios, shares = [], [], []
    with ByHand(["support", "sales"], tmp_path, kafka=stack.kafka, registry=stack.registry) as hand:
        hand.await_connected(["support", "sales"])
        (path,) = tmp_path.glob("data/*sales*.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            sales = CatchUp(stack, hand, store)
            hand.services["support"].stop()  # it would handle the events as well
            sales.run(0)  # warm
            for i in range(PAIRS):
                arms = [0, VIEWERS] if i % 2 else [VIEWERS, 0]
                ran = {n: sales.run(n) for n in arms}
                (alone, _, _), (watched, share, viewers) = ran[0], ran[VIEWERS]
                ratios.append(watched / alone)
                shares.append(share)
                lines.append(f"{alone:8.0f} events/s alone, {watched:8.0f} with {VIEWERS} viewers ({share:.1%} of a processor, "
                             f"{viewers.loads} page loads, {viewers.bytes >> 10} kB): ×{ratios[-1]:.3f}")
    share = statistics.median(shares)
    said = "\n".join([f"viewers: sales catches up {EVENTS} events, {PAIRS} pairs", *lines,
                      f"medians: ×{statistics.median(ratios):.3f} of the throughput, {share:.1%} of a processor", ""])
    print(said)
    (ROOT / "var/logs").mkdir(parents=True, exist_ok=True)
    (ROOT / "var/logs/viewers.txt").write_text(said)
    assert share < COST_MAX and max(ratios) > 1 - COST_MAX, said


def test_posts_are_answered_while_a_hundred_watch(tmp_path):
    with ByHand(["support"], tmp_path, kafka="127.0.0.1:1", registry="http://127.0.0.1:1") as hand:
        def submits():
            took = []
            for _ in range(50):
                begin = time.perf_counter()
                hand.submit()
                took.append((time.perf_counter() - begin) * 1000)
            return statistics.median(took), max(took)

        alone = submits()
        viewers = Viewers(hand.services["support"].port, VIEWERS)
        assert http.get(hand.url("support") + "/api/stream").status_code == 503
        watched = submits()
        viewers.stop()
        print(f"a submit takes {alone[0]:.1f} ms (at most {alone[1]:.1f}) alone, {watched[0]:.1f} ms ({watched[1]:.1f}) with {VIEWERS} viewers")
        assert not viewers.ended and viewers.loads and watched[1] < 1000
