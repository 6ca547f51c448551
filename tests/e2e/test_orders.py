"""Orders upstream: what sales takes by its API, what it publishes of that, and which refunds it declines for it."""

import concurrent.futures
import html
import json
import re
import subprocess
import uuid

import pytest

from stack import BIN, ROOT, ByHand, http, request, wait
from wire import read_avro, records

MODEL = "Aurora 14 laptop"


def new(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def price(amount="149.90", currency="EUR"):
    return {"amount": amount, "currency": currency}


def item(**changed):
    return {"model": MODEL, "price": price(), "serial_number": new("SN")} | changed


class Desk:
    """Sales' API, for one service."""

    def __init__(self, url):
        self.url = url

    def post(self, path, body, tag=None):
        return http.post(self.url + path, json=body, headers={"If-Match": tag} if tag else {})

    def get(self, path):
        return http.get(self.url + path)

    def customer(self, **changed):
        answer = self.post("/api/customers", {"name": "Nordwind Logistik", "location": "Berlin"} | changed)
        assert answer.status_code == 201, answer.text
        return answer.json()["customer_id"]

    def order(self, *items, **changed):
        """Its id."""
        body = {"customer_id": changed.pop("customer_id", None) or self.customer(), "items": list(items) or [item()]}
        answer = self.post("/api/orders", body | changed)
        assert answer.status_code == 201, answer.text
        return answer.json()["order_id"]

    def one(self, order_id):
        return self.get(f"/api/orders/{order_id}").json()

    def change(self, order_id, tag, **body):
        return self.post(f"/api/orders/{order_id}/change", body, tag)

    def complete(self, order_id, tag):
        return self.post(f"/api/orders/{order_id}/complete", {}, tag)


@pytest.fixture
def desk(stack):
    return Desk(stack.url("sales"))


def wrong(answer):
    return {e["field"]: e["detail"] for e in answer.json()["errors"]}


def events_of(stack, key, n):
    """Sales' events of that key, [(type, data)], once there are n."""

    def found():
        mine = [r for r in records(stack.kafka, stack.topic("sales.events")) if r.key() == key.encode()]
        assert len(mine) <= n
        return mine if len(mine) == n else None

    return [
        (dict(r.headers())["ce_type"].decode().rpartition(".")[2], read_avro(stack.registry, r))
        for r in wait(found, 60, f"{n} events of {key}")
    ]


# --- Customers and orders, by the API


def test_a_customer_is_registered_once(desk):
    answer = desk.post("/api/customers", {"name": "شركة النيل", "location": "القاهرة"})
    assert answer.status_code == 201 and answer.headers["Location"] == f"/api/customers/{answer.json()['customer_id']}"
    assert desk.get(answer.headers["Location"]).json() == answer.json()
    taken = {"customer_id": answer.json()["customer_id"], "name": "Another", "location": "Lyon"}
    assert desk.post("/api/customers", taken).status_code == 409
    assert desk.get(answer.headers["Location"]).json()["name"] == "شركة النيل"
    newest = desk.get("/api/customers?limit=1").json()
    assert newest["customers"] == [answer.json()]
    assert desk.get(f"/api/customers?limit=2&before={newest['next'] or 'C-NONE'}").status_code in (200, 400)


@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, {"name", "location"}),
        ({"name": " x", "location": "a\nb"}, {"name", "location"}),
        ({"name": 7, "location": None}, {"name", "location"}),
        ({"name": "N", "location": "L", "nmae": "N"}, {"nmae"}),
        ({"name": "N", "location": "L", "customer_id": "C/1"}, {"customer_id"}),
        ({"name": "N" * 101, "location": "L"}, {"name"}),
    ],
)
def test_a_wrong_customer_is_refused_field_by_field(desk, body, fields):
    before = desk.get("/api/customers").json()
    answer = desk.post("/api/customers", body)
    assert answer.status_code == 422 and set(wrong(answer)) == fields
    assert desk.get("/api/customers").json() == before


