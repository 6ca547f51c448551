"""Every page: accessible in light and dark, readable on a phone, light, whole without JavaScript, without a complaint.

Pages are found by following the links from each service's first page. What no link leads to is a state, in STATES."""

import os
import re
import sqlite3
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

import audit_log
from orders import Sales, item, unique
from stack import DECLARED, SERVICES, ByHand, form, http, request, wait
from wire import publish

LONG = "Überraschungsverpackungsgrößenverordnung" * 2
NOWHERE = {"kafka": "127.0.0.1:1", "registry": "http://127.0.0.1:1"}
WEIGHT = 30_000  # bytes that a page may take with all its assets
CONTRAST = "color-contrast"  # the only rule of axe-core that a theme can break, and one that no width can
LOOKS = [  # width, theme, and what axe-core looks for
    (1280, "light", "{}"), (320, "light", f"{{rules: {{'{CONTRAST}': {{enabled: false}}}}}}"), (320, "dark", None),
    (768, "dark", None), (3840, "dark", None), (1280, "dark", f"{{runOnly: ['{CONTRAST}']}}"),
]


class World:
    """What the pages show: services with a history, with words that are hard to break, and with trouble."""

    def __init__(self, stack, others):
        self.stack, self.others = stack, others
        self.handled = stack.submit()
        self.long = stack.submit(model=LONG, location="x" * 100, reason="y" * 500 + "\nالشاشة لا تعمل")
        stack.await_audits([self.handled, self.long], SERVICES, 10)
        publish(stack.kafka, stack.topic("support.events"), f"R-{LONG}", b"\x07" + LONG.encode() * 20,
                headers={LONG: LONG.encode()})
        wait(lambda: stack.status("sales")["dead_letters"], 60, "sales has a dead letter")
        self.order_things()
        self.tell_orders(Sales(stack))

    def order_things(self):
        """An order with names that are hard to break and more items than a page shows, and one that is completed."""
        desk, price = self.stack.url("sales") + "/api", {"amount": "9999999999999.99", "currency": "EUR"}
        items = [{"model": LONG, "price": price, "serial_number": f"{LONG[:80]}-{n}"} for n in range(30)]
        self.customer = http.post(f"{desk}/customers", json={"name": LONG, "location": "القاهرة"}).json()["customer_id"]
        for name, count in (("ORD-" + "x" * 56, 30), ("ORD-DONE", 1)):
            body = {"order_id": name, "customer_id": self.customer, "shipment_id": LONG, "items": items[:count]}
            items = items[count:] or [{"model": "M", "price": price, "serial_number": "SN-DONE"}]
            assert http.post(f"{desk}/orders", json=body).status_code == 201
        answer = http.post(f"{desk}/orders/ORD-DONE/complete", json={}, headers={"If-Match": '"1"'})
        assert answer.status_code == 200, answer.text
        self.order = "ORD-" + "x" * 56

    def away_return(self):
        answer = http.post(self.url("away") + "/api/returns", json=request(model=LONG))
        return answer.json()["return_id"]

    def changed(self, command, member, wanted):
        """A return that was handled, and then had the command, until it shows."""
        return_id = self.stack.submit()
        one = lambda: self.stack.get("support", f"/api/returns/{return_id}")  # noqa: E731
        wait(lambda: one()["status"] == "handled", 60, "it is handled")
        http.post(f"{self.url('support')}/api/returns/{return_id}/{command}", headers={"If-Match": "*"})
        wait(lambda: one()[member] == wanted, 60, f"{member} is {wanted}")
        return return_id

    def tell_orders(self, sales):
        """More customers than the form's page shows, one of them with more orders than theirs; and a return of one item."""
        for _ in range(12):
            sales.register(unique("C"))
        self.buyer, self.bought, self.items = unique("C"), unique("ORD"), [unique("SN") for _ in range(5)]
        sales.register(self.buyer, f"{LONG} شركة", "x" * 100)
        for order in [*(unique("ORD") for _ in range(21)), self.bought]:
            serials = self.items if order == self.bought else [unique("SN") for _ in range(5)]
            sales.place(order, self.buyer, [item(i, s, LONG if i == 1 else "Dune headset") for i, s in enumerate(serials)])
        wait(lambda: http.get(self.url("support") + f"/orders/{self.bought}").status_code == 200, 60, "support knows the order")
        self.stack.submit(order_id=self.bought, serial_number=self.items[0], customer_id=self.buyer)

    def url(self, service):
        return self.others[service] if service in self.others else self.stack.url(service)


