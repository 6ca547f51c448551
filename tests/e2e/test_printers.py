"""What strangers write into records does nothing to the terminal of who looks at them, nor to a log."""

import json
import re
import subprocess
import uuid

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from stack import BIN, http, request, wait
from test_shell import Shell
from wire import publish

# What moves a cursor, sets a title, ends a line, or turns the order: C0, DEL, C1 as UTF-8 and as a byte, bidirectional.
pytestmark = pytest.mark.full

HOSTILE = "a\x1b]0;pwned\x07\x1b[2J\r\x08\x7f\u009b31m\u0090x\u009c\u202eb\u2066c\u2028level=error Köln 📦"
UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def assert_safe(raw, where):
    text = raw.decode()  # a C1 byte alone would not be UTF-8
    found = UNSAFE.search(text)
    assert not found, (where, text[max(0, found.start() - 80) : found.end() + 20])


@pytest.fixture(scope="module")
def place(stack):
    """A namespace with events.events, whose records, keys, fields and types are hostile."""
    shell = Shell(stack, "esc" + uuid.uuid4().hex[:6])
    name = f"{shell.env['RETURNS_NAMESPACE']}.odd.events"
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    schema = {"type": "record", "name": "Odd", "fields": [
        {"name": "return_id", "type": "string"}, {"name": "said", "type": {"type": "map", "values": "string"}}]}
    schema_id = SchemaRegistryClient({"url": stack.registry}).register_schema(f"{name}-Odd", Schema(json.dumps(schema), "AVRO"))
    text = HOSTILE.encode()
    field = bytes([2 * len(text) % 128 + 128 * (len(text) * 2 > 127), *([len(text) * 2 >> 7] if len(text) > 63 else [])]) + text
    body = b"\0" + schema_id.to_bytes(4, "big") + field + b"\x02" + field + field + b"\0"
    publish(stack.kafka, name, text, body, headers=[("h" + HOSTILE.replace("\0", ""), text)])
    publish(stack.kafka, name, b"\x9b31m", b"\0\0\0\0\1\x9b\x1b[2J")
    publish(stack.kafka, name, text, text)
    return shell


@pytest.mark.parametrize("words", [
    ["tail", "odd.events", "--exit", "--from", "beginning"],
    ["tail", "odd.events", "--exit", "--from", "beginning", "--json"],
    ["tail", HOSTILE.replace("\0", ""), "--exit"],
    ["export", HOSTILE],
    ["import", "/nonexistent/" + HOSTILE],
    ["publish", HOSTILE, HOSTILE, "/nonexistent"],
    ["publish", "odd.events", HOSTILE, "/dev/null"],
    ["audit", "verify", "/nonexistent/" + HOSTILE],
])
def test_no_escape_reaches_the_terminal(place, words):
    done = subprocess.run([BIN / "returns_tool", *words], env=place.env, capture_output=True, timeout=60)
    assert done.stdout + done.stderr
    assert_safe(done.stdout, words)
    assert_safe(done.stderr, words)


def test_json_means_the_same(place):
    shown = place.tail("odd.events")
    assert shown[0]["data"]["return_id"] == HOSTILE
    assert shown[0]["data"]["said"] == {HOSTILE: HOSTILE}
    assert len(shown) == 3


def test_no_escape_reaches_a_log(stack):
    answer = http.post(stack.url("support") + "/api/returns", json=request(model=HOSTILE, reason=HOSTILE))
    assert answer.status_code < 500
    http.get(stack.url("support") + "/api/returns/%1b%5b2J%c2%9b31m%9b")
    for log in wait(lambda: list((stack.home / "logs").glob("*.log")), 60, "there are logs"):
        if log.stem in ("support", "sales", "inventory", "manufacturing", "accounting", "analytics"):
            assert_safe(log.read_bytes(), log)
