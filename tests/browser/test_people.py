"""What people do, in a browser: with the mouse, with the keyboard, with JavaScript off."""

import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest
from confluent_kafka.admin import AdminClient

from orders import Sales, item, price, unique
from stack import ROOT, TEAMS, Service, form, request, wait

BOTH = pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])


def fill(page, fields):
    for name, value in form(fields).items():
        page.locator(f'[name="{name}"]').fill(value)


def press(page, button):
    page.get_by_role("button", name=button, exact=True).click()


def check(page):
    press(page, "Check the return")
    page.get_by_role("heading", name="Check the return").wait_for()


def send(page):
    """To the page of the return; its id."""
    press(page, "Send it")
    return return_of(page)


def return_of(page):
    page.wait_for_url(re.compile(r"/returns/R-"))
    return urlsplit(page.url).path.rpartition("/")[2]


def await_handled(stack, return_id):
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["status"] == "handled", 60, "the return is handled")


def returns_of(stack, serial_number):
    listed = stack.get("support", "/api/returns?limit=1000")["returns"]
    return [one["return_id"] for one in listed if one["request"]["serial_number"] == serial_number]


# --- The four things that people do


@BOTH
def test_submit_with_the_mouse_and_watch_four_teams_react(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/")
    page.locator('main a[href="/returns/new"]').first.click()
    sent = request(reason="Экран 💥 <b>тёмный</b>\nсо вчерашнего дня")
    fill(page, sent)
    check(page)
    shown = page.locator("main").inner_text()
    assert sent["reason"] in shown and "149.90 EUR" in shown and "Nothing was sent yet" in shown
    assert all(team in shown for team in TEAMS), "it says who reads it"
    assert returns_of(stack, sent["serial_number"]) == []
    return_id = send(page)
    assert "Nothing is left" in page.locator("main").inner_text(), "it says what happens next"
    await_handled(stack, return_id)
    page.goto(f"{stack.url('support')}/returns/{return_id}")
    shown = page.locator("main").inner_text()
    assert sent["reason"] in shown and sent["serial_number"] in shown and "handled" in shown
    for team in TEAMS:
        assert team in shown.lower()
        page.goto(f"{stack.url(team)}/audit")
        row = page.locator("tbody tr", has_text=return_id)
        assert row.count() == 1 and "handled" in row.inner_text()


def test_the_audit_page_filters_and_pages(stack, open_page):
    page = open_page(javascript=False)
    return_id = stack.submit()
    stack.await_audits([return_id], TEAMS, 20)
    page.goto(stack.url("sales") + "/audit")
    page.get_by_text("Filter", exact=True).first.click()
    page.get_by_label("Return", exact=False).first.fill(return_id)
    page.get_by_role("button", name="Filter").click()
    assert page.locator("tbody tr").count() == 1
    assert return_id in page.locator("tbody tr").inner_text()
    page.goto(stack.url("sales") + "/audit?limit=1")
    first = page.locator("tbody tr").inner_text()
    page.get_by_role("link", name="Older").click()
    assert page.locator("tbody tr").count() == 1 and page.locator("tbody tr").inner_text() != first


@pytest.mark.full
def test_stop_a_team_watch_the_others_and_start_it_again(stack, open_page):
    page = open_page(javascript=False)
    stack.verb("stop", "inventory")
    try:
        return_id = stack.submit()
        stack.await_audits([return_id], ["sales", "manufacturing", "accounting"], 20)
        teams = {t["team"]: t for t in stack.get("support", f"/api/returns/{return_id}")["teams"]}
        assert not teams["inventory"]["handled"]
        page.goto(f"{stack.url('support')}/returns/{return_id}")
        assert "requested" in page.locator("main").inner_text()
    finally:
        stack.verb("start", "inventory")
    await_handled(stack, return_id)
    page.locator("main a", has_text=re.compile("refresh", re.IGNORECASE)).first.click()
    assert "handled" in page.locator("main").inner_text()
    page.goto(f"{stack.url('inventory')}/audit?return_id={return_id}")
    assert page.locator("tbody tr", has_text=return_id).count() == 1


HANDLER = """
#include "chassis/events/service.h"

struct request {
    const char *order_id;
};
static const struct field request_fields[] = {FIELD_TEXT(struct request, order_id)};

static verdict claim(struct reaction *r, const void *fields, struct failure *why) {
    (void)why;
    const struct request *q = fields;
    (void)store_run(
        r->store, "INSERT INTO claim (return_id, order_id) VALUES (?, ?)", value_text(r->event->return_id),
        value_text(q->order_id));
    reaction_audit(r, "handled", "file a claim", "order %s", q->order_id);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), claim}, {0}};

const struct service service = {
    .title = "Legal", .duty = "Files the claim.", .subscribes = "support", .handlers = handlers};
"""


def build_legal(tree):
    """A fifth team, as the README says: one folder, one line. The path of its program."""
    shutil.copytree(ROOT / "services", tree / "services")
    shutil.copytree(ROOT / "schemas", tree / "schemas")
    shutil.copy(ROOT / "CMakePresets.json", tree)
    legal = tree / "services/legal"
    legal.mkdir()
    (legal / "legal.c").write_text(HANDLER)
    (legal / "schema.sql").write_text("CREATE TABLE claim (return_id TEXT NOT NULL PRIMARY KEY, order_id TEXT NOT NULL);\n")
    lines = (ROOT / "CMakeLists.txt").read_text()
    last = re.findall(r"^service\(.*\)$", lines, re.MULTILINE)[-1]
    (tree / "CMakeLists.txt").write_text(lines.replace(last, last + "\nservice(legal 8005)"))
    for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "--target", "legal"]):
        done = subprocess.run(command, cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
    return tree / "build/release/bin/legal"


@pytest.mark.full
def test_add_a_subscriber_that_nobody_was_asked_about(stack, open_page, tmp_path):
    before = stack.submit()
    service = Service(
        "legal", tmp_path, program=build_legal(tmp_path / "tree"), kafka=stack.kafka, registry=stack.registry,
        namespace=stack.namespace, instance="-",
    )
    service.start()
    try:
        page = open_page()
        page.goto(service.url + "/audit?return_id=" + before)
        wait(lambda: page.reload() and page.locator("tbody tr", has_text=before).count(), 60, "it has read what was before")
        page.goto(stack.url("support") + "/")
        wait(lambda: page.reload() and page.locator("main a", has_text="Legal").count(), 60, "the board shows it by itself")
    finally:
        service.stop()
        forget(stack, "legal")


def forget(stack, team):
    """Its consumer group, so that later returns do not wait for it."""
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    for done in admin.delete_consumer_groups([stack.topic(team)]).values():
        done.result(10)
    wait(lambda: team not in [t["team"] for t in stack.get("support", f"/api/returns/{stack.submit()}")["teams"]], 10,
         f"support has forgotten {team}")


# --- The form


@pytest.mark.full
@BOTH
def test_the_summary_of_errors_leads_to_the_fields(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.expected_statuses.append(422)
    page.goto(stack.url("support") + "/returns/new")
    sent = request(model="", cost={"amount": "1.005", "currency": "EUR"}, location="Łódź “5”", reason="\neins\n\nzwei ")
    fill(page, sent)
    press(page, "Check the return")
    summary = page.locator(".errors")
    summary.wait_for()
    assert page.locator(".errors:focus").count() == 1, "it has the focus"
    assert summary.bounding_box()["y"] < page.locator("main form").last.bounding_box()["y"], "it comes first"
    links = summary.locator("a")
    assert links.count() == 2
    for i, name in enumerate(["model", "cost.amount"]):
        links.nth(i).click()
        field = page.locator(f'[name="{name}"]')
        assert page.url.endswith("#" + field.get_attribute("id"))
        assert page.locator(":focus").count() == 0 or field.evaluate("e => e === document.activeElement")
    for name, value in form(sent).items():
        assert page.locator(f'[name="{name}"]').input_value() == value, "what was typed is kept"
    page.locator('[name="model"]').fill("Dune headset")
    page.locator('[name="cost.amount"]').fill("1.50")
    check(page)
    send(page)


@pytest.mark.full
@BOTH
def test_one_can_change_something_after_looking_at_it(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/returns/new")
    sent = request(reason="\nеins\n  zwei\n")
    fill(page, sent)
    check(page)
    press(page, "Change something")
    page.locator('[name="location"]').wait_for()
    for name, value in form(sent).items():
        assert page.locator(f'[name="{name}"]').input_value() == value
    page.locator('[name="location"]').fill("Lyon")
    check(page)
    made = stack.get("support", f"/api/returns/{send(page)}")["request"]
    assert made == sent | {"location": "Lyon", "reason_code": "OTHER", "channel": "form"}


@BOTH
def test_a_double_click_makes_one_return(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/returns/new")
    sent = request()
    fill(page, sent)
    check(page)
    posts = []
    page.on("request", lambda r: posts.append(r.url) if r.method == "POST" else None)
    page.get_by_role("button", name="Send it").dblclick(no_wait_after=True)
    return_id = return_of(page)
    assert posts and returns_of(stack, sent["serial_number"]) == [return_id]


@pytest.mark.full
@BOTH
def test_sent_again_when_no_answer_came_it_is_one_return(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/returns/new")
    sent = request()
    fill(page, sent)
    check(page)
    answers = []

    def lose_the_first(route):
        if route.request.method == "POST" and not answers:
            answers.append(route.fetch(max_redirects=0))
            route.fulfill(status=204)  # the page stays as it is
        else:
            route.continue_()

    page.route("**/returns", lose_the_first)
    press(page, "Send it")
    wait(lambda: page.evaluate("1") and answers, 60, "support has answered, and nobody has heard it")
    assert f"/returns/{send(page)}" == answers[0].headers["location"]
    assert len(returns_of(stack, sent["serial_number"])) == 1


@pytest.mark.full
@BOTH
def test_back_after_sending_leads_to_the_return_that_was_made(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/returns/new")
    sent = request()
    fill(page, sent)
    check(page)
    return_id = send(page)
    page.go_back()
    assert page.get_by_role("heading", level=1).inner_text() == "Check the return"
    assert send(page) == return_id, "sent again, it is the same"
    page.go_back()
    page.go_back()
    page.locator('[name="model"]').wait_for()
    page.go_forward()
    page.get_by_role("button", name="Send it").wait_for()
    assert returns_of(stack, sent["serial_number"]) == [return_id]


@pytest.mark.full
def test_back_to_the_form_another_return_can_be_made(stack, open_page):
    page = open_page()
    page.goto(stack.url("support") + "/returns/new")
    fill(page, request())
    check(page)
    first = send(page)
    page.go_back()
    press(page, "Change something")
    other = request()
    fill(page, other)
    check(page)
    second = send(page)
    assert second != first and returns_of(stack, other["serial_number"]) == [second]


@pytest.mark.full
@pytest.mark.parametrize("example", range(1, 7))
def test_an_example_can_be_submitted_as_it_is(stack, open_page, example):
    page = open_page()
    page.goto(stack.url("support") + "/returns/new")
    page.locator(f'a[href="/returns/new?example={example}"]').click()
    check(page)
    await_handled(stack, send(page))


# --- With the keyboard alone


def press_to(page, selector, most=80):
    """Tab until the element has the focus, as one without a mouse would."""
    target = page.locator(selector).first.element_handle()
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("e => document.activeElement === e", target):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"{selector} does not show that it has the focus"
            return
    raise AssertionError(f"{selector} cannot be reached with the Tab key at {page.url}")


@pytest.mark.full
def test_from_the_form_to_an_audit_row_with_the_keyboard_alone(stack, open_page):
    page = open_page()
    page.goto(stack.url("support") + "/")
    page.keyboard.press("Tab")
    assert "skip" in page.evaluate("document.activeElement.textContent").lower()
    press_to(page, 'main a[href="/returns/new"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/returns/new")
    for name, value in form(request()).items():
        press_to(page, f'[name="{name}"]')
        page.keyboard.insert_text(value)
        page.keyboard.press("Shift+Tab")  # press_to goes forwards from here
    press_to(page, "main form[method=post] button")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Send it").wait_for()
    press_to(page, "main form button")
    page.keyboard.press("Enter")
    return_id = return_of(page)
    stack.await_audits([return_id], ["sales"], 20)
    link = f'main a[href*="/audit?return_id={return_id}"]:text("sales")'
    press_to(page, link)
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/audit\?return_id="))
    assert page.locator("tbody tr", has_text=return_id).count() == 1
    press_to(page, "tbody tr a")


# --- Cancelling and closing


def change(page, stack, return_id, button, by=""):
    page.goto(f"{stack.url('support')}/returns/{return_id}")
    page.locator("#change summary").click()
    page.get_by_label("Your staff id").fill(by)
    press(page, button)
    page.wait_for_load_state()


@pytest.mark.full
@BOTH
def test_a_return_is_cancelled_and_its_item_is_free(stack, open_page, javascript):
    page, sent = open_page(javascript=javascript), request()
    return_id = stack.submit(**sent)
    await_handled(stack, return_id)
    change(page, stack, return_id, "Cancel this return", by="agent-7")
    assert return_of(page) == return_id and "Cancelled" in page.locator("#state").inner_text()
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["compensated"], 60, "all have undone it")
    page.reload()
    assert "Cancelled, and undone." in page.locator("#state").inner_text() and page.locator("#change").count() == 0
    assert page.locator("#teams .pill", has_text="undone").count() >= len(TEAMS)
    assert "agent-7" in stack.audit("support", return_id=return_id, action="cancel a return")[0]["summary"]
    assert stack.submit(**sent) != return_id


@BOTH
def test_who_is_too_late_is_told_and_led_back(stack, open_page, javascript):
    return_id = stack.submit()
    await_handled(stack, return_id)
    page, slower = open_page(javascript=javascript), open_page(javascript=False)
    slower.goto(f"{stack.url('support')}/returns/{return_id}")
    change(page, stack, return_id, "Close this return")
    assert "Closed." in page.locator("#state").inner_text()
    slower.expected_statuses.append(412)
    slower.locator("#change summary").click()
    press(slower, "Cancel this return")
    slower.get_by_role("heading", name="The return was not cancelled").wait_for()
    assert "meant for version 1" in slower.locator("main").inner_text()
    # the page tells what support has read back, and this one does not live
    wait(lambda: "returns.support.CommandRejected" in [e["type"] for e in stack.events(return_id)], 60, "it is published")
    slower.get_by_role("link", name="As it is now").click()
    assert "Closed." in slower.locator("#state").inner_text() and "refused" in slower.locator("#timeline").inner_text()


@pytest.mark.full
def test_what_is_being_typed_stays_while_the_page_lives(stack, open_page):
    page, return_id = open_page(), stack.submit()
    page.goto(f"{stack.url('support')}/returns/{return_id}")
    page.locator("#change summary").click()
    page.get_by_label("Your staff id").press_sequentially("agent-9")
    page.get_by_role("button", name="Close this return").wait_for()  # once it is handled
    assert page.get_by_label("Your staff id").input_value() == "agent-9"
    assert page.evaluate("document.activeElement.id") == "by"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Close this return"
    page.keyboard.press("Enter")
    page.get_by_text("Closed.").wait_for()
    assert "agent-9" in stack.audit("support", return_id=return_id, action="close a return")[0]["summary"]


@pytest.mark.full
@BOTH
def test_from_a_customer_to_a_return_with_the_keyboard_alone(stack, open_page, javascript):
    sales, customer, order, serial = Sales(stack), unique("C-KEYS"), unique("ORD"), unique("SN")
    for _ in range(11):
        sales.register(unique("C-OTHER"))
    sales.register(customer, f"Keys {customer}", "Lyon")
    sales.place(order, customer, [item(1, unique("SN")), item(2, serial, "Fan", price("12.00", "CHF"))], "SHP-1")
    wait(lambda: stack.get("support", f"/api/customers?q={customer}")["total"], 60, "support knows the customer")
    wait(lambda: stack.get("support", f"/api/customers/{customer}")["orders"], 60, "support knows the order")
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/returns/new")
    press_to(page, "#q")
    page.keyboard.insert_text(customer.lower())
    page.keyboard.press("Enter")
    page.wait_for_url("**/returns/new?q=*")
    for name, then in ((f"Keys {customer}", "Which order?"), (order, "Which item?"), (serial, "It is filled in below")):
        press_to(page, f'main a:has-text("{name}")')
        page.keyboard.press("Enter")
        page.get_by_text(then).wait_for()
    press_to(page, "#reason")
    page.keyboard.insert_text("It hums.")
    press_to(page, "main form[method=post] button")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Send it").wait_for()
    assert not page.locator("#doubts").count()
    press_to(page, "main form button")
    page.keyboard.press("Enter")
    made = stack.get("support", f"/api/returns/{return_of(page)}")["request"]
    assert made == request(
        order_id=order, model="Fan", shipment_id="SHP-1", serial_number=serial, location="Lyon", customer_id=customer,
        cost={"amount": "12.00", "currency": "CHF"}, reason="It hums.") | {"reason_code": "OTHER", "channel": "form"}
    links = {a.inner_text(): a.get_attribute("href") for a in page.locator("main dl a").all()}
    assert links[order] == f"/orders/{order}" and links[customer] == f"/customers/{customer}"