@pytest.fixture(scope="session")
def world(stack, tmp_path_factory):
    tampered, away = tmp_path_factory.mktemp("tampered"), tmp_path_factory.mktemp("away")
    with ByHand(["sales"], tampered, **NOWHERE) as first, ByHand(["support", "inventory"], away, **NOWHERE) as second:
        (database,) = (tampered / "data").glob("*.db")
        audit_log.make(database, 200)
        with sqlite3.connect(database) as db:
            db.execute("UPDATE audit SET summary = 'Nothing happened.' WHERE id = 123")
        others = {"tampered": first.url("sales"), "away": second.url("support"), "away team": second.url("inventory")}
        yield World(stack, others)


def visit(page, address, status=200):
    page.expected_statuses.append(status)
    answer = page.goto(address)
    assert answer.status == status, address
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    return page


# --- States that no link leads to: how a page gets there


def at(service, path, status=200):
    return lambda page, world: visit(page, world.url(service) + path.format(w=world), status)


def filled(page, world, fields, status=200):
    page.expected_statuses.append(status)
    visit(page, world.url("support") + "/returns/new")
    for name, value in form(fields).items():
        page.locator(f'[name="{name}"]').fill(value)
    page.get_by_role("button", name="Check the return").click()


def form_with_errors(page, world):
    wrong = request(model="", cost={"amount": "-1", "currency": "€"}, order_id="y" * 150)
    filled(page, world, wrong, 422)
    page.locator(".errors").wait_for()


def form_of_a_held_item(page, world):
    held = request()
    world.stack.submit(**held)
    filled(page, world, held, 409)
    page.locator(".errors").wait_for()


def review(page, world):
    filled(page, world, request(model=LONG, reason="z" * 300 + "\nالشاشة لا تعمل"))
    page.get_by_role("button", name="Send it").wait_for()


def accepted_without_kafka(page, world):
    answer = http.post(world.url("away") + "/returns", data=form(request()))
    visit(page, world.url("away") + answer.headers["Location"])


def open_to_change(page, world):
    visit(page, world.stack.url("support") + f"/returns/{world.handled}")
    page.locator("#change summary").click()
    page.get_by_role("button", name="Cancel this return").wait_for()


def refused_command(page, world):
    page.expected_statuses.append(422)
    open_to_change(page, world)
    page.get_by_label("Your staff id").fill("Zoë")
    page.get_by_role("button", name="Cancel this return").click()
    page.get_by_role("heading", name="The return was not cancelled").wait_for()


def cancelled(page, world):
    """After some tries, and with Kafka away."""
    return_id = world.away_return()
    cancel = f"{world.url('away')}/api/returns/{return_id}/cancel"
    for if_match in ['"99"'] * 3 + ["*"]:
        http.post(cancel, headers={"If-Match": if_match})
    visit(page, f"{world.url('away')}/returns/{return_id}")


def undone(page, world):
    visit(page, f"{world.url('support')}/returns/{world.changed('cancel', 'compensated', True)}")


def closed(page, world):
    visit(page, f"{world.url('support')}/returns/{world.changed('close', 'status', 'closed')}")


def run_reconciliation(page, url):
    visit(page, url + "/reconciliation")
    page.get_by_role("button", name="Reconcile now").click()
    wait(lambda: not http.get(url + "/api/reconciliation").json()["running"], 40, "the run has ended")
    page.reload()


def reconciled(page, world):
    run_reconciliation(page, world.url("support"))
    page.locator("#teams").wait_for()


def reconciled_without_kafka(page, world):
    run_reconciliation(page, world.url("away"))
    page.get_by_text("came to nothing").wait_for()


def customer_with_errors(page, world):
    page.expected_statuses.append(422)
    visit(page, world.url("sales") + "/customers")
    page.locator('[name="name"]').fill(" ")
    page.get_by_role("button", name="Register").click()
    page.locator(".errors").wait_for()