def test_an_order_is_what_was_sent(desk):
    customer, order_id = desk.customer(), new("ORD")
    items = [item(), item(serial_number=None, price=price("18900", "JPY")), {"model": "Фонарь 3", "price": price("0.5")}]
    answer = desk.post("/api/orders", {"order_id": order_id, "customer_id": customer, "shipment_id": "SHP-1", "items": items})
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == f"/api/orders/{order_id}" and answer.headers["ETag"] == '"1"'
    found = desk.get(answer.headers["Location"])
    assert found.headers["ETag"] == '"1"'
    assert {k: found.json()[k] for k in ("order_id", "customer_id", "shipment_id", "version", "state")} == {
        "order_id": order_id, "customer_id": customer, "shipment_id": "SHP-1", "version": 1, "state": "placed"}
    assert [(i["line"], i["model"], i["price"], i["serial_number"]) for i in found.json()["items"]] == [
        (1, MODEL, price(), items[0]["serial_number"]), (2, MODEL, price("18900.00", "JPY"), None),
        (3, "Фонарь 3", price("0.50"), None)]
    again = desk.post("/api/orders", {"order_id": order_id, "customer_id": customer, "items": [item()]})
    assert again.status_code == 409 and desk.one(order_id) == found.json()
    assert [o["order_id"] for o in desk.get(f"/api/orders?customer={customer}").json()["orders"]] == [order_id]


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"items": []}, {"items"}),
        ({"items": "x"}, {"items"}),
        ({"items": [None]}, {"items.0"}),
        ({"items": [item(), item(model="")]}, {"items.1.model"}),
        ({"items": [item(price="1")]}, {"items.0.price"}),
        ({"items": [item(price=price("-1"))]}, {"items.0.price.amount"}),
        ({"items": [item(price=price("1.5", "JPY"))]}, {"items.0.price.amount"}),
        ({"items": [item(price=price("1", "EURO"))]}, {"items.0.price.currency"}),
        ({"items": [item(colour="red")]}, {"items.0.colour"}),
        ({"items": [item(serial_number="SN-TWICE"), item(serial_number="SN-TWICE")]}, {"items.1.serial_number"}),
        ({"customer_id": "C-NOBODY"}, {"customer_id"}),
        ({"order_id": "../1"}, {"order_id"}),
    ],
)
def test_a_wrong_order_is_refused_field_by_field(desk, change, fields):
    order_id = new("ORD")
    answer = desk.post("/api/orders", {"order_id": order_id, "customer_id": desk.customer(), "items": [item()]} | change)
    assert answer.status_code == 422 and set(wrong(answer)) == fields, answer.text
    assert desk.get(f"/api/orders/{order_id}").status_code == 404


def test_a_device_is_in_one_order_only(desk):
    mine = item()
    first = desk.order(mine)
    answer = desk.post("/api/orders", {"customer_id": desk.customer(), "items": [item(), mine]})
    assert answer.status_code == 409 and first in wrong(answer)["items.1.serial_number"]
    second = desk.order(item(serial_number=None))
    answer = desk.change(second, '"1"', items=[{"line": 1, "serial_number": mine["serial_number"]}])
    assert answer.status_code == 409 and first in wrong(answer)["items.0.serial_number"]
    assert desk.one(second)["items"][0]["serial_number"] is None
    # Once the line is away, so is its device.
    assert desk.change(first, '"1"', items=[{"line": 1, "removed": True}, item()]).status_code == 200
    assert desk.change(second, '"1"', items=[{"line": 1, "serial_number": mine["serial_number"]}]).status_code == 200


