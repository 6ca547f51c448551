"""Idempotency-Key: every POST of every service, repeated, at the same time, and across kills, has its effect once."""

import re
import signal
import sqlite3
import threading
import uuid

import httpx
import pytest

from stack import ROOT, SERVICES, ByHand, form, http, request
from test_input import NOWHERE

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
LASTING = {"date", "connection"}  # what each answer has of its own
KEPT_MAX = 8192  # bytes of a refusal


def posts(service):
    """Every path that the service's resources, and those that all services have, name with a post function."""
    paths = set()
    for folder in (service, "chassis"):
        for file in (ROOT / "services" / folder).rglob("*.c"):
            text = file.read_text()
            for entry in re.split(r"\{(?=\.(?:path|api_path) = )", text)[1:]:
                entry = entry.split("{0}")[0].split(";")[0]
                if ".post = " not in entry:
                    continue
                page, api = (re.search(rf'\.{name} = "([^"]*)"', entry) for name in ("path", "api_path"))
                paths |= {page[1]} if page else set()
                if api or page:
                    paths |= {api[1] if api else "/api" + page[1]} - {""}
            paths |= set(re.findall(r'\.call = \{"([^"]*)"', text))
    return sorted(p.replace("{id}", "1") for p in paths)


def post(url, key, body=b"", kind=JSON, **more):
    headers = {"Content-Type": kind} | ({"Idempotency-Key": key} if key else {})
    return http.post(url, content=body, headers=headers | more)


def new_key():
    return str(uuid.uuid4())


def is_replayed(answer):
    return answer.headers.get("Idempotency-Replayed") == "true"


def assert_same(first, again):
    assert is_replayed(again) and not is_replayed(first), (first.text, again.text)
    assert (again.status_code, again.content) == (first.status_code, first.content)
    mine, later = ({k: v for k, v in a.headers.items() if k not in LASTING} for a in (first, again))
    assert later == mine | {"idempotency-replayed": "true"}


@pytest.fixture(scope="module")
def all_five(tmp_path_factory):
    with ByHand(SERVICES, tmp_path_factory.mktemp("keys"), drills=1, **NOWHERE) as hand:
        yield hand