def order_with_errors(page, world):
    page.expected_statuses.append(422)
    visit(page, world.url("sales") + "/orders/new")
    page.locator('[name="items.1.price.amount"]').fill("12,5")
    page.get_by_role("button", name="Place the order").click()
    page.locator(".errors").wait_for()


def order_with_more_rows(page, world):
    visit(page, world.url("sales") + f"/orders/new?customer={world.customer}")
    page.locator('[name="items.0.model"]').fill(LONG)
    page.get_by_role("button", name="More rows").click()
    page.locator('[name="items.7.model"]').wait_for()
    assert page.locator('[name="items.0.model"]').input_value() == LONG


def order_changed_meanwhile(page, world):
    page.expected_statuses.append(412)
    visit(page, world.url("sales") + f"/orders/{world.order}")
    page.locator("details summary").click()
    page.locator('[name="items.0.serial_number"]').fill("SN-MINE")
    url = f"{world.url('sales')}/api/orders/{world.order}"
    tag = http.get(url).headers["ETag"]
    answer = http.post(f"{url}/change", json={"shipment_id": f"SHP-{tag}"}, headers={"If-Match": tag})
    assert answer.status_code == 200, answer.text
    page.get_by_role("button", name="Change the order").click()
    page.locator(".errors").wait_for()
    assert page.locator('[name="items.0.serial_number"]').input_value() == "SN-MINE"


def doubtful_review(page, world):
    filled(page, world, request(order_id=world.bought, serial_number="SN-" + LONG))
    page.locator("#doubts").wait_for()


STATES = {
    "return-change": open_to_change,
    "return-refused": refused_command,
    "return-cancelled": cancelled,
    "return-undone": undone,
    "return-closed": closed,
    "customer-errors": customer_with_errors,
    "order-errors": order_with_errors,
    "order-more-rows": order_with_more_rows,
    "order-meanwhile": order_changed_meanwhile,
    "order-long": at("sales", "/orders/{w.order}"),
    "order-further": at("sales", "/orders/{w.order}?from=26"),
    "order-completed": at("sales", "/orders/ORD-DONE"),
    "customer": at("sales", "/customers/{w.customer}"),
    "form-errors": form_with_errors,
    "form-held": form_of_a_held_item,
    "form-review": review,
    "example": at("support", "/returns/new?example=5"),
    "return-long": at("support", "/returns/{w.long}"),
    "return-waiting": accepted_without_kafka,
    "form-doubtful": doubtful_review,
    "form-items": at("support", "/returns/new?customer={w.buyer}&order={w.bought}"),
    "form-nobody": at("support", "/returns/new?q=" + LONG),
    "customer-long": at("support", "/customers/{w.buyer}"),
    "away-customers": at("away", "/customers"),
    "return-version": at("support", "/returns/{w.long}?version=1"),
    "return-then": at("support", "/returns/{w.long}?as_of=2100-01-01T00:00"),
    "return-version-none": at("support", "/returns/{w.handled}?version=7", 404),
    "return-not-yet": at("support", "/returns/{w.handled}?as_of=2000-01-01", 404),
    "return-no-moment": at("support", "/returns/{w.handled}?as_of=noon", 400),
    "returns-then": at("support", "/returns?limit=1&as_of=2100-01-01"),
    "returns-before-all": at("support", "/returns?as_of=2000-01-01"),
    "state-then": at("accounting", "/state?as_of=2100-01-01"),
    "statistics-none": at("analytics", "/statistics?model=none&location=nowhere"),
    "statistics-then": at("analytics", "/statistics?since=2020-01-01&as_of=2100-01-01"),
    "statistics-refused": at("analytics", "/statistics?until=soon", 400),
    "state-before-all": at("sales", "/state?as_of=2000-01-01"),
    "state-no-moment": at("sales", "/state?as_of=noon", 400),
    "missing": at("support", "/returns/R-NONE", 404),
    "bad-filter": at("sales", "/audit?limit=many", 400),
    "audit-held": at("sales", "/audit?seen=1&event_type=returns.support.RefundRequest"),
    "audit-row": at("sales", "/audit/1"),
    "tampered": at("tampered", "/audit/verify"),
    "reconciled": reconciled,
    "reconciled-not": reconciled_without_kafka,
    "away-board": at("away", "/"),
    "away-status": at("away team", "/"),
    "away-audit": at("away team", "/audit"),
    "away-letters": at("away team", "/dead-letters"),
}