def test_a_change_needs_the_version_that_was_seen(desk):
    order_id = desk.order(item(serial_number=None))
    for answer, status in (
        (desk.change(order_id, None, shipment_id="S"), 428),
        (desk.change(order_id, '"2"', shipment_id="S"), 412),
        (desk.change(order_id, 'W/"1"', shipment_id="S"), 412),
        (desk.change(order_id, "1", shipment_id="S"), 400),
        (desk.complete(order_id, None), 428),
        (desk.complete(order_id, '"7"'), 412),
        (desk.change(new("ORD"), '"1"', shipment_id="S"), 404),
    ):
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert status == 404 or answer.headers["ETag"] == '"1"'
    assert desk.one(order_id)["version"] == 1
    answer = desk.change(order_id, '"9", "1"', shipment_id="S")
    assert answer.status_code == 200 and answer.headers["ETag"] == '"2"'
    assert desk.change(order_id, "*", shipment_id="T").headers["ETag"] == '"3"'


@pytest.mark.parametrize(
    "body, fields",
    [
        ({"items": [{"line": 9, "model": "X"}]}, {"items.0.line"}),
        ({"items": [{"line": "1", "model": "X"}]}, {"items.0.line"}),
        ({"items": [{"line": 1, "model": "X"}, {"line": 1, "model": "Y"}]}, {"items.1.line"}),
        ({"items": [{"line": 1, "serial_number": None}]}, {"items.0.serial_number"}),
        ({"items": [{"line": 1, "removed": True}, {"line": 2, "removed": True}]}, {"items"}),
        ({"items": [{"line": 1, "removed": "yes"}]}, {"items.0.removed"}),
        ({"items": [{"removed": True}]}, {"items.0.line"}),
        ({"items": [{"model": "new"}]}, {"items.0.price.amount", "items.0.price.currency"}),
        ({"items": [{"line": 2, "serial_number": "SN-KEPT"}]}, {"items.0.serial_number"}),
        ({"customer_id": "C-1"}, {"customer_id"}),
        ({"shipment_id": ""}, {"shipment_id"}),
    ],
)
def test_a_wrong_change_changes_nothing(desk, body, fields):
    body = json.loads(json.dumps(body).replace("SN-KEPT", kept := new("SN")))
    order_id = desk.order(item(serial_number=kept), item(serial_number=None))
    before = desk.one(order_id)
    answer = desk.change(order_id, '"1"', **body)
    assert answer.status_code == 422 and set(wrong(answer)) == fields, answer.text
    assert desk.one(order_id) == before


def test_completed_is_for_good(desk):
    order_id = desk.order(item(serial_number=None), item())
    answer = desk.complete(order_id, '"1"')
    assert answer.status_code == 409 and set(wrong(answer)) == {"shipment_id", "items.0.serial_number"}
    assert desk.change(order_id, '"1"', shipment_id="SHP-9", items=[{"line": 1, "serial_number": new("SN")}]).status_code == 200
    assert desk.complete(order_id, '"2"').headers["ETag"] == '"3"'
    assert desk.one(order_id)["state"] == "completed"
    for answer in (desk.complete(order_id, '"3"'), desk.change(order_id, '"3"', shipment_id="SHP-10")):
        assert answer.status_code == 409 and answer.headers["ETag"] == '"3"'
    assert desk.one(order_id)["shipment_id"] == "SHP-9"


def test_a_thousand_items_come_with_several_changes(desk):
    small = {"model": "M", "price": price("1")}
    order_id = desk.order(*[small] * 900)
    assert desk.post("/api/orders", {"customer_id": "C", "items": [small] * 2000}).status_code == 413
    answer = desk.change(order_id, '"1"', items=[small] * 101)
    assert answer.status_code == 422 and "1001" in wrong(answer)["items"] and "1000" in wrong(answer)["items"]
    assert desk.change(order_id, '"1"', items=[small] * 100).status_code == 200
    assert [i["line"] for i in desk.one(order_id)["items"]] == list(range(1, 1001))


# --- What is published


