"""Bad input of every kind gets a clear 4xx, changes nothing, and leaves the server answering others."""

import copy
import html
import json
import re
import select
import socket
import sqlite3
import threading
import time
from html.parser import HTMLParser

import pytest

from stack import ByHand, form, http, request

NOWHERE = {"kafka": "127.0.0.1:9", "registry": "http://127.0.0.1:9"}
TEXTS = ["order_id", "model", "shipment_id", "serial_number", "location", "customer_id", "reason"]
FIELDS = [*TEXTS, "cost.amount", "cost.currency"]


class Support:
    """One support service without Kafka, and what its database holds, seen from outside."""

    def __init__(self, hand):
        self.hand, self.url = hand, hand.url("support")
        self.port = hand.services["support"].port
        (path,) = (hand.services["support"].folder / "data").glob("*.db")
        self.store = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def holds(self):
        tables = ("return_request", "return_private", "history", "outbox", "audit", "event_seen", "dead_letter")
        return {t: self.store.execute(f"SELECT COUNT(*) FROM {t}").fetchone()[0] for t in tables}

    def raw(self, data, half_close=False, seconds=10):
        """Bytes as they are; all that is answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := s.recv(65536):
                answer += chunk
            return answer


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with ByHand(["support"], tmp_path_factory.mktemp("input"), **NOWHERE) as hand:
        support = Support(hand)
        hand.submit()
        yield support


@pytest.fixture
def support(running):
    """Whatever a test sends: nothing in the store changes, and the next request is answered."""
    before = running.holds()
    assert before["return_request"] == 1
    yield running
    assert running.holds() == before
    assert http.get(running.url + "/api/returns", timeout=4).status_code == 200  # less than a body may take


def put(fields, name, value):
    """The fields with one at a dotted name set, or gone where the value is `...`."""
    changed = copy.deepcopy(fields)
    *outer, last = name.split(".")
    place = changed
    for part in outer:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return changed


def fields_of(answer, status=422):
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and problem["detail"]
    errors = {error["field"]: error["detail"] for error in problem.get("errors", [])}
    assert len(errors) == len(problem.get("errors", [])), "a field is there twice"
    return errors


class FormPage(HTMLParser):
    """What a screen reader finds in the form that comes back: values, errors tied to fields, and links of the summary."""

    def __init__(self, text):
        super().__init__()
        self.values, self.ids, self.described, self.links, self.invalid = {}, set(), {}, [], set()
        self.area = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        at = dict(attrs)
        self.ids.add(at.get("id"))
        if tag == "a" and at.get("href", "").startswith("#"):
            self.links.append(at["href"][1:])
        if tag in ("input", "textarea") and "name" in at:
            self.values[at["name"]] = at.get("value", "")
            self.described[at["name"]] = (at.get("id"), at.get("aria-describedby", "").split())
            if at.get("aria-invalid") == "true":
                self.invalid.add(at["name"])
        self.area = at["name"] if tag == "textarea" else None

    def handle_data(self, data):
        if self.area:
            self.values[self.area] += data

    def handle_endtag(self, tag):
        self.area = None


BAD_TEXT = {
    "missing": ...,
    "empty": "",
    "blank": "   ",
    "too long": "x" * 2001,
    "too long in Chinese": "屏" * 2001,
    "a NUL": "a\x00b",
    "a control character": "a\x07b",
    "an escape sequence": "\x1b[31mred",
    "a C1 control": "a\x85b",
}
WRONG_TYPES = {"a number": 7, "true": True, "null": None, "an array": ["x"], "an object": {"x": "y"}}
BAD_AMOUNTS = {
    "negative": "-1.00", "three decimals": "1.005", "an exponent": "1e3", "a comma": "1,50", "words": "much",
    "a currency in it": "EUR 5", "hexadecimal": "0x10", "not a number": "NaN", "infinite": "Infinity", "a plus": "+5",
    "sixteen digits": "9999999999999999", "no digits": ".", "blanks": "1 000", "Arabic digits": "١٢",
}
BAD_CURRENCIES = {
    "unknown": "XXQ", "lower case": "eur", "too short": "EU", "too long": "EURO", "a symbol": "€", "blank": "   ",
    "two of them": "EUR USD", "one with three decimals": "KWD",
}


def bad_fields(wrong_types):
    """(what is wrong, the field, its value) for every field."""
    for name in FIELDS:
        for what, value in BAD_TEXT.items():
            yield what, name, value
        for what, value in WRONG_TYPES.items() if wrong_types else ():
            yield what, name, value
    for what, value in BAD_AMOUNTS.items():
        yield what, "cost.amount", value
    for what, value in BAD_CURRENCIES.items():
        yield what, "cost.currency", value
    for name in set(TEXTS) - {"reason"}:
        yield "101 characters", name, "é" * 101
        yield "two lines", name, "one\ntwo"


def cases(wrong_types):
    return [pytest.param(n, v, id=f"{n}: {what}") for what, n, v in sorted(bad_fields(wrong_types), key=str)]


@pytest.mark.parametrize("name, value", cases(wrong_types=True))
def test_a_bad_field_over_the_api(support, name, value):
    errors = fields_of(http.post(support.url + "/api/returns", json=put(request(), name, value)))
    assert set(errors) == {name}
    assert len(errors[name]) > 8


@pytest.mark.parametrize("name, value", [c for c in cases(wrong_types=False) if "\x00" not in str(c.values[1])])
def test_a_bad_field_on_the_form(support, name, value):
    sent = form(put(request(reason="two\r\nlines <b>"), name, value))
    answer = http.post(support.url + "/returns", data=sent, headers={"Accept": "text/html"})
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    page = FormPage(answer.text)
    assert page.invalid == {name}
    field_id, described_by = page.described[name]
    assert field_id in page.links, "the summary links to the field"
    assert described_by and set(described_by) <= page.ids, "the field's message is tied to it"
    for other, typed in sent.items():
        shown = page.values[other].removeprefix("\n").replace("\r\n", "\n")
        assert shown == typed.replace("\r\n", "\n"), f"{other} as it was typed"


def test_everything_wrong_at_once_is_said_at_once(support):
    errors = fields_of(http.post(support.url + "/api/returns", json={}))
    assert {name.partition(".")[0] for name in errors} == {*TEXTS, "cost"}
    page = FormPage(http.post(support.url + "/returns", data={"x": ""}).text)
    assert page.invalid == set(FIELDS)


@pytest.mark.parametrize("cost", ["149.90", 149.9, None, [], {}, {"amount": "1.00"}, {"amount": 1.5, "currency": "EUR"}])
def test_a_cost_of_the_wrong_shape(support, cost):
    errors = fields_of(http.post(support.url + "/api/returns", json=request(cost=cost)))
    assert errors and all(name.startswith("cost") for name in errors)


def test_decimals_of_a_currency_that_has_none(support):
    cost = {"amount": "100.50", "currency": "JPY"}
    assert set(fields_of(http.post(support.url + "/api/returns", json=request(cost=cost)))) == {"cost.amount"}


@pytest.mark.parametrize("name", ["colour", "order", "cost.tax", "__proto__", "", "постскриптум"])
def test_an_unknown_member_is_named(support, name):
    sent = request()
    (sent["cost"] if name.startswith("cost.") else sent)[name.removeprefix("cost.")] = "x"
    assert set(fields_of(http.post(support.url + "/api/returns", json=sent))) == {name}


GOOD = json.dumps(request()).encode()
TWICE = GOOD.replace(b'"model"', b'"order_id": "O-2", "model"')
BODIES = {
    "broken": (b'{"order_id": ', 400),
    "empty": (b"", 400),
    "not an object": (b"[]", 422),
    "a bare number": (b"1", 400),
    "deep": (b"[" * 40 + b"]" * 40, 400),
    "very deep": (b'{"a":' * 9000 + b"1" + b"}" * 9000, 400),
    "a member twice": (TWICE, 400),
    "two documents": (GOOD + GOOD, 400),
    "invalid UTF-8": (GOOD.replace(b"Berlin", b"Ber\xff\xfein"), 400),
    "overlong UTF-8": (GOOD.replace(b"Berlin", b"Ber\xc0\xafin"), 400),
    "a lone surrogate": (GOOD.replace(b"Berlin", b"Ber\\ud800in"), 400),
    "a bare NUL": (GOOD.replace(b"Berlin", b"Ber\x00in"), 400),
    "over the cap": (GOOD.replace(b"Berlin", b"x" * 70_000), 413),
    "JavaScript": (b"{order_id: 'O-1'}", 400),
    "a huge number": (b'{"order_id": ' + b"9" * 400 + b"}", 400),
}


@pytest.mark.parametrize("body, status", BODIES.values(), ids=BODIES.keys())
def test_a_bad_json_body(support, body, status):
    answer = http.post(support.url + "/api/returns", content=body, headers={"Content-Type": "application/json"})
    if status == 422:
        assert answer.status_code in (400, 422), answer.text
        status = answer.status_code
    fields_of(answer, status)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/xml", "multipart/form-data; boundary=x", "a" * 300])
@pytest.mark.parametrize("path", ["/api/returns", "/returns"])
def test_a_wrong_content_type(support, path, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = http.post(support.url + path, content=GOOD, headers=headers)
    assert answer.status_code == 415, answer.text
    assert "application/" in answer.text, "says which one to send"


FORMS = {
    "a NUL": (b"order_id=a%00b", 400),
    "broken percent": (b"order_id=%zz", 400),
    "invalid UTF-8": (b"order_id=%ff%fe", 400),
    "a field twice": (b"order_id=a&order_id=b", 400),
    "a raw NUL": (b"order_id=a\x00b", 400),
    "a thousand fields": (b"&".join(b"f%d=1" % i for i in range(1000)), 400),
    "over the cap": (b"reason=" + b"x" * 70_000, 413),
    "nothing": (b"", 422),
    "an unknown field": (b"colour=red", 422),
}


@pytest.mark.parametrize("body, status", FORMS.values(), ids=FORMS.keys())
def test_a_bad_form_body(support, body, status):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post(support.url + "/returns", content=body, headers=headers)
    assert answer.status_code == status, answer.text


HEAD = b"POST /api/returns HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
RAW = {
    "no length": (HEAD + b"\r\n" + GOOD, 411),
    "chunked": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
    "chunked and a length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 411),
    "two lengths": (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    "a negative length": (HEAD + b"Content-Length: -5\r\n\r\nhello", 400),
    "a length in words": (HEAD + b"Content-Length: five\r\n\r\nhello", 400),
    "a length of 10^20": (HEAD + b"Content-Length: 100000000000000000000\r\n\r\nhello", 400),
    "a gigabyte announced": (HEAD + b"Content-Length: 1000000000\r\n\r\nhello", 413),
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "an unknown version": (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
    "too many headers": (HEAD + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n", (400, 431)),
    "a header of 20 kB": (HEAD + b"X-Long: " + b"y" * 20_000 + b"\r\n\r\n", (400, 431)),
    "an address of 5 kB": (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 414),
    "a NUL in the address": (b"GET /returns/%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
    "up and out": (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", (400, 404)),
    "up and out, encoded": (b"GET /..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", (400, 404)),
}


@pytest.mark.parametrize("data, status", RAW.values(), ids=RAW.keys())
def test_a_request_that_is_not_as_it_should_be(support, data, status):
    answer = support.raw(data)
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    assert int(answer[9:12]) in (status if isinstance(status, tuple) else (status,)), answer[:2000]


def test_a_body_that_stops_half_way_is_refused_and_holds_up_nobody(support):
    answer = support.raw(HEAD + b"Content-Length: 500\r\n\r\n{", half_close=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_slow_clients_do_not_hold_up_others(support):
    """More of them than the server has threads: others get an answer when these have had their time."""
    slow = []
    try:
        for _ in range(12):
            s = socket.create_connection(("127.0.0.1", support.port), timeout=10)
            s.sendall(HEAD + b"Content-Length: 500\r\n\r\n{")
            slow.append(s)
        assert http.get(support.url + "/api/returns").status_code == 200
        assert not select.select(slow, [], [], 0)[0], "the slow ones are waited for still"
        assert slow[0].recv(12).startswith(b"HTTP/1.1 408")
    finally:
        for s in slow:
            s.close()


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/returns/R-NONE", "/api/returns/R-NONE", "/api/returns/a%20b",
                                  "/api/returns/R-NONE/events", "/api", "/Returns", "/returns/new/", "/%F0%9F%92%A5"])
def test_an_unknown_path(support, path):
    answer = http.get(support.url + path)
    assert answer.status_code == 404, answer.text
    assert "html" not in answer.headers["Content-Type"] or not path.startswith("/api")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/returns", "/api/returns", "/api/audit", "/"])
def test_an_unknown_method(support, method, path):
    answer = http.request(method, support.url + path)
    assert answer.status_code == 405, answer.text
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize("query", ["limit=0", "limit=many", "limit=1001", "before=x", "since=yesterday", "return_id=%ff",
                                   "limit=1&limit=2", "outcome=%00"])
def test_a_bad_query(support, query):
    answer = http.get(f"{support.url}/api/audit?{query}")
    assert answer.status_code in (400, 422), answer.text
    assert query.partition("=")[0] in answer.text


@pytest.mark.parametrize("path", ["/returns?status=open", "/api/returns?status=", "/returns?limit=5&utm_source=mail", "/livez?x=1",
                                  "/readyz?verbose&status=1", "/assets/style.css?version=1", "/api/stream?light=1&status=1"])
def test_an_unknown_query_parameter(support, path):
    name = re.split("[?&]", path)[-1].partition("=")[0]
    answer = http.get(support.url + path)
    assert answer.status_code == 400, answer.text
    assert f'query parameter "{name}" is not known' in html.unescape(answer.text).replace('\\"', '"')
    assert "limit, before, as_of" in answer.text or "/returns" not in path


def test_a_form_sent_by_a_page_of_another_site(support):
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = http.post(support.url + "/returns", data=form(request()), headers=headers)
        assert answer.status_code == 403, answer.text


@pytest.fixture
def writable(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        yield Support(hand)


def test_a_second_open_return_of_the_same_item(writable):
    first = request()
    kept = http.post(writable.url + "/api/returns", json=first)
    assert kept.status_code == 202 and kept.headers["Location"].endswith(kept.json()["return_id"])
    before = writable.holds()
    again = http.post(writable.url + "/api/returns", json=request(serial_number=first["serial_number"]))
    fields_of(again, 409)
    assert kept.json()["return_id"] in again.json()["return"]
    page = http.post(writable.url + "/returns", data=form(request(serial_number=first["serial_number"])))
    assert page.status_code == 409 and kept.json()["return_id"] in page.text
    assert writable.holds() == before


def test_of_many_at_once_for_the_same_item_one_is_accepted(writable):
    statuses = []

    def send():
        answer = http.post(writable.url + "/api/returns", json=request(serial_number="SN-RACE"))
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [202] + [409] * 19
    assert writable.holds()["return_request"] == writable.holds()["outbox"] == writable.holds()["audit"] == 1


@pytest.mark.parametrize("amount, kept", [("0", "0.00"), ("0.1", "0.10"), ("9999999999999.99", "9999999999999.99")])
def test_amounts_at_the_edge_are_accepted(writable, amount, kept):
    answer = http.post(writable.url + "/api/returns", json=request(cost={"amount": amount, "currency": "EUR"}))
    assert answer.status_code == 202, answer.text
    shown = http.get(f"{writable.url}/api/returns/{answer.json()['return_id']}").json()
    assert shown["request"]["cost"] == {"amount": kept, "currency": "EUR"}


def test_texts_at_the_edge_are_accepted(writable):
    sent = request(reason="語" * 1998 + "\n語", model="é" * 100, location="💥" * 100)
    answer = http.post(writable.url + "/api/returns", json=sent)
    assert answer.status_code == 202, answer.text
    shown = http.get(f"{writable.url}/api/returns/{answer.json()['return_id']}").json()
    assert shown["request"] == sent | {"reason_code": "OTHER", "channel": "api"}


def test_the_kind_of_reason_is_one_that_the_schema_has(writable):
    symbols = ["DEFECTIVE", "DAMAGED_IN_TRANSIT", "WRONG_ITEM", "NOT_AS_DESCRIBED", "OTHER"]
    for wrong in ("defective", "RECALLED", "OTHER "):
        answer = http.post(writable.url + "/api/returns", json=request(reason_code=wrong))
        assert answer.status_code == 422 and [e["field"] for e in answer.json()["errors"]] == ["reason_code"]
    assert f"it must be one of {', '.join(symbols)}, or left out for OTHER" in http.post(
        writable.url + "/api/returns", json=request(reason_code="RECALLED")).text
    page = http.get(writable.url + "/returns/new").text
    assert re.findall(r'<option value="([A-Z_]+)"', page) == symbols and '<option value="OTHER" selected>Other' in page
    sent = http.post(writable.url + "/returns", data=form(request(reason_code="DAMAGED_IN_TRANSIT")))
    assert sent.status_code == 303, sent.text
    shown = http.get(writable.url + "/api" + sent.headers["location"]).json()["request"]
    assert (shown["reason_code"], shown["channel"]) == ("DAMAGED_IN_TRANSIT", "form")
    assert "Damaged in transit" in http.get(writable.url + sent.headers["location"]).text
