"""What can never be published is set aside, on a real broker: nothing waits behind it, and nothing confirmed is sent again."""

import collections
import contextlib
import sqlite3
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from stack import SERVICES, http, wait
from test_command import returns
from wire import publish, records, refund_request, write_avro

pytestmark = pytest.mark.full

PATIENCE = 120  # for what only waits, on a busy machine
LARGEST = 1_048_384  # of a value that support.events takes beside a key and the record's own bytes


def new_id():
    return f"R-OUT{uuid.uuid4().hex[:10].upper()}"


def publish_plain(stack, topic, key, value, headers=None, **how):
    """Returns (partition, offset); up to 20 MB, by default not compressed."""
    placed = []
    producer = Producer({"bootstrap.servers": stack.kafka, "message.max.bytes": 20_000_000} | how)
    producer.produce(topic, key=key, value=value, headers=headers, partition=1,
                     on_delivery=lambda error, m: placed.append(error or (m.partition(), m.offset())))
    assert producer.flush(20) == 0 and isinstance(placed[0], tuple), placed
    return placed[0]


# --- The whole state of the demo


@contextlib.contextmanager
def database(stack, service):
    db = sqlite3.connect(stack.home / "data" / f"{stack.namespace}.{service}.db", timeout=20)
    try:
        with db:
            yield db
    finally:
        db.close()


def all_published(stack):
    for service in SERVICES:
        wait(lambda: not stack.status(service)["outbox"]["depth"], PATIENCE, f"{service} has published all")


def copies(stack, service):
    """How often each event is in the topic: each that its service was told of. And the service knows where its last are."""
    found, last_of = collections.Counter(), {}
    for record in records(stack.kafka, stack.topic(f"{service}.events")):
        headers = dict(record.headers() or ())
        if "ce_id" not in headers:  # it is the test's own
            continue
        event_id = headers["ce_id"].decode()
        found[event_id] += 1
        last_of[record.partition()] = max(record.offset(), last_of.get(record.partition(), 0))
    with database(stack, service) as db:
        rows = db.execute("SELECT lower(hex(event_id)), state FROM outbox_state WHERE dead_letter IS NULL").fetchall()
        last = dict(db.execute("SELECT partition, record_offset FROM outbox_place"))
    told = {str(uuid.UUID(hex=event_id)): state for event_id, state in rows}
    for event_id, state in told.items():
        assert (state, event_id in found) in (("sent", True), ("set aside", False)), (service, event_id)
    assert last == last_of, f"{service} knows its last record of each partition"
    assert found.keys() <= told.keys(), f"{service} publishes what it did not decide"
    return found


def twice(stack, service):
    return {event_id: n for event_id, n in copies(stack, service).items() if n > 1}


@pytest.fixture
def twice_before(stack):
    """Other tests have killed services on this stack: what one had sent and not noted by then it sent once more."""
    all_published(stack)
    return {service: twice(stack, service) for service in SERVICES}


def assert_nothing_twice(stack, before):
    all_published(stack)
    for service in SERVICES:
        assert twice(stack, service) == before[service]


def kinds(stack, return_id, service):
    """Of this return, in the order of the topic."""
    key = return_id.encode()
    return [dict(r.headers())["ce_type"].decode().rpartition(".")[2]
            for r in records(stack.kafka, stack.topic(f"{service}.events")) if r.key() == key and r.headers()]


def assert_all_go_on(stack):
    """Each team answers a return that is submitted now, with one event."""
    return_id = stack.submit()
    for service in SERVICES:
        assert len(wait(lambda: kinds(stack, return_id, service), PATIENCE, f"{service} publishes about {return_id}")) == 1


# --- What says so


def says(stack, service):
    """What is set aside there, everywhere where it is said."""
    outbox = stack.status(service)["outbox"]
    n, url = outbox["set_aside"], stack.url(service)
    assert f"\nreturns_outbox_set_aside {n}\n" in http.get(url + "/metrics").text
    ready = wait(lambda: (r := http.get(url + "/readyz?verbose")).status_code == 200 and r, 60, "it goes on handling").text
    page = http.get(url + "/status").text
    assert (f"{n} of the outbox cannot be published" in ready) == (n > 0), ready
    assert ("Set aside" in page) == (n > 0)
    for one in outbox["refused"]:
        assert one["reason"].replace("'", "&#39;") in page and one["type"] in page
    return outbox["refused"]