def test_the_events_say_what_happened_and_a_change_only_what_is_different(stack, desk):
    customer, (one, two) = desk.customer(name="Imprimerie", location="Lyon"), ("SN-" + uuid.uuid4().hex[:8] + c for c in "ab")
    order_id = desk.order(item(serial_number=one), item(serial_number=two), item(serial_number=None), customer_id=customer)
    swapped = desk.change(  # the devices of two lines are swapped, one line is replaced, and one thing stays as it was
        order_id, '"1"', shipment_id="SHP-5",
        items=[{"line": 1, "serial_number": two, "model": MODEL}, {"line": 2, "serial_number": one, "price": price("99")},
               {"line": 3, "removed": True}, {"model": "Comet router", "price": price("89")}])
    assert swapped.status_code == 200, swapped.text
    same = desk.change(order_id, '"2"', shipment_id="SHP-5", items=[{"line": 1, "serial_number": two}, {"line": 2, "price": price("99.00")}])
    assert same.status_code == 200 and same.headers["ETag"] == '"2"'
    three = new("SN")
    assert desk.change(order_id, '"2"', items=[{"line": 4, "serial_number": three}]).status_code == 200
    assert desk.complete(order_id, '"3"').status_code == 200

    ((kind, registered),) = events_of(stack, customer, 1)
    assert (kind, registered["version"], registered["name"], registered["location"]) == ("CustomerRegistered", 1, "Imprimerie", "Lyon")
    found = events_of(stack, order_id, 4)
    placed, changed, again, completed = (data for _, data in found)
    assert [kind for kind, _ in found] == ["OrderPlaced", "OrderChanged", "OrderChanged", "OrderCompleted"]
    assert [data["version"] for _, data in found] == [1, 2, 3, 4]
    assert all(data["order_id"] == order_id and data["caused_by"] is None for _, data in found)
    assert placed["customer_id"] == customer and placed["shipment_id"] is None and len(placed["items"]) == 3
    nothing = {"removed": False, "model": None, "price": None, "serial_number": None}
    assert changed["shipment_id"] == "SHP-5"
    assert [{k: str(v["amount"]) if k == "price" and v else v for k, v in i.items()} for i in changed["items"]] == [
        nothing | {"line": 1, "serial_number": two}, nothing | {"line": 2, "serial_number": one, "price": "99.00"},
        nothing | {"line": 3, "removed": True}, nothing | {"line": 4, "model": "Comet router", "price": "89.00"}]
    assert again["shipment_id"] is None and again["items"] == [nothing | {"line": 4, "serial_number": three}]
    assert completed["shipment_id"] == "SHP-5"
    assert completed["items"] == [
        {"line": n, "serial_number": s} for n, s in ((1, two), (2, one), (4, three))]


def test_of_many_writers_of_one_version_one_wins(stack, desk):
    order_id, writers = desk.order(), 20
    for version in range(1, 6):
        with concurrent.futures.ThreadPoolExecutor(writers) as pool:
            answers = list(pool.map(lambda n: desk.change(order_id, f'"{version}"', shipment_id=f"S-{version}-{n}"), range(writers)))
        assert sorted(a.status_code for a in answers) == [200] + [412] * (writers - 1)
        (winner,) = (n for n, a in enumerate(answers) if a.status_code == 200)
        assert desk.one(order_id)["shipment_id"] == f"S-{version}-{winner}"
    found = events_of(stack, order_id, 6)
    assert [data["version"] for _, data in found] == [1, 2, 3, 4, 5, 6]


def test_what_was_answered_survives_a_kill(stack, desk):
    order_ids = [desk.order() for _ in range(5)]
    assert desk.change(order_ids[0], '"1"', shipment_id="SHP-K").status_code == 200
    stack.verb("kill", "sales")
    wait(lambda: http.get(stack.url("sales") + "/readyz").status_code == 200, 60, "sales is back")
    assert [desk.one(o)["version"] for o in order_ids] == [2, 1, 1, 1, 1]
    for order_id in order_ids:
        events_of(stack, order_id, desk.one(order_id)["version"])