# --- Pages that links lead to


def kind(address):
    """Pages that differ only in whose they are count as one."""
    parts = urlsplit(address)
    path = "/".join("{id}" if re.search(r"[A-Z]-|\d", part) else part for part in parts.path.split("/"))
    return path + "".join(sorted(f" {name}" for name in parse_qs(parts.query, keep_blank_values=True)))


def links_of(address, text):
    found = (urljoin(address, href).partition("#")[0] for href in re.findall(r'<a [^>]*href="([^"]*)"', text))
    return [link.replace("&amp;", "&") for link in found]


def discover(start):
    """{kind: address} of all pages that are reached from there without leaving the service."""
    found, seen, queue = {}, set(), [start]
    while queue:
        address = queue.pop(0)
        if kind(address) in seen:
            continue
        seen.add(kind(address))
        answer = http.get(address)
        assert answer.status_code == 200, address
        if not answer.headers["Content-Type"].startswith("text/html"):
            continue
        found[kind(address)] = address
        queue += [link for link in links_of(address, answer.text) if link.startswith(start) and "/api/" not in link]
    return found


@pytest.fixture(scope="session")
def found(world):
    """{service: {kind: address}}"""
    return {service: discover(world.url(service) + "/") for service in DECLARED}


def name_of(service, kind_of_page):
    return service + "-" + (re.sub(r"\W+", "-", kind_of_page).strip("-") or "first")


# --- What holds for each of them


