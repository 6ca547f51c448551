"""Pages that follow what happens: without a reload, without moving what one reads, without growing; and back to it by
themselves when the service was away."""

import re
import signal

import pytest

from stack import ByHand, http, wait

NOWHERE = {"kafka": "127.0.0.1:1", "registry": "http://127.0.0.1:1"}


@pytest.fixture
def hand(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        yield hand


def state(page):
    return page.locator("#live").get_attribute("data-state")


def await_state(page, wanted, seconds=15):
    page.wait_for_function("wanted => document.getElementById('live').dataset.state === wanted", arg=wanted, timeout=seconds * 1000)


def await_row(page, text, seconds=10):
    page.locator("#rows", has_text=text).wait_for(timeout=seconds * 1000)


def test_a_return_that_is_submitted_elsewhere_shows_without_a_reload(stack, open_page):
    page = open_page()
    page.goto(stack.url("support") + "/")
    await_state(page, "live")
    page.evaluate("window.mark = 1")
    return_id = stack.submit()
    page.get_by_text(return_id).first.wait_for(timeout=30000)
    page.goto(stack.url("sales") + "/audit")
    await_state(page, "live")
    return_id = stack.submit()
    await_row(page, return_id, 30)


@pytest.mark.full
def test_a_page_of_a_return_fills_in(stack, open_page):
    page = open_page()
    page.goto(f"{stack.url('support')}/returns/{stack.submit()}")
    page.evaluate("window.mark = 1")
    page.locator("main .pill.ok", has_text="handled").first.wait_for()
    assert page.evaluate("window.mark") == 1


@pytest.mark.full
def test_without_javascript_the_page_is_as_it_was_served(hand, open_page):
    page = open_page(javascript=False)
    page.goto(hand.url("support") + "/audit")
    assert page.locator("#live").inner_text() == ""
    return_id = hand.submit()
    assert return_id not in page.locator("main").inner_text()
    page.reload()
    assert return_id in page.locator("main").inner_text()


@pytest.mark.full
def test_what_one_reads_stays(hand, open_page):
    """The row, the focus, the selection and open details, while rows arrive above. The audit page's own module would hold
    the rows instead, so it is left out."""
    page = open_page()
    page.route("**/assets/audit.js*", lambda route: route.fulfill(body="", content_type="text/javascript"))
    ids = [hand.submit() for _ in range(40)]
    page.goto(hand.url("support") + "/audit?limit=200")
    await_state(page, "live")
    link = page.get_by_role("link", name=ids[5])
    link.scroll_into_view_if_needed()
    link.focus()
    page.get_by_text("Filter", exact=True).first.evaluate("e => { e.closest('details').open = true }")
    page.wait_for_function("scrollY > 0")
    link.evaluate("e => e.scrollIntoView({block: 'center'})")
    before = link.evaluate("e => e.getBoundingClientRect().top")
    more = [hand.submit() for _ in range(5)]
    await_row(page, more[-1])
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert abs(link.evaluate("e => e.getBoundingClientRect().top") - before) <= 1
    assert link.evaluate("e => e === document.activeElement")
    assert page.locator("details").first.evaluate("e => e.open")
    # Selected text is left alone, and is up to date once it is not selected any more.
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#rows caption'))")
    held = hand.submit()
    page.wait_for_timeout(1000)  # in which nothing must happen
    assert held not in page.locator("#rows").inner_text() and page.evaluate("String(getSelection())")
    page.evaluate("getSelection().removeAllRanges()")
    hand.submit()
    await_row(page, held)


@pytest.mark.full
def test_a_service_that_was_away_is_told_and_found_again(hand, open_page):
    page = open_page()
    page.expected_statuses.append(503)
    service = hand.services["support"]
    page.goto(hand.url("support") + "/audit")
    await_state(page, "live")
    page.is_alone = True
    service.stop(signal.SIGKILL)
    await_state(page, "lost")
    assert "Not reachable since" in page.locator("#live").inner_text()
    service.start()
    await_state(page, "live", 40)
    await_row(page, hand.submit())


@pytest.mark.full
def test_a_page_beyond_the_cap_polls(tmp_path, open_page):
    with ByHand(["support"], tmp_path, streams=0, **NOWHERE) as hand:
        page = open_page()
        page.expected_statuses.append(503)
        page.goto(hand.url("support") + "/audit")
        await_state(page, "polling")
        await_row(page, hand.submit())
        page.close()  # it asks again and again, and support stops now


@pytest.mark.full
def test_a_hidden_page_holds_no_stream(hand, open_page):
    page = open_page()
    page.goto(hand.url("support") + "/audit")
    await_state(page, "live")
    assert watched(hand) == 1
    hide(page, True)
    wait(lambda: watched(hand) == 0, 60, "the hidden page has let go of its stream")
    return_id = hand.submit()
    hide(page, False)
    await_row(page, return_id)


def hide(page, hidden):
    page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }", hidden)


def watched(hand):
    return int(re.search(r"^returns_streams (\d+)", http.get(hand.url("support") + "/metrics").text, re.M)[1])


@pytest.mark.full
def test_a_page_left_open_does_not_grow(hand, open_page):
    """The heap after some thousand refreshes against that after some hundred; what is live is counted after a collection."""
    page = open_page()
    for _ in range(5):
        hand.submit()
    page.goto(hand.url("support") + "/audit")
    await_state(page, "live")
    session = page.context.new_cdp_session(page)

    def refresh(times):
        page.evaluate(
            """async times => {
                const { show } = await import(document.querySelector("script[type=module]").src);
                for (let i = 0; i < times; i++) {
                    const page = await (await fetch(location.href)).text();
                    show(page.replaceAll("Aurora", "Aurora " + i));
                }
            }""", times)

    def used():
        session.send("HeapProfiler.collectGarbage")
        found = session.send("Runtime.getHeapUsage")["usedSize"], session.send("Memory.getDOMCounters")
        return found[0], found[1]["nodes"], found[1]["jsEventListeners"]

    refresh(300)
    before = used()
    refresh(2000)
    after = used()
    print(before, after)
    assert after[0] < before[0] * 1.1 + 200_000 and after[1] <= before[1] * 1.1 and after[2] <= before[2]