def test_what_people_did_is_in_the_audit_log(stack, desk):
    order_id = desk.order()
    assert desk.change(order_id, '"1"', shipment_id="SHP-A").status_code == 200
    rows = stack.audit("sales", action="change an order")
    assert rows[0]["outcome"] == "accepted" and rows[0]["actor"] == "api" and order_id in rows[0]["summary"]


# --- Refunds


def return_of(pages, order_id, **changed):
    return pages.submit(order_id=order_id, **changed)


def sales_said(pages, return_id):
    """(type, reason or None) of sales' event of that return."""
    mine = wait(lambda: [e for e in pages.events(return_id) if e["team"] == "sales"], 60, f"sales' event of {return_id}")
    return mine[0]["type"].rpartition(".")[2], mine[0]["data"].get("reason")


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"cost": price("149.90")}, None),
        ({"cost": price("0.01")}, None),
        ({"cost": price("149.91")}, "149.91 EUR, is above the item's price, 149.90"),
        ({"cost": price("149.90", "USD")}, "in USD, and the item was paid for in EUR"),
        ({"serial_number": "SN-ELSEWHERE"}, 'has no item "SN-ELSEWHERE'),
    ],
)
def test_only_what_was_paid_for_an_item_is_refunded(stack, desk, changed, said):
    device = item()
    order_id = desk.order(device)
    if "serial_number" in changed:
        changed = {"serial_number": new("SN-ELSEWHERE")}
    return_id = return_of(stack, order_id, **{"serial_number": device["serial_number"]} | changed)
    kind, reason = sales_said(stack, return_id)
    assert (kind, said is None or said in reason) == ("RefundDeclined" if said else "OrderRefunded", True), reason
    one = wait(
        lambda: (r := stack.get("support", f"/api/returns/{return_id}")) and r["status"] == "handled" and r, 60, "it is handled")
    assert one["attention"] == bool(said)
    (row,) = stack.audit("sales", return_id=return_id)
    assert row["outcome"] == ("declined" if said else "handled") and (not said or said in row["summary"])


def test_the_price_is_the_one_that_the_order_has_now(stack, desk):
    device = item()
    order_id = desk.order(device)
    assert desk.change(order_id, '"1"', items=[{"line": 1, "price": price("100")}]).status_code == 200
    kind, reason = sales_said(stack, return_of(stack, order_id, serial_number=device["serial_number"]))
    assert kind == "RefundDeclined" and "100.00" in reason


def test_a_call_is_declined_by_the_same_rule(desk):
    device = item()
    order_id = desk.order(device)
    asked = {"return_id": new("R"), "order_id": order_id, "serial_number": device["serial_number"], "cost": price("150")}
    answer = desk.post("/api/order-refund-requests", asked)
    assert answer.status_code == 409 and "above the item's price" in answer.json()["detail"]
    assert desk.post("/api/order-refund-requests", asked | {"return_id": new("R"), "cost": price()}).status_code == 201
    without = {k: v for k, v in asked.items() if k != "cost"}
    assert "cost" in wrong(desk.post("/api/order-refund-requests", without | {"return_id": new("R")}))


@pytest.fixture(scope="module")
def usual(stack, tmp_path_factory):
    """Support and sales by themselves, with the usual policy."""
    with ByHand(["support", "sales"], tmp_path_factory.mktemp("usual"), kafka=stack.kafka, registry=stack.registry, policy="") as hand:
        hand.await_connected(["support", "sales"])
        yield hand


def test_an_order_that_never_was_is_declined_unless_the_policy_says_otherwise(stack, usual):
    assert sales_said(stack, stack.submit())[0] == "OrderRefunded"
    order_id = new("ORD")
    kind, reason = sales_said(usual, usual.submit(order_id=order_id))
    assert kind == "RefundDeclined" and f'never was an order "{order_id}"' in reason


@pytest.mark.parametrize("policy, quoted", [
    ("unknown-orders=perhaps", "perhaps"), ("unknown-orders", '"unknown-orders"'), ("a=b,=refund", '"=refund"')])
