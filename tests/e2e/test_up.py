"""How long `./returns up` waits, and what it completes: the shell's functions by themselves, without a stack."""

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import ROOT

WAIT = """
set -euo pipefail
for library in "$RETURNS_ROOT"/compose/local/*.sh; do source "$library"; done
PROCESSES=(kafka registry support) VERB=up
mkdir -p "$RETURNS_HOME/logs" "$RETURNS_HOME/run"
stack_starts() { say 0; }
sleep() { SECONDS=$((SECONDS + 5)); } # its clock runs faster than ours
after() { ((SECONDS >= $1)); }
readiness() { %s; }
stack_wait 'Waiting' 60
"""


def waits(tmp_path, readiness):
    env = {"RETURNS_ROOT": ROOT, "RETURNS_HOME": tmp_path, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", WAIT % readiness], env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("readiness", [
    'if after 125 || [[ $1 == kafka ]] && after 50; then say ready; elif [[ $1 == support ]] && after 100; then say x; else say starting; fi',
    'if after 125; then say ready; elif [[ $1 == support ]]; then say "waiting for $(after 100 && say topics || { after 50 && say schemas || say Kafka; })"; else say starting; fi',
    'if after 125; then say ready; else echo "loading part $(after 100 && say D || { after 50 && say B || say A; })" >>"$RETURNS_HOME/logs/kafka.log"; say starting; fi',
], ids=["one after the other", "says what it waits for", "logs"])
def test_a_slow_machine_is_waited_for_as_long_as_there_is_progress(tmp_path, readiness):
    code, said = waits(tmp_path, readiness)
    assert code == 0, said


@pytest.mark.parametrize("readiness", [
    'if [[ $1 == kafka ]]; then say ready; else say starting; fi',
    'if [[ $1 == kafka ]]; then say ready; else say "waiting for Kafka, asked $RANDOM times"; fi',
    'if [[ $1 == kafka ]]; then say ready; else echo "$EPOCHREALTIME id $RANDOM: cannot connect" >>"$RETURNS_HOME/logs/registry.log"; say starting; fi',
], ids=["silent", "says the same", "logs the same"])
def test_without_progress_it_names_what_stands_still(tmp_path, readiness):
    code, said = waits(tmp_path, readiness)
    assert code == 1 and "no progress in the last 60 s: registry, support" in said, said


@pytest.mark.parametrize("more", ["", "store failed: disk full; "], ids=["held", "and more"])
def test_a_held_service_is_not_waited_for(tmp_path, more):
    """It waits for a command of ours: all that it says is shown, once, and nothing is waited for."""
    held = more + 'history failed: nothing is handled: its database \\"x\\" is new. Make it whole: ./returns rebuild support'
    code, said = waits(tmp_path, f'if [[ $1 == support ]]; then say "{held}"; elif after 300; then say ready; else say "waits $SECONDS"; fi')
    assert code == 1 and said.count("./returns rebuild support") == 1 and "no progress" not in said, said
    assert f"support: {held}".replace("\\", "") in said and "./returns up again" in said, said


def test_kafkas_heap_is_not_taken_by_its_log_cleaner():
    """Which takes its buffer when it starts, and keeps it; half of the heap made it collect in full 12 times a minute."""
    properties = (ROOT / "compose/local/server.properties").read_text()
    buffer = int(re.search(r"^log.cleaner.dedupe.buffer.size=(\d+)$", properties, re.M)[1])
    heap = int(re.search(r"-Xmx(\d+)m", (ROOT / "compose/local/run").read_text())[1]) << 20
    assert 1 << 20 < buffer < heap / 20, "Kafka refuses less than 1 MiB"


class Sales(ThreadingHTTPServer):
    """Stands in for sales: keeps orders, and can refuse from some request on."""

    def __init__(self):
        self.orders, self.customers, self.posts, self.refuses_from = {}, set(), 0, None
        super().__init__(("127.0.0.1", 0), Requests)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, path, body):
        self.posts += 1
        if self.refuses_from is not None and self.posts >= self.refuses_from:
            return 503
        if path == "/api/customers":
            new = body["customer_id"] not in self.customers
            self.customers.add(body["customer_id"])
            return 201 if new else 409
        if path == "/api/orders":
            self.orders[body["order_id"]] = {"order_id": body["order_id"], "version": 1, "state": "placed"}
            return 201
        order = self.orders[path.split("/")[3]]
        if order["version"] != 1:
            return 412
        order |= {"version": 2, "state": "completed"}
        return 200


class Requests(BaseHTTPRequestHandler):
    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        order = self.server.orders.get(self.path.rpartition("/")[2])
        if self.path.startswith("/api/customers"):
            return self.answer(200, {"customers": sorted(self.server.customers)})
        self.answer(200 if order else 404, order or {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(self.server.take(self.path, body), {})

    def log_message(self, *_):
        pass


@pytest.fixture
def sales():
    with Sales() as server:
        yield server
        server.shutdown()


def place(url):
    return subprocess.run(["bash", ROOT / "compose/local/examples.sh", url], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("refused", [1, 2, 3, 4, 9, 18])
def test_the_examples_are_completed_wherever_they_were_cut_short(sales, refused):
    sales.refuses_from = refused
    done = place(sales.url)
    assert done.returncode == 1 and "HTTP status 503" in done.stderr, done
    sales.refuses_from = None
    done = place(sales.url)
    assert done.returncode == 0 and f"{6 - (refused - 1) // 3} of them" in done.stdout, done
    assert [order["state"] for order in sales.orders.values()] == ["completed"] * 6
    assert "0 of them" in place(sales.url).stdout


def test_customers_of_others_do_not_keep_the_examples_away(sales):
    """`./returns submit` registers the customer of its return, also before an `up` came to the examples."""
    sales.customers.add("C-another")
    assert place(sales.url).returncode == 0 and len(sales.orders) == 6


def test_an_example_that_was_changed_since_is_left_alone(sales):
    assert place(sales.url).returncode == 0
    sales.orders["ORD-20481"] |= {"version": 3, "state": "placed"}
    assert place(sales.url).returncode == 0 and sales.orders["ORD-20481"]["version"] == 3


def test_without_sales_the_examples_fail(sales):
    sales.shutdown()
    sales.server_close()
    done = place(sales.url)
    assert done.returncode == 1 and "HTTP status 000" in done.stderr, done
