"""What a service answers does nothing to the terminal of who runs a verb; and doctor names all that a service waits for.
A pretender stands in for the services, so no stack is needed."""

import json
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stack import BIN, ROOT

# What moves a cursor, sets a title, ends a line, or turns the order: C0, DEL, C1 as UTF-8 and as a byte, bidirectional.
HOSTILE = "a\x1b]0;pwned\x07\x1b[2J\r\x08\x7f\u009b31m\u0090x\u009c\u202eb\u2066c\u2028level=error Köln 📦"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
DENIED = 'nothing more is read: Kafka denies User:sales the operation Read on the topic "support.events". Allow it; \\ ü'

VERB = """
set -euo pipefail
for library in "$RETURNS_ROOT"/compose/local/*.sh; do source "$library"; done
VERB=$1
settings_read() {
    SERVICES=(support sales) PROCESSES=(support sales) RETURNS_HOST=127.0.0.1
    declare -gA PORTS=([support]=$PORT [sales]=$PORT)
}
stack_running() { true; }
stack_must_run() { true; }
supervisor() { printf '%s RUNNING pid 1, uptime 0:00:01\\n' support sales; }
shift
source "$RETURNS_ROOT/compose/verbs/$VERB"
"""


class Pretender(ThreadingHTTPServer):
    def __init__(self):
        self.says = {}  # path: (status, body)
        super().__init__(("127.0.0.1", 0), Requests)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class Requests(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        status, body = next((said for start, said in self.server.says.items() if path.startswith(start)), (404, {}))
        body = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def pretender():
    with Pretender() as server:
        yield server
        server.shutdown()


def verb(pretender, home, *words):
    env = {"RETURNS_ROOT": ROOT, "RETURNS_HOME": home, "PATH": "/usr/bin:/bin", "PORT": str(pretender.port)}
    done = subprocess.run(["bash", "-c", VERB, "returns", *words], env=env, cwd=ROOT, capture_output=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def assert_safe(said, *words):
    text = said.decode()  # a C1 byte alone would not be UTF-8
    found = UNSAFE.search(text)
    assert not found, text[max(0, found.start() - 80) : found.end() + 20]
    for word in words:
        assert word in text, text
    return text


def waits_for(*texts):
    return {"/readyz": (200, b"ready\n"), "/api/status": (200, {"state": "waiting", "waiting_for": list(texts), "x": ["y"]})}


def test_doctor_and_status_name_all_that_is_denied(pretender, tmp_path):
    pretender.says = waits_for(DENIED, "the second")
    for words in ["doctor"], ["status"]:
        code, said = verb(pretender, tmp_path, *words)
        assert code == 1
        text = assert_safe(said, f"{DENIED}; the second")
        assert text.count(DENIED) == 2, "of both services"
    pretender.says = waits_for()
    code, said = verb(pretender, tmp_path, "status")
    assert code == 0 and said.count(b" ready\n") == 2, said


def test_doctor_names_what_failed(pretender, tmp_path):
    pretender.says = {"/readyz": (503, "[+]kafka ok: reads\n[-]store failed: the disk; is full\n[-]x failed\nnot ready\n".encode())}
    code, said = verb(pretender, tmp_path, "doctor")
    assert code == 1 and "sales: store failed: the disk; is full; x failed. Its log" in said.decode(), said


REFUSED = {"detail": HOSTILE, "errors": [{"field": HOSTILE, "detail": HOSTILE}], "reason": HOSTILE, "state": "open"}
RAW = b'{"detail": "' + HOSTILE.encode() + b'\x9b31m"}'


@pytest.mark.parametrize("body", [REFUSED, RAW], ids=["json", "raw"])
@pytest.mark.parametrize("words", [
    ["submit"], ["drill", "sales", "pause"], ["redrive", "sales", "1"], ["redrive", "sales", "all"],
    ["accept-log", "sales", "support.events", "--from", "end"], ["doctor"], ["status"],
], ids=lambda words: "-".join(words[:3]))
def test_no_answer_moves_the_terminal_of_a_verb(pretender, tmp_path, words, body):
    pretender.says = {"/api/customers": (201, {}), "/api/orders": (201, {}), "/readyz": (200, b"")} | {
        "/api/status": (200, {"waiting_for": [HOSTILE, HOSTILE]} if body == REFUSED else RAW.replace(b'"detail": ', b'"waiting_for": [').replace(b"}", b"]}")),
        "/api/": (422, body),
    }
    code, said = verb(pretender, tmp_path, *words)
    assert code == 1, said
    assert_safe(said, "Köln 📦")


def test_no_log_moves_the_terminal(pretender, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/sales.log").write_text(HOSTILE.replace("\r", "") + "\n", newline="")
    for words in ["logs", "sales"], ["logs"]:
        assert_safe(verb(pretender, tmp_path, *words)[1], "Köln 📦")


def tool(*words):
    done = subprocess.run([BIN / "returns_tool", *words], capture_output=True, timeout=60)
    return done.stdout + done.stderr


RUN = {
    "running": False, "ways": [], "orders_made_up": HOSTILE, "half_done": [{"n": 1, "words": HOSTILE}],
    "failures": [{"n": 1, "reason": HOSTILE}], "late": [{"n": 1, "team": HOSTILE}],
}


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("answer", [(422, REFUSED), (200, RUN)], ids=["refused", "done"])
def test_no_answer_moves_the_terminal_of_compare(pretender, answer, json_too):
    pretender.says = {"/api/compare": answer}
    assert_safe(tool("compare", f"http://127.0.0.1:{pretender.port}", *json_too), *([] if answer[0] == 422 and json_too else ["K"]))


@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
def test_no_answer_moves_the_terminal_of_simulate(pretender, json_too):
    pretender.says = {"/api/returns": (500, REFUSED), "/api/": (422, REFUSED)}
    url = f"http://127.0.0.1:{pretender.port}"
    team = HOSTILE.replace("=", "")
    said = tool("simulate", "--support", url, "--sales", url, "--team", f"{team}={url}", "--rate", "5", "--for", "1", *json_too)
    assert_safe(said, "level", "errors")


@pytest.mark.parametrize("words", [
    ["simulate", "--rate", HOSTILE], ["simulate", HOSTILE], ["compare", "-" + HOSTILE], ["compare", "http://" + HOSTILE],
    ["audit", "verify", HOSTILE], ["audit", "verify", "x", "--heads", HOSTILE], ["new", HOSTILE, HOSTILE, "1", HOSTILE, "1"],
    ["publish", "--key", HOSTILE], ["reconcile", HOSTILE], ["snapshots", HOSTILE], [HOSTILE],
], ids=lambda words: "-".join(words[:2]).replace(HOSTILE, "hostile"))
def test_no_word_moves_the_terminal(words):
    assert_safe(tool(*(word.replace("\0", "") for word in words)))


@pytest.mark.parametrize("words", [["--port", HOSTILE], ["rebuild", "--lines", HOSTILE], ["rebuild", "--port", HOSTILE], ["dump", HOSTILE], ["-X", HOSTILE]])
def test_no_word_moves_the_terminal_of_a_service(words):
    done = subprocess.run([BIN / "sales", *words], capture_output=True, timeout=60)
    assert done.returncode
    assert_safe(done.stdout + done.stderr)
