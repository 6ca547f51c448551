"""What 100 live viewers cost the service that they watch: events handled a second while it catches up, with and without
them, in pairs of one run; and how long a submit takes. Half of the viewers read every row, half are pages: they load the
page when they are told of news, and every two seconds. Printed, and kept in var/logs/viewers.txt.

On a machine that is busy with other things, whatever runs takes from the consumer, the viewers' side of this test too. So
there the processor time counts that viewers cost the service, which is measured in any case."""

import io
import os
import re
import selectors
import signal
import socket
import sqlite3
import statistics
import threading
import time
import uuid
from contextlib import closing
from datetime import datetime, timezone

import fastavro
import json
import pytest
from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from stack import ROOT, ByHand, http, wait
from wire import REFUND_REQUEST, refund_request

pytestmark = pytest.mark.alone

EVENTS = 20_000
PAIRS = max(3, int(os.environ.get("ISOLATION_ROUNDS", "1")))
VIEWERS = 100
COST_MAX = 0.10
STATUS_MS = 2000  # how often a status page is loaded without news


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


def publish_many(stack, namespace, n):
    """Into that namespace's support.events, whose schema and topic a support of the namespace has made."""
    topic = f"{namespace}.support.events"
    registry = SchemaRegistryClient({"url": stack.registry})
    subject = f"{topic}-returns.support.RefundRequest"
    number = wait(lambda: latest_id(registry, subject), 20, "the schema")
    schema = fastavro.parse_schema(json.loads(REFUND_REQUEST))
    producer = Producer({"bootstrap.servers": stack.kafka, "linger.ms": 20, "queue.buffering.max.messages": 2 * n})
    for _ in range(n):
        return_id = "R-" + uuid.uuid4().hex[:13].upper()
        event = refund_request(return_id)
        out = io.BytesIO(b"\0" + number.to_bytes(4))
        out.seek(5)
        fastavro.schemaless_writer(out, schema, event)
        headers = {"ce_id": event["event_id"], "ce_type": "returns.support.RefundRequest", "ce_source": "http://localhost:1",
                   "ce_specversion": "1.0", "ce_time": datetime.now(timezone.utc).isoformat()}
        producer.produce(topic, out.getvalue(), return_id, headers=headers)
    assert producer.flush(60) == 0


def catch_up(stack, namespace, folder, viewers):
    """(events a second, seconds of CPU, the viewers) of a sales that has never read the topic before."""
    folder.mkdir()
    settings = {"kafka": stack.kafka, "registry": stack.registry, "namespace": namespace}
    with ByHand(["sales"], folder, **settings) as hand:
        sales = hand.services["sales"]
        watching = Viewers(sales.port, viewers)
        (path,) = (folder / "data").glob("*.db")
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            def done():
                time.sleep(0.1)  # looking is not to be what is measured
                n = store.execute("SELECT MAX(id) FROM audit").fetchone()[0]
                return n == EVENTS

            wait(done, 120, "sales has caught up")
            first, last = store.execute("SELECT MIN(at), MAX(at) FROM audit").fetchone()
        with open(f"/proc/{sales.process.pid}/stat") as stat:
            ticks = sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
        watching.stop()
        assert not watching.ended, f"{watching.ended} streams were ended"
        sales.stop(signal.SIGTERM)
    return EVENTS / (last - first) * 1000, ticks / os.sysconf("SC_CLK_TCK"), watching


def test_a_hundred_viewers_cost_the_consumer_less_than_a_tenth(stack, tmp_path):
    namespace = "viewers" + uuid.uuid4().hex[:6]
    with ByHand(["support"], tmp_path, kafka=stack.kafka, registry=stack.registry, namespace=namespace) as hand:
        hand.await_connected(["support"])
        publish_many(stack, namespace, EVENTS)
    catch_up(stack, namespace, tmp_path / "warm", 0)
    busy = os.getloadavg()[0] > os.cpu_count()
    lines, ratios, shares = [], [], []
    for i in range(PAIRS):
        arms = [0, VIEWERS] if i % 2 else [VIEWERS, 0]
        ran = {n: catch_up(stack, namespace, tmp_path / f"{i}-{n}", n) for n in arms}
        (alone, alone_cpu, _), (watched, watched_cpu, viewers) = ran[0], ran[VIEWERS]
        ratios.append(watched / alone)
        shares.append((watched_cpu - alone_cpu) / (EVENTS / watched))
        lines.append(f"{alone:8.0f} events/s alone ({alone_cpu:.2f} s of CPU), {watched:8.0f} with {VIEWERS} viewers ({watched_cpu:.2f} s; "
                     f"{viewers.loads} page loads, {viewers.bytes >> 10} kB): ×{ratios[-1]:.3f}")
    cost = 1 - statistics.median(ratios)
    share = statistics.median(shares)
    said = "\n".join([f"viewers: sales catches up {EVENTS} events, {PAIRS} pairs", *lines,
                      f"median cost: {cost:.1%} of the throughput; {share:.1%} of one processor"
                      f"{', on a busy machine' if busy else ''}", ""])
    print(said)
    (ROOT / "var/logs").mkdir(parents=True, exist_ok=True)
    (ROOT / "var/logs/viewers.txt").write_text(said)
    assert share < COST_MAX and (busy or cost < COST_MAX), said


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
