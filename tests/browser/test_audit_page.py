"""The audit page while rows arrive: live at its top, still where one reads."""

import pytest

from stack import ByHand, wait

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Support without Kafka: each return is a row of its audit log."""
    with ByHand(["support"], tmp_path_factory.mktemp("alone"), kafka="127.0.0.1:1", registry="http://127.0.0.1:1") as hand:
        for _ in range(60):
            hand.submit()
        yield hand


def test_rows_arrive_without_moving_what_one_reads(alone, open_page):
    page = open_page()
    page.goto(alone.url("support") + "/audit")
    first = lambda: page.locator("#rows tbody tr").first.get_attribute("id")
    place = lambda: page.locator("#row-45").evaluate("row => row.getBoundingClientRect().top")
    assert first() == "row-60"
    alone.submit()
    wait(lambda: first() == "row-61", 60, "a new row at the top")
    page.evaluate("scrollTo(0, 1500)")
    wait(lambda: page.evaluate("location.search") == "?seen=61", 60, "the address holds the rows")
    before = place()
    for _ in range(3):
        alone.submit()
    wait(lambda: "3 new rows: show" in page.locator("#news").inner_text(), 60, "new rows are offered")
    assert first() == "row-61" and abs(place() - before) < 2
    page.evaluate("scrollTo(0, 0)")
    wait(lambda: first() == "row-64", 60, "live again at the top")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    wait(lambda: page.evaluate("location.search") == "?seen=64", 60, "held again")
    page.locator("a[rel=next]").click()
    wait(lambda: first() == "row-14", 60, "the older rows")
    alone.submit()
    wait(lambda: "1 new row: show" in page.locator("#news").inner_text(), 60, "offered on an older page, too")
    page.locator("#news a").click()
    wait(lambda: first() == "row-65", 60, "shown")