def await_set_aside(stack, service, n=1):
    wait(lambda: stack.status(service)["outbox"]["set_aside"] == n, PATIENCE, f"{n} are set aside in {service}")
    refused = says(stack, service)
    assert len(refused) == n
    return refused


@contextlib.contextmanager
def topic_takes(stack, name, most):
    """An administrator has the topic take records of that many bytes."""
    admin = AdminClient({"bootstrap.servers": stack.kafka})

    def alter(how, value=None):
        entry = ConfigEntry("max.message.bytes", value, incremental_operation=how)
        resource = ConfigResource(ResourceType.TOPIC, stack.topic(name), incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)

    alter(AlterConfigOpType.SET, str(most))
    try:
        yield
    finally:
        alter(AlterConfigOpType.DELETE)


def test_headers_of_10_mb_stop_nobody(stack, twice_before):
    topic, big = stack.topic("support.events"), b"\xfe" * (5 << 20)
    place = publish_plain(stack, topic, new_id(), b"not avro", [("big", big), ("big", big), ("small", b"s")],
                          **{"compression.type": "gzip"})

    def letter(service):
        return [r for r in records(stack.kafka, stack.topic(f"{service}.dead-letters"))
                if (dict(r.headers())["dead-letter.partition"], dict(r.headers())["dead-letter.offset"]) ==
                tuple(str(n).encode() for n in place)]

    for service in SERVICES:
        (one,) = wait(lambda: letter(service), PATIENCE, f"{service} has put it aside, and says so in Kafka")
        headers = one.headers()
        assert one.value() == b"not avro" and ("small", b"s") in headers
        assert ("dead-letter.omitted-headers", b"1") in headers and [n for n, _ in headers].count("big") == 1
        assert not says(stack, service)
    assert_all_go_on(stack)
    assert_nothing_twice(stack, twice_before)


def test_a_request_as_large_as_the_topic_takes(stack, twice_before):
    topic, return_id = stack.topic("support.events"), new_id()

    def value(n):  # where the item is, is in manufacturing's answer
        return write_avro(stack.registry, topic, refund_request(return_id, location="L" * n))

    large = value(LARGEST - len(value(100_000)) + 100_000)
    assert len(large) == LARGEST
    publish_plain(stack, topic, return_id, large)
    behind = [stack.submit() for _ in range(20)]
    (one,) = await_set_aside(stack, "manufacturing")
    assert one["return_id"] == return_id and "too large" in one["reason"], one
    for other in behind:
        assert len(wait(lambda: kinds(stack, other, "manufacturing"), PATIENCE, f"{other} is in manufacturing's topic")) == 1
    assert not kinds(stack, return_id, "manufacturing")
    for team in ("sales", "inventory", "accounting"):  # whose answers are small
        assert len(wait(lambda: kinds(stack, return_id, team), PATIENCE, f"{team} answers it")) == 1
    assert_all_go_on(stack)
    assert_nothing_twice(stack, twice_before)
    with topic_takes(stack, "manufacturing.events", 2_000_000):
        send_again(stack, "manufacturing", 1)
        assert len(kinds(stack, return_id, "manufacturing")) == 1
    assert_nothing_twice(stack, twice_before)


def send_again(stack, service, n):
    code, said = returns(stack, "redrive", service, "outbox")
    assert code == 0 and f"{n} that were set aside are sent again" in said, said
    wait(lambda: stack.status(service)["outbox"]["set_aside"] == 0, PATIENCE, f"{service} has set aside nothing more")
    all_published(stack)
    assert not says(stack, service)


def test_a_topic_that_takes_less_for_a_while(stack, twice_before):
    with topic_takes(stack, "sales.events", 200):
        ids = [stack.submit() for _ in range(5)]
        refused = await_set_aside(stack, "sales", 5)
        assert {one["return_id"] for one in refused} == set(ids)
        assert all(one["type"] == "returns.sales.OrderRefunded" for one in refused)
        for other in ("inventory", "manufacturing", "accounting"):
            for return_id in ids:
                wait(lambda: kinds(stack, return_id, other), PATIENCE, f"{other} does not feel it")
    send_again(stack, "sales", 5)
    for return_id in ids:
        assert kinds(stack, return_id, "sales") == ["OrderRefunded"]
    assert_all_go_on(stack)
    assert_nothing_twice(stack, twice_before)