def test_a_wrong_policy_ends_the_program(policy, quoted):
    done = subprocess.run([BIN / "sales", "--policy", policy], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and "policy" in done.stderr and quoted in done.stderr, done.stderr


# --- What the demo makes up is of real orders


def test_simulated_returns_are_of_real_orders_and_none_is_declined(stack):
    said = json.loads(stack.verb("simulate", "--json", "--rate", "50", "--for", "3s", "--limit", "60", seconds=120))
    assert said["orders_made_up"] is None and said["accepted"] > 100
    assert {t["team"]: t["declined"] for t in said["teams"]}["sales"] == 0
    placed = desk_orders(stack, said["run"])
    assert sum(o["items"] for o in placed) >= said["accepted"] and len(placed) <= 12


def desk_orders(stack, run):
    return [o for o in Desk(stack.url("sales")).get("/api/orders?limit=1000").json()["orders"] if run in o["order_id"]]


def test_without_sales_a_simulation_says_so_and_goes_on(stack):
    stack.verb("stop", "sales")
    try:
        done = subprocess.run(
            [ROOT / "returns", "simulate", "--json", "--rate", "20", "--for", "1s"], env=stack.env, capture_output=True,
            text=True, timeout=120)
        submitted = stack.verb("submit")
    finally:
        stack.verb("start", "sales")
        stack.await_connected(["sales"])
    said = json.loads(done.stdout)
    assert "sales does not answer" in said["orders_made_up"] and "made up" in done.stderr and said["accepted"] > 10
    assert "made up" in submitted and "202" in submitted


def test_a_comparison_is_of_real_orders(stack):
    said = json.loads(stack.verb("compare", "--rate", "10", "--for", "2", "--json", seconds=60))
    assert "orders_made_up" not in said
    assert [way["accepted"] for way in said["ways"]] == [20, 20]
    declined = [r for r in stack.audit("sales", outcome="declined") if "compare" in r["summary"]]
    newest = Desk(stack.url("sales")).get("/api/orders?limit=1").json()["orders"][0]
    assert newest["customer_id"].startswith("compare-") and newest["items"] == 42 and not declined


def test_submit_orders_what_it_returns(stack):
    said = stack.verb("submit", "model=Comet router", "amount=88.10")
    return_id = said.split("return ")[1].split()[0]
    asked = stack.get("support", f"/api/returns/{return_id}")["request"]
    order = Desk(stack.url("sales")).one(asked["order_id"])
    assert [(i["model"], i["price"]["amount"], i["serial_number"]) for i in order["items"]] == [
        ("Comet router", "88.10", asked["serial_number"])]


def test_each_example_is_of_an_order_once_they_are_placed(usual):
    """As ./returns up places them in a demo that has no customer."""
    place = lambda: subprocess.run(  # noqa: E731
        ["bash", ROOT / "compose/local/examples.sh", usual.url("sales")], capture_output=True, text=True, timeout=60)
    done = place()
    assert done.returncode == 0, done.stderr
    orders = usual.get("sales", "/api/orders")["orders"]
    assert len(orders) == 6 and all(o["state"] == "completed" for o in orders)
    for example in range(1, 7):
        page = http.get(f"{usual.url('support')}/returns/new?example={example}").text
        fields = dict(zip_fields(page))
        answer = http.post(usual.url("support") + "/returns", data=fields | {"review": ""})
        assert answer.status_code == 303, answer.text
        assert sales_said(usual, answer.headers["Location"].rpartition("/")[2])[0] == "OrderRefunded"
    assert place().returncode == 0 and len(usual.get("sales", "/api/orders")["orders"]) == 6


def zip_fields(page):
    for name, value in re.findall(r'<input[^>]* name="([^"]+)" value="([^"]*)"', page):
        yield name, html.unescape(value)
    for name, value in re.findall(r'<textarea[^>]* name="([^"]+)"[^>]*>\n?(.*?)</textarea>', page, re.S):
        yield name, html.unescape(value)
