"""What people do, in a browser: with the mouse, with the keyboard, with JavaScript off."""

import re

import pytest

from stack import TEAMS, form, request, wait


def fill(page, fields):
    for name, value in form(fields).items():
        page.locator(f'[name="{name}"]').fill(value)


def return_of(page):
    page.wait_for_url(re.compile(r"/returns/R-"))
    return page.url.rpartition("/")[2]


def await_handled(stack, return_id):
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["status"] == "handled", 5, "the return is handled")


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_submit_with_the_mouse_and_watch_four_teams_react(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.goto(stack.url("support") + "/")
    page.locator('main a[href="/returns/new"]').first.click()
    sent = request(reason="Экран 💥 <b>тёмный</b>\nсо вчерашнего дня")
    fill(page, sent)
    page.locator('main form button, main form [type="submit"]').last.click()
    return_id = return_of(page)
    await_handled(stack, return_id)
    page.goto(f"{stack.url('support')}/returns/{return_id}")
    shown = page.locator("main").inner_text()
    assert sent["reason"] in shown and sent["serial_number"] in shown and "handled" in shown
    for team in TEAMS:
        assert team in shown.lower()
        page.goto(f"{stack.url(team)}/audit")
        row = page.locator("tbody tr", has_text=return_id)
        assert row.count() == 1 and "handled" in row.inner_text()


def press_to(page, selector, most=60):
    """Tab until the element has the focus, as one without a mouse would."""
    target = page.locator(selector).first.element_handle()
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("e => document.activeElement === e", target):
            return
    raise AssertionError(f"{selector} cannot be reached with the Tab key at {page.url}")


def test_submit_with_the_keyboard_alone(stack, open_page):
    page = open_page()
    page.goto(stack.url("support") + "/")
    page.keyboard.press("Tab")
    assert "skip" in page.evaluate("document.activeElement.textContent").lower()
    press_to(page, 'main a[href="/returns/new"]')
    page.keyboard.press("Enter")
    page.wait_for_url("**/returns/new")
    for name, value in form(request()).items():
        press_to(page, f'[name="{name}"]')
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", f"{name} does not show that it has the focus"
        page.keyboard.insert_text(value)
        page.keyboard.press("Shift+Tab")  # press_to goes forwards from here
    press_to(page, 'main form button, main form [type="submit"]')
    page.keyboard.press("Enter")
    return_of(page)


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_the_summary_of_errors_leads_to_the_fields(stack, open_page, javascript):
    page = open_page(javascript=javascript)
    page.expected_statuses.append(422)
    page.goto(stack.url("support") + "/returns/new")
    sent = request(model="", cost={"amount": "1.005", "currency": "EUR"}, location="Łódź “5”")
    fill(page, sent)
    page.locator("main form").last.evaluate("f => f.noValidate = true") if javascript else None
    page.locator('main form button, main form [type="submit"]').last.click()
    page.wait_for_load_state()
    summary = page.locator(".errors")
    assert summary.count() == 1
    assert summary.bounding_box()["y"] < page.locator("main form").last.bounding_box()["y"], "it comes first"
    links = summary.locator("a")
    assert links.count() == 2
    for i, name in enumerate(["model", "cost.amount"]):
        links.nth(i).click()
        field = page.locator(f'[name="{name}"]')
        assert page.url.endswith("#" + field.get_attribute("id"))
        assert page.locator(":focus").count() == 0 or field.evaluate("e => e === document.activeElement")
    assert page.locator('[name="location"]').input_value() == sent["location"]
    page.locator('[name="model"]').fill("Dune headset")
    page.locator('[name="cost.amount"]').fill("1.50")
    page.locator('main form button, main form [type="submit"]').last.click()
    return_of(page)


def test_an_example_can_be_submitted_as_it_is(stack, open_page):
    page = open_page()
    page.goto(stack.url("support") + "/returns/new")
    page.locator('a[href*="example"]').first.click()
    page.locator('main form button, main form [type="submit"]').last.click()
    await_handled(stack, return_of(page))


def test_stop_a_team_watch_the_others_and_start_it_again(stack, open_page):
    page = open_page(javascript=False)
    stack.verb("stop", "inventory")
    try:
        return_id = stack.submit()
        stack.await_audits([return_id], ["sales", "manufacturing", "accounting"], 5)
        teams = {t["team"]: t for t in stack.get("support", f"/api/returns/{return_id}")["teams"]}
        assert not teams["inventory"]["handled"]
        page.goto(f"{stack.url('support')}/returns/{return_id}")
        assert "requested" in page.locator("main").inner_text()
    finally:
        stack.verb("start", "inventory")
    await_handled(stack, return_id)
    refresh = page.locator("main a", has_text=re.compile("refresh|reload|again|look", re.IGNORECASE)).first
    refresh.click()
    assert "handled" in page.locator("main").inner_text()
    page.goto(f"{stack.url('inventory')}/audit?return_id={return_id}")
    assert page.locator("tbody tr", has_text=return_id).count() == 1


def test_the_audit_page_filters_and_pages(stack, open_page):
    page = open_page(javascript=False)
    return_id = stack.submit()
    stack.await_audits([return_id], TEAMS, 5)
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
