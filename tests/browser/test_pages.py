"""Every page: accessible in light and dark, readable on a phone, without a complaint of the browser."""

import sqlite3

import pytest
from axe_playwright_python.sync_playwright import Axe

import audit_log
from stack import TEAMS, ByHand, form, http, request, wait
from wire import publish

LONG = "Überraschungsverpackungsgrößenverordnung" * 2


@pytest.fixture(scope="session")
def tampered(tmp_path_factory):
    """The address of a service whose audit log was changed."""
    folder = tmp_path_factory.mktemp("tampered")
    with ByHand(["sales"], folder, kafka="127.0.0.1:1", registry="http://127.0.0.1:1") as hand:
        (database,) = (folder / "data").glob("*.db")
        audit_log.make(database, 200)
        with sqlite3.connect(database) as db:
            db.execute("UPDATE audit SET summary = 'Nothing happened.' WHERE id = 123")
        yield hand.url("sales")


@pytest.fixture(scope="session")
def pages(stack, tampered):
    """{name: (address, status)}; with something to show on each, also words that are hard to break."""
    handled = stack.submit()
    long = stack.submit(model=LONG, location="x" * 100, reason="y" * 500 + "\nالشاشة لا تعمل")
    stack.await_audits([handled, long], ["support", *TEAMS], 10)
    support = stack.url("support")
    found = {
        "board": (support + "/", 200),
        "form": (support + "/returns/new", 200),
        "example": (support + "/returns/new?example=1", 200),
        "list": (support + "/returns", 200),
        "return": (f"{support}/returns/{handled}", 200),
        "return-long": (f"{support}/returns/{long}", 200),
        "support-status": (support + "/status", 200),
        "support-audit": (support + "/audit", 200),
        "support-verify": (support + "/audit/verify", 200),
        "broken": (tampered + "/audit/verify", 200),
        "missing": (support + "/returns/R-NONE", 404),
        "bad-filter": (stack.url("sales") + "/audit?limit=many", 400),
    }
    for team in TEAMS:
        found[team] = (stack.url(team) + "/", 200)
        found[f"{team}-audit"] = (stack.url(team) + "/audit", 200)
        found[f"{team}-verify"] = (stack.url(team) + "/audit/verify", 200)
    found["sales-row"] = (stack.url("sales") + "/audit/1", 200)
    found["audit-held"] = (stack.url("sales") + "/audit?seen=1&event_type=returns.support.RefundRequest", 200)
    publish(stack.kafka, stack.topic("support.events"), f"R-{LONG}", b"\x07" + LONG.encode() * 20, headers={LONG: LONG.encode()})
    wait(lambda: stack.status("sales")["dead_letters"], 10, "sales has a dead letter")
    found["sales-letters"] = (stack.url("sales") + "/dead-letters", 200)
    return found


NAMES = ["board", "form", "example", "list", "return", "return-long", "support-status", "support-audit", "support-verify", "broken",
         "missing", "bad-filter", "sales-letters", "audit-held", "sales-row", *TEAMS, *(f"{team}-audit" for team in TEAMS), *(f"{team}-verify" for team in TEAMS)]


def visit(page, address, status):
    page.expected_statuses.append(status)
    answer = page.goto(address)
    assert answer.status == status, address
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    return page


def assert_accessible(page):
    found = Axe().run(page)
    said = [f"{v['id']}: {v['help']}: {v['nodes'][0]['html']}" for v in found.response["violations"]]
    assert not said, f"{page.url}: {said}"


def assert_reads_well(page, pictures, name):
    """Accessible in light and dark, and nothing to scroll sideways on a phone or a tablet. The page is left in dark."""
    assert page.title() and page.locator("h1").count() == 1
    assert_accessible(page)
    page.screenshot(path=pictures / f"{name}-light.png", full_page=True)
    for width in (768, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{page.url} at {width} px"
    assert_accessible(page)
    page.screenshot(path=pictures / f"{name}-320.png", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="dark")
    assert_accessible(page)
    page.screenshot(path=pictures / f"{name}-dark.png", full_page=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_page_reads_well_everywhere(pages, open_page, pictures, name):
    assert_reads_well(visit(open_page(), *pages[name]), pictures, name)


def test_the_form_with_errors_reads_well_everywhere(stack, open_page, pictures):
    page = open_page()
    page.expected_statuses.append(422)
    page.goto(stack.url("support") + "/returns/new")
    for name, value in form(request(model="", cost={"amount": "-1", "currency": "€"}, order_id="y" * 150)).items():
        page.locator(f'[name="{name}"]').fill(value)
    page.locator("main form").last.evaluate("f => f.noValidate = true")
    page.locator('main form button, main form [type="submit"]').last.click()
    page.locator(".errors").wait_for()
    assert_reads_well(page, pictures, "form-errors")


def test_every_link_leads_somewhere(stack, pages, open_page):
    page = open_page(javascript=True)
    seen = {}
    for address, status in pages.values():
        visit(page, address, status)
        for link in page.locator("a[href]").all():
            href = link.evaluate("a => a.href").partition("#")[0]
            seen.setdefault(href, address)
    ours = [h for h in seen if h.startswith("http://localhost") or h.startswith("http://127.0.0.1")]
    assert len(ours) > 20
    expected = dict(pages.values())
    expected[stack.url("sales") + "/api/audit?limit=many"] = 400  # the bad filter's own view as JSON
    for href in ours:
        assert http.get(href).status_code == expected.get(href, 200), f"{href} on {seen[href]}"


def test_pages_ask_for_nothing_from_elsewhere(pages, open_page):
    page = open_page()
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    for address, status in pages.values():
        visit(page, address, status)
    assert {url.split("/")[2].partition(":")[0] for url in asked if url.startswith("http")} == {"127.0.0.1"}