def test_a_letter_whose_row_is_damaged(stack, twice_before):
    publish(stack.kafka, stack.topic("support.events"), new_id(), b"bad", partition=1)

    def letters():
        with database(stack, "sales") as db:
            return db.execute("SELECT o.id, d.id FROM outbox_state o JOIN dead_letter d ON d.id = o.dead_letter "
                              "WHERE d.value = ? AND o.state = 'sent'", (b"bad",)).fetchall()

    ((row, letter),) = wait(letters, PATIENCE, "it is in quarantine")
    stack.verb("stop", "sales")
    with database(stack, "sales") as db:  # as if it had not been sent yet
        db.execute("INSERT INTO outbox_exception (id, state) VALUES (?, 'waiting')", (row,))
        db.execute("UPDATE dead_letter SET headers = '[[\"a\"' WHERE id = ?", (letter,))
    ids = [stack.submit() for _ in range(3)]
    stack.verb("start", "sales")
    (one,) = await_set_aside(stack, "sales")
    assert "headers cannot be read" in one["reason"] and one["type"] == "dead-letter", one
    for return_id in ids:
        wait(lambda: kinds(stack, return_id, "sales") == ["OrderRefunded"], PATIENCE, "what lies behind it is published, once")
    assert_all_go_on(stack)
    assert_nothing_twice(stack, twice_before)
    with database(stack, "sales") as db:
        db.execute("UPDATE dead_letter SET headers = '[]' WHERE id = ?", (letter,))
    send_again(stack, "sales", 1)


def cancelled(stack, return_id):
    answer = http.post(f"{stack.url('support')}/api/returns/{return_id}/cancel", headers={"If-Match": '"1"'}, json={"by": "a"})
    assert answer.status_code == 200, answer.text
    return return_id


def backlog_with_guilty_ones(stack, n):
    """While manufacturing is stopped: n returns, each cancelled, and in their midst some whose answers are too long."""
    ids = [cancelled(stack, stack.submit()) for _ in range(n // 2)]
    topic, large = stack.topic("support.events"), new_id()
    for partition in range(6):
        guilty = f"{large}-{partition}"
        value = write_avro(stack.registry, topic, refund_request(guilty, location="L" * 4000))
        publish(stack.kafka, topic, guilty, value, partition=partition)
    return ids + [cancelled(stack, stack.submit()) for _ in range(n - n // 2)], large


def decided(stack, service, ids):
    """{return: ids of its events in the order of decision}."""
    found = {return_id: [] for return_id in ids}
    with database(stack, service) as db:
        for event_id, key in db.execute("SELECT lower(hex(event_id)), return_id FROM outbox ORDER BY id"):
            if key in found:
                found[key].append(str(uuid.UUID(hex=event_id)))
    return found


def published(stack, service, ids):
    """The same, of the topic: the first of each counts."""
    found = {return_id: [] for return_id in ids}
    for record in records(stack.kafka, stack.topic(f"{service}.events")):
        key, event_id = record.key().decode(), dict(record.headers())["ce_id"].decode()
        if key in found and event_id not in found[key]:
            found[key].append(event_id)
    return found


def test_innocent_ones_beside_guilty_ones_in_their_batches(stack, twice_before):
    """Kafka refuses whole batches for one record, and for their size; each of the innocent arrives, in its order."""
    stack.verb("stop", "manufacturing")
    ids, large = backlog_with_guilty_ones(stack, 40)
    with topic_takes(stack, "manufacturing.events", 3000):
        stack.verb("start", "manufacturing")
        refused = await_set_aside(stack, "manufacturing", 6)
        assert all(one["return_id"].startswith(large) for one in refused), refused
        stack.await_audits(ids, ["manufacturing"], PATIENCE)
        all_published(stack)
    wanted = decided(stack, "manufacturing", ids)
    assert all(len(events) >= 2 for events in wanted.values())
    assert published(stack, "manufacturing", ids) == wanted
    assert_nothing_twice(stack, twice_before)
    send_again(stack, "manufacturing", 6)
    assert_all_go_on(stack)