@pytest.fixture
def support(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        yield hand


def returns_of(hand, order=None):
    """[(order, return)] of that order, or of all, as support's database has them."""
    (path,) = (hand.services["support"].folder / "data").glob("*support.db")
    rows = sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("SELECT order_id, return_id FROM return_request")
    return sorted(row for row in rows if order in (None, row[0]))


def test_the_list_of_posts_is_not_empty():
    assert {"/returns", "/api/returns", "/api/returns/traditional", "/api/dead-letters/1/redrive"} <= set(posts("support"))
    assert "/api/order-refund-requests" in posts("sales") and "/drill" in posts("sales")


@pytest.mark.parametrize("service", SERVICES)
def test_every_post_answers_a_repeat_as_before(all_five, service):
    replayed = 0
    for path in posts(service):
        for kind, body in ((JSON, b"{}"), (JSON, b"[1"), (FORM, b"a=1"), ("text/plain", b"?")):
            url, key = all_five.url(service) + path, new_key()
            first, again = post(url, key, body, kind), post(url, key, body, kind)
            if first.status_code >= 500:
                assert not is_replayed(again), path
                continue
            if first.status_code >= 400 and len(first.content) > KEPT_MAX:  # it is looked at again, and not kept
                assert not is_replayed(again) and again.status_code == first.status_code, path
                continue
            assert_same(first, again)
            replayed += 1
            other = post(url, key, body + b" ", kind)
            assert other.status_code == 422 and key in other.text, path
            assert post(url, "not a key", body, kind).status_code == 400, path
    assert replayed > len(posts(service))


def test_a_return_is_accepted_once(all_five):
    url, sent, key = all_five.url("support") + "/api/returns", request(), f'"{new_key()}"'
    first = http.post(url, json=sent, headers={"Idempotency-Key": key})
    again = http.post(url, json=sent, headers={"Idempotency-Key": key.strip('"')})
    assert first.status_code == 202 and first.headers["Location"]
    assert_same(first, again)
    assert len(returns_of(all_five, sent["order_id"])) == 1
    other = http.post(url, json=sent | {"reason": "another"}, headers={"Idempotency-Key": key})
    assert other.status_code == 422 and "POST /api/returns" in other.json()["detail"]
    held = http.post(url, json=sent, headers={"Idempotency-Key": new_key()})
    assert held.status_code == 409 and not is_replayed(held), "another key is another return"


def test_a_form_with_a_key_is_sent_once(all_five):
    url, sent = all_five.url("support") + "/returns", request()
    fields = form(sent) | {"idempotency_key": new_key()}
    first, again = http.post(url, data=fields), http.post(url, data=fields)
    assert first.status_code == 303
    assert_same(first, again)
    assert len(returns_of(all_five, sent["order_id"])) == 1


def test_a_drill_is_asked_for_once(all_five):
    url, key = all_five.url("sales") + "/api/drill", new_key()
    drills = len(all_five.audit("sales", action="drill"))
    first, again = (post(url, key, b'{"mode":"slow","ms":5}') for _ in range(2))
    assert first.json()["drill"]["ms"] == 5
    assert_same(first, again)
    assert len(all_five.audit("sales", action="drill")) == drills + 1
    assert post(url, new_key(), b'{"mode":"go-on"}').json() == {"drill": None}


def test_a_crash_that_is_asked_for_again_is_no_second_crash(tmp_path):
    with ByHand(["sales"], tmp_path, drills=1, **NOWHERE) as hand:
        sales, key = hand.services["sales"], new_key()
        first = post(sales.url + "/api/drill", key, b'{"mode":"crash"}')
        assert first.json()["crashed"] is True
        assert sales.process.wait(10) == -signal.SIGKILL
        sales.start()
        assert_same(first, post(sales.url + "/api/drill", key, b'{"mode":"crash"}'))
        assert sales.is_ready() and sales.process.poll() is None


def test_of_many_at_once_one_is_accepted(support):
    url = support.url("support") + "/api/returns"
    for _ in range(5):
        sent, key, found = request(), new_key(), []
        # each on a connection of its own: one that was kept may just have been closed
        ask = lambda: found.append(httpx.post(url, json=sent, headers={"Idempotency-Key": key}, timeout=60))
        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {a.status_code for a in found} <= {202, 409} and len(found) == 24
        assert len({a.content for a in found if a.status_code == 202}) == 1
        assert all(a.headers["Retry-After"] == "1" for a in found if a.status_code == 409)
        assert sum(a.status_code == 202 and not is_replayed(a) for a in found) == 1
        assert len(returns_of(support, sent["order_id"])) == 1


def test_the_answer_outlives_a_stop_and_a_kill(support):
    service, sent, key = support.services["support"], request(), new_key()
    first = http.post(service.url + "/api/returns", json=sent, headers={"Idempotency-Key": key})
    for signum in (signal.SIGTERM, signal.SIGKILL):
        service.stop(signum)
        service.start()
        assert_same(first, http.post(service.url + "/api/returns", json=sent, headers={"Idempotency-Key": key}))
    assert len(returns_of(support, sent["order_id"])) == 1


def test_whoever_asks_until_there_is_an_answer_has_one_return(support):
    """Support is killed at any moment, again and again; each customer repeats the same request until it is answered."""
    service, done, orders = support.services["support"], threading.Event(), []

    def customer():
        while not done.is_set():
            sent, key, answer = request(), new_key(), None
            while answer is None or answer.status_code in (409, 503):
                try:
                    answer = http.post(service.url + "/api/returns", json=sent, headers={"Idempotency-Key": key})
                except httpx.TransportError:
                    answer = None
            assert answer.status_code == 202, answer.text
            orders.append((sent["order_id"], answer.json()["return_id"]))

    customers = [threading.Thread(target=customer) for _ in range(4)]
    for thread in customers:
        thread.start()
    for kill in range(12):
        before = len(orders)
        while len(orders) < before + 3 + kill:
            assert all(thread.is_alive() for thread in customers)
        service.stop(signal.SIGKILL)
        service.start()
    done.set()
    for thread in customers:
        thread.join()
    assert returns_of(support) == sorted(orders)
