"""Support's own view of customers and orders: made of what sales publishes, joined with returns, there while sales is not."""

import re
import signal
import sqlite3
import statistics
import time
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from orders import Sales, change, item, price, unique
from stack import ByHand, form, http, request, wait
from test_form import values
from test_input import NOWHERE

WORDS = re.compile(r"<[^>]*>")


class Links(HTMLParser):
    """{text: address} of a page's links."""

    def __init__(self, text):
        super().__init__()
        self.found, self.href = {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.href, self.said = dict(attrs)["href"], ""

    def handle_data(self, data):
        if self.href:
            self.said += data

    def handle_endtag(self, tag):
        if tag == "a":
            self.found[self.said] = self.href
            self.href = None


def words(answer):
    assert answer.status_code == 200, answer.text
    return " ".join(WORDS.sub(" ", answer.text.partition("<main")[2]).split())


@pytest.fixture(scope="module")
def sales(stack):
    return Sales(stack)


def get(stack, path):
    return http.get(stack.url("support") + path)


def api(stack, path):
    answer = get(stack, "/api" + path)
    return answer.json() if answer.status_code == 200 else None


def await_version(stack, order, version):
    return wait(lambda: (said := api(stack, f"/orders/{order}")) and said["version"] >= version and said, 60, f"{order} is here")


@pytest.fixture(scope="module")
def known(stack, sales):
    """A customer with two orders, told of in the wrong order: {customer, first, second, serials}."""
    customer, first, second = unique("C"), unique("ORD"), unique("ORD")
    serials = [unique("SN") for _ in range(3)]
    sales.place(first, customer, [item(1, serials[0]), item(2, None, "Dune headset", price("20.00")), item(3, None, "Gone")], "SHP-1")
    sales.register(customer, f"Ölmühle {customer}", "Łódź")
    sales.change(first, [change(3, removed=True), change(2, price=price("19.50"))])
    sales.place(second, customer, [item(1, serials[2])])
    sales.complete(first, "SHP-2", {1: serials[0], 2: serials[1]})
    await_version(stack, first, 3)
    await_version(stack, second, 1)
    wait(lambda: get(stack, f"/api/customers/{customer}").status_code == 200, 60, "the customer is here")
    return {"customer": customer, "name": f"Ölmühle {customer}", "first": first, "second": second, "serials": serials}


# --- What sales said, joined


def test_an_order_is_what_its_events_say(stack, known):
    said = api(stack, f"/orders/{known['first']}")
    assert said["customer_id"] == known["customer"] and said["customer"]["name"] == known["name"]
    assert (said["status"], said["shipment_id"], said["version"]) == ("completed", "SHP-2", 3)
    assert [(i["line"], i["model"], i["price"], i["serial_number"]) for i in said["items"]] == [
        (1, "Aurora 14 laptop", {"amount": "149.90", "currency": "EUR"}, known["serials"][0]),
        (2, "Dune headset", {"amount": "19.50", "currency": "EUR"}, known["serials"][1])]
    assert api(stack, f"/orders/{known['second']}")["status"] == "placed"
    page = words(get(stack, f"/orders/{known['first']}"))
    for text in (known["name"], "Łódź", "completed", "SHP-2", "19.50 EUR", known["serials"][1]):
        assert text in page, text
    assert "Gone" not in page


def test_a_customer_has_orders_items_and_returns(stack, known):
    by_order = stack.submit(order_id=known["first"], serial_number=known["serials"][0])
    by_customer = stack.submit(customer_id=known["customer"])
    stack.submit()
    said = api(stack, f"/customers/{known['customer']}")
    assert [o["order_id"] for o in said["orders"]] in ([known["second"], known["first"]], [known["first"], known["second"]])
    assert [r["return_id"] for r in said["returns"]] == [by_customer, by_order], "newest first, and no others"
    assert (said["order_count"], said["open_return_count"]) == (2, 2)
    (mine,) = (o for o in said["orders"] if o["order_id"] == known["first"])
    assert mine["items"][0]["open_return"] == by_order
    assert mine["items"][0]["returns"] == [{"return_id": by_order, "state": "open"}] and mine["items"][1]["returns"] == []
    assert [r["return_id"] for r in api(stack, f"/orders/{known['first']}")["returns"]] == [by_order]
    page = words(get(stack, f"/customers/{known['customer']}"))
    for text in (by_order, by_customer, known["first"], known["second"], known["serials"][0]):
        assert text in page, text
    links = Links(get(stack, f"/returns/{by_order}").text).found
    assert links[known["first"]] == f"/orders/{known['first']}"
    links = Links(get(stack, f"/returns/{by_customer}").text).found
    assert links[known["customer"]] == f"/customers/{known['customer']}"


def test_a_page_and_its_api_say_the_same(stack, known):
    for path in ("/customers", f"/customers/{known['customer']}", f"/orders/{known['first']}"):
        page = get(stack, path)
        assert page.status_code == 200 and "The same as" in page.text
        assert get(stack, "/api" + path).status_code == 200


def test_an_order_may_be_known_before_its_customer(stack, sales):
    customer, order, serial = unique("C"), unique("ORD"), unique("SN")
    sales.place(order, customer, [item(1, serial)])
    assert await_version(stack, order, 1)["customer"] is None
    page = get(stack, f"/orders/{order}")
    assert customer in words(page) and "Return it" not in words(page)
    assert get(stack, f"/customers/{customer}").status_code == 404
    sales.register(customer)
    wait(lambda: "Return it" in words(get(stack, f"/orders/{order}")), 60, "the form can start from it")
    held = stack.submit(serial_number=serial)
    assert api(stack, f"/orders/{order}")["items"][0]["open_return"] == held
    page = words(get(stack, f"/orders/{order}"))
    assert "open, of another order" in page and held in page and "Return it" not in page


@pytest.mark.parametrize("look", ["ölmühle", "ÖLMÜHLE", "lmühle c-", "the id"])
def test_a_customer_is_found_by_name_or_id_in_whatever_letters(stack, known, look):
    q = known["customer"].lower() if look == "the id" else look
    said = api(stack, "/customers?" + urlencode({"q": q, "limit": 1000}))
    assert known["customer"] in [c["customer_id"] for c in said["customers"]]
    assert known["name"] in words(get(stack, "/customers?" + urlencode({"q": q})))


@pytest.mark.parametrize("q", ["%", "_", "!", "\\", "'", "nobody is called this"])
def test_what_is_looked_for_is_no_pattern(stack, known, q):
    said = api(stack, "/customers?" + urlencode({"q": q}))
    assert said["customers"] == [] and said["total"] == 0 and said["next"] is None
    assert "No name and no id" in words(get(stack, "/customers?" + urlencode({"q": q})))


def test_lists_are_paged(stack, sales, known):
    ids, found, after = {unique("C-PAGED") for _ in range(5)}, [], {}
    for one in ids:
        sales.register(one)
    wait(lambda: api(stack, "/customers?q=c-paged")["total"] == 5, 60, "all five are here")
    while True:
        said = api(stack, "/customers?" + urlencode({"q": "c-paged", "limit": 2} | after))
        found += [c["customer_id"] for c in said["customers"]]
        assert len(said["customers"]) <= 2 and said["total"] == 5
        if not said["next"]:
            break
        after = {"after": said["next"]}
    assert found == sorted(ids)
    assert words(get(stack, "/customers?q=c-paged")).count("Berlin 0 0") == 5, "numbers of orders and open returns"
    first = api(stack, f"/customers/{known['customer']}?limit=1")
    second = api(stack, f"/customers/{known['customer']}?limit=1&before={first['next']}")
    assert {first["orders"][0]["order_id"], second["orders"][0]["order_id"]} == {known["first"], known["second"]}
    assert second["next"] is None
    page = get(stack, f"/customers/{known['customer']}?limit=1")
    assert Links(page.text).found["Older orders"].endswith(f"limit=1&before={first['next']}")


@pytest.mark.parametrize("path, status, said", [
    ("/customers/C-NONE", 404, "There is no customer \"C-NONE\""),
    ("/orders/ORD-NONE", 404, "There is no order \"ORD-NONE\""),
    ("/customers?limit=0", 400, "limit \"0\""),
    ("/customers?limit=many", 400, "limit \"many\""),
    ("/customers?after=C-NONE", 400, "after \"C-NONE\""),
    ("/customers?q=" + "x" * 201, 400, "longer than 200 characters"),
    ("/customers/{customer}?before=ORD-NONE", 400, "before \"ORD-NONE\""),
    ("/customers/{customer}?limit=1001", 400, "limit \"1001\""),
])
def test_what_there_is_not_is_said(stack, known, path, status, said):
    path = path.format(**known)
    answer = get(stack, "/api" + path)
    assert answer.status_code == status and said in answer.json()["detail"]
    assert get(stack, path).status_code == status


# --- The form


def test_from_a_customer_to_an_order_to_an_item_to_a_return(stack, sales):
    customer, order, serial, other = unique("C-FORM"), unique("ORD"), unique("SN"), unique("SN")
    sales.register(customer, f"Näherei {customer} & <b>Söhne</b>", "Lyon")
    sales.place(order, customer, [item(1, serial, "Fan", price("99.95", "CHF")), item(2, None, "Nobody has it"), item(3, other)], "SHP-9")
    await_version(stack, order, 1)
    page = get(stack, "/returns/new?" + urlencode({"q": customer.lower()}))
    page = get(stack, Links(page.text).found[f"Näherei {customer} & <b>Söhne</b>"])
    assert "Which order?" in words(page)
    page = get(stack, Links(page.text).found[order])
    assert "Which item?" in words(page) and "Nobody has it" not in words(page)
    page = get(stack, Links(page.text).found[f"Fan, {serial}"])
    filled = values(page.text)
    asked = request(order_id=order, model="Fan", shipment_id="SHP-9", serial_number=serial, location="Lyon",
                    cost={"amount": "99.95", "currency": "CHF"}, customer_id=customer, reason="")
    assert filled | form(asked) == filled, "it is filled in"
    answer = http.post(stack.url("support") + "/returns", data=filled | {"reason": "broken"})
    assert answer.status_code == 200 and "likely to decline" not in answer.text
    sent = http.post(stack.url("support") + "/returns", data=values(answer.text))
    return_id = sent.headers["Location"].rpartition("/")[2]
    assert stack.get("support", f"/api/returns/{return_id}")["request"] == asked | {"reason": "broken", "reason_code": "OTHER", "channel": "form"}
    page = get(stack, "/returns/new?" + urlencode({"customer": customer, "order": order}))
    links = Links(page.text).found
    assert f"Fan, {serial}" not in links and links[return_id] == f"/returns/{return_id}"
    assert "in an open return" in words(page) and f"Aurora 14 laptop, {other}" in links


@pytest.mark.parametrize("query, status, said", [
    ({"customer": "C-NONE"}, 404, "no customer \"C-NONE\""),
    ({"customer": "{customer}", "order": "ORD-NONE"}, 404, "has no order \"ORD-NONE\""),
    ({"customer": "{customer}", "order": "{first}", "item": "SN-NONE"}, 404, "no item with the serial number \"SN-NONE\""),
    ({"customer": "{customer}", "before": "ORD-NONE"}, 400, "before \"ORD-NONE\""),
    ({"order": "{first}"}, 400, "name the customer too"),
    ({"customer": "{customer}", "item": "SN-1"}, 400, "name the order too"),
    ({"q": "x" * 201}, 400, "longer than 200 characters"),
])
def test_what_the_form_cannot_start_from_is_said(stack, known, query, status, said):
    answer = get(stack, "/returns/new?" + urlencode({k: v.format(**known) for k, v in query.items()}))
    assert answer.status_code == status and said in answer.text.replace("&quot;", '"')


def test_an_order_of_somebody_else_is_not_taken(stack, sales, known):
    other = unique("C")
    sales.register(other)
    wait(lambda: api(stack, f"/customers/{other}"), 60, "the other customer is here")
    answer = get(stack, "/returns/new?" + urlencode({"customer": other, "order": known["first"]}))
    assert answer.status_code == 404


def review(stack, **changed):
    fields = form(request(**changed)) | {"review": "1", "token": ""}
    answer = http.post(stack.url("support") + "/returns", data=fields)
    return words(answer)


@pytest.mark.parametrize("changed, doubt", [
    ({"order_id": "ORD-NONE"}, "Sales has not told of an order ORD-NONE."),
    ({"serial_number": "SN-NONE"}, "has no item with the serial number SN-NONE."),
    ({"cost": {"amount": "149.91", "currency": "EUR"}}, "sold for 149.90 EUR, and the cost is 149.91 EUR."),
    ({"cost": {"amount": "1.00", "currency": "CHF"}}, "sold in EUR, and the cost is in CHF."),
    ({}, None),
    ({"cost": {"amount": "100.00", "currency": "EUR"}}, None),
])
def test_before_it_is_sent_one_is_warned_that_sales_will_decline(stack, known, changed, doubt):
    page = review(stack, **{"order_id": known["second"], "serial_number": known["serials"][2]} | changed)
    assert ("likely to decline" in page) == bool(doubt) and (doubt or "") in page


# --- While sales is away, and after


@pytest.mark.full
def test_while_sales_is_stopped_the_form_and_the_views_are_there(stack, sales, known):
    stack.verb("stop", "sales")
    try:
        late = unique("ORD")
        sales.place(late, known["customer"], [item(1, unique("SN"))])
        await_version(stack, late, 1)
        page = get(stack, "/returns/new?" + urlencode({"customer": known["customer"], "order": late}))
        assert "Which item?" in words(page)
        wait(lambda: "sales: stopped" in words(get(stack, f"/customers/{known['customer']}")), 60, "the page says that sales is away")
        assert api(stack, "/customers")["sales"]["state"] == "stopped"
        assert stack.submit(order_id=late)
    finally:
        stack.verb("start", "sales")


def test_without_any_customer_the_form_is_as_before(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        page = http.get(hand.url("support") + "/returns/new").text
        assert "Fill in from an order" not in page and "example=1" in page
        assert "Sales has not told of any yet" in http.get(hand.url("support") + "/customers").text
        fields = form(request()) | {"review": "1", "token": ""}
        answer = http.post(hand.url("support") + "/returns", data=fields)
        assert answer.status_code == 200 and "likely to decline" not in answer.text


# --- Many


CUSTOMERS, ORDERS_EACH, ITEMS_EACH = 10_000, 2, 5


def fill(database):
    with sqlite3.connect(database) as db:
        db.executemany(
            "INSERT INTO customer VALUES (?, 1, 1795000000000, ?, 'Berlin', ?)",
            ((f"C-{n}", f"Company {n}", f"company {n}\nc-{n}") for n in range(CUSTOMERS)))
        db.executemany(
            "INSERT INTO customer_order VALUES (?, 1, ?, ?, ?, 1, 'S', 1, NULL, 0)",
            ((f"O-{n}-{o}", 1795000000000 + o, f"C-{n}", 1795000000000 + o) for n in range(CUSTOMERS) for o in range(ORDERS_EACH)))
        db.executemany(
            "INSERT INTO order_item VALUES (?, ?, 1, 1, 'Model', 1, 14990, 'EUR', 1, ?, 1)",
            ((f"O-{n}-{o}", i, f"SN-{n}-{o}-{i}") for n in range(CUSTOMERS) for o in range(ORDERS_EACH) for i in range(ITEMS_EACH)))
        db.executemany(
            "INSERT INTO return_request (return_id, version, requested_at, order_id, model, shipment_id, serial_number, location, "
            "cost_minor, cost_currency, state) VALUES (?, 1, 1795000000000, ?, 'Model', 'S', ?, 'L', 1, 'EUR', 'open')",
            ((f"R-{n}", f"O-{n}-0", f"SN-{n}-0-1") for n in range(CUSTOMERS)))
        db.executemany("INSERT INTO return_private VALUES (?, ?, 'reason', 1)", ((f"R-{n}", f"C-{n}") for n in range(CUSTOMERS)))


@pytest.mark.alone
def test_with_ten_thousand_customers_and_a_hundred_thousand_items_pages_take_less_than_50_ms(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        support = hand.services["support"]
        support.stop(signal.SIGTERM)
        fill(next((tmp_path / "data").glob("*.db")))
        support.start()
        for path in ("/customers", "/customers?q=99", "/customers?q=nobody", "/customers?after=C-5000", "/customers/C-5000",
                     "/orders/O-5000-0", "/returns/new", "/returns/new?q=777", "/returns/new?customer=C-5000",
                     "/returns/new?customer=C-5000&order=O-5000-0", "/returns/new?customer=C-5000&order=O-5000-0&item=SN-5000-0-2"):
            took = []
            for _ in range(9):
                begin = time.perf_counter()
                answer = http.get(support.url + path)
                took.append(1000 * (time.perf_counter() - begin))
                assert answer.status_code == 200, path
            print(f"{path}: {statistics.median(took):.1f} ms, {len(answer.text)} bytes of HTML")
            assert statistics.median(took) < 50, f"{path}: {took}"
        assert http.get(support.url + "/api/customers/C-5000").json()["open_return_count"] == 1