def assert_accessible(page, options):
    """The library is put into a page once, since that takes as long as its looking."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(Axe().axe_script)
    violations = page.evaluate(f"axe.run({options}).then(found => found.violations)")
    said = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html']}" for v in violations]
    assert not said, f"{page.url}: {said}"


def assert_reads_well(page, pictures, name):
    """Accessible in light and dark, and nothing to scroll sideways, from a phone to a wall. The page is left in dark."""
    assert page.title() and page.locator("h1").count() == 1
    for width, scheme, options in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url} at {width} px"
        if options:
            assert_accessible(page, options)
        if "RETURNS_PICTURES" in os.environ and width in (320, 1280):
            page.screenshot(path=pictures / f"{name}-{scheme}-{width}.png", full_page=True)


@pytest.mark.parametrize("service, what", [
    ("support", "/"), ("support", "/returns/{id}"), ("sales", "/audit"), ("sales", "/dead-letters"), ("sales", "/orders/{id}"),
    ("analytics", "/"),
])
def test_a_page_of_each_kind_reads_well_everywhere(found, open_page, pictures, service, what):
    assert_reads_well(visit(open_page(), found[service][what]), pictures, name_of(service, what))


def test_a_page_of_each_kind_is_whole_without_javascript(found, open_page):
    page = open_page(javascript=False)
    for address in (found["support"]["/"], found["support"]["/returns/{id}"], found["sales"]["/audit"], found["analytics"]["/"]):
        visit(page, address)
        assert page.locator("h1").inner_text() and len(page.locator("main").inner_text()) > 40, address


@pytest.mark.full
@pytest.mark.parametrize("service", DECLARED)
def test_every_page_reads_well_everywhere(found, open_page, pictures, service):
    assert {"/", "/audit", "/audit/verify", "/dead-letters"} <= set(found[service])
    for what, address in found[service].items():
        if service not in ("support", "sales") and what in found["sales"] and what != "/":
            continue  # but for its first page and its own it has those of the first team
        page = visit(open_page(), address)
        assert_reads_well(page, pictures, name_of(service, what))
        page.close()


@pytest.mark.full
@pytest.mark.parametrize("state", STATES)
def test_every_state_reads_well_everywhere(world, open_page, pictures, state):
    page = open_page()
    STATES[state](page, world)
    assert_reads_well(page, pictures, state)


@pytest.mark.full
@pytest.mark.parametrize("state", STATES)
def test_every_state_is_reached_without_javascript(world, open_page, state):
    page = open_page(javascript=False)
    STATES[state](page, world)
    assert page.locator("h1").inner_text() and len(page.locator("main").inner_text()) > 60


@pytest.mark.full
@pytest.mark.parametrize("service", DECLARED)
def test_every_page_is_whole_without_javascript(found, open_page, service):
    page = open_page(javascript=False)
    for address in found[service].values():
        visit(page, address)
        assert page.locator("h1").inner_text() and len(page.locator("main").inner_text()) > 40, address
        if page.locator("main [data-live]").count():
            refresh = page.locator("main a", has_text=re.compile("refresh", re.IGNORECASE)).first
            assert refresh.is_visible(), f"{address} lives, and has no link to refresh it"
            refresh.click()
            assert page.locator("h1").inner_text(), address


@pytest.mark.full
@pytest.mark.parametrize("service", DECLARED)
def test_every_page_is_light_on_its_first_view(found, open_page, service):
    for address in found[service].values():
        page, taken = open_page(), []
        session = page.context.new_cdp_session(page)
        session.send("Network.enable")
        later = set()  # what a live page asks for again is no part of its first view
        session.on("Network.requestWillBeSent", lambda e: e["type"] in ("Fetch", "EventSource") and later.add(e["requestId"]))
        session.on("Network.loadingFinished", lambda e: e["requestId"] in later or taken.append(e["encodedDataLength"]))
        visit(page, address)
        page.wait_for_load_state("load")
        assert 0 < sum(taken) <= WEIGHT, f"{address} takes {sum(taken)} bytes: {taken}"
        page.close()


def test_a_moment_is_picked_with_the_forms_own_field(world, open_page):
    for javascript in (True, False):
        page = visit(open_page(javascript=javascript), f"{world.url('support')}/returns/{world.handled}")
        page.get_by_label("As it was at").fill("2100-01-01T12:30:00.251")
        page.get_by_role("button", name="Look").click()
        page.get_by_text("As of 2100-01-01 12:30:00.251 (version 1 of 1)").wait_for()
        assert page.get_by_label("As it was at").input_value() == "2100-01-01T12:30:00.251"
        assert page.locator("main [data-live]").count() == 0 and page.locator("main form[method=post]").count() == 0
        page.get_by_role("link", name="Now").click()
        page.wait_for_url(f"**/returns/{world.handled}")


def test_the_title_says_that_something_is_wrong(world, open_page):
    for state in ("form-errors", "form-held", "bad-filter"):
        page = open_page()
        STATES[state](page, world)
        assert page.title().startswith("Error: "), state
    page = open_page()
    STATES["form-review"](page, world)
    assert not page.title().startswith("Error: ")


def test_every_link_leads_somewhere(world, found):
    seen = {}
    for pages in found.values():
        for address in pages.values():
            for link in links_of(address, http.get(address).text):
                seen.setdefault(link, address)
    ours = [link for link in seen if re.match(r"http://(localhost|127\.0\.0\.1)[:/]", link)]
    assert len(ours) > 20
    for link in ours:
        assert http.get(link).status_code == 200, f"{link} on {seen[link]}"


@pytest.mark.full
def test_pages_ask_for_nothing_from_elsewhere(found, open_page):
    page = open_page()
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    for pages in found.values():
        for address in pages.values():
            visit(page, address)
    assert {urlsplit(url).hostname for url in asked if url.startswith("http")} == {"127.0.0.1"}


@pytest.mark.full
def test_a_page_is_printed_dark_on_white_and_without_its_controls(found, open_page):
    page = open_page(color_scheme="dark")
    for address in (found["support"]["/"], found["sales"]["/audit"]):
        visit(page, address)
        page.emulate_media(media="print", color_scheme="dark")
        text = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        assert sum(map(int, re.findall(r"\d+", text)[:3])) < 200, f"{address}: {text}"
        assert not page.locator("nav").first.is_visible()
        assert page.pdf().startswith(b"%PDF")
        page.emulate_media(media="screen")
