"""The form: looked at before it is sent, and sent once, however often its button is pressed."""

import re
import signal
import threading
import uuid

import pytest

from stack import ByHand, form, http, request
from test_input import NOWHERE, FormPage, Support


@pytest.fixture
def support(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        yield Support(hand)


def post(support, fields, **said_by_the_form):
    return http.post(support.url + "/returns", data=form(fields) | said_by_the_form)


def values(text):
    """Of every field of a page, as a browser would send them."""
    return {name: value.removeprefix("\n").replace("\n", "\r\n") for name, value in FormPage(text).values.items()}


def made(answer):
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def new_token():
    return str(uuid.uuid4())


def test_it_is_shown_once_more_and_nothing_is_stored(support):
    before = support.holds()
    sent = request(reason="<b>tout\r\nnoir</b>", cost={"amount": "1234.50", "currency": "CHF"})
    answer = post(support, sent, review="1", token=new_token())
    assert answer.status_code == 200 and support.holds() == before
    page = values(answer.text)
    assert page | form(sent) == page and "review" not in page, "it holds what is to be sent"
    assert "1234.50 CHF" in re.sub(r"<[^>]*>", "", answer.text), "what it costs is said"
    made(http.post(support.url + "/returns", data=page))
    assert support.holds()["return_request"] == 1


def test_what_is_wrong_is_said_before_it_is_shown(support):
    answer = post(support, request(model=""), review="1", token=new_token())
    assert answer.status_code == 422 and "<title>Error: " in answer.text
    assert FormPage(answer.text).invalid == {"model"}


def test_an_item_that_is_in_an_open_return_is_known_before_it_is_sent(support):
    first = request()
    held = made(post(support, first))
    answer = post(support, request(serial_number=first["serial_number"]), review="1", token=new_token())
    assert answer.status_code == 409 and held in answer.text and "<title>Error: " in answer.text


def test_one_can_go_back_and_change_something(support):
    sent, token = request(reason="eins\r\n\r\nzwei  "), new_token()
    answer = post(support, sent, token=token, change="1")
    assert answer.status_code == 200 and "Error: " not in answer.text
    page = values(answer.text)
    assert page == form(sent) | {"review": "1", "token": token}
    assert support.holds()["return_request"] == 0


def test_of_many_clicks_at_once_one_return_is_made(support):
    sent, token, found = request(), new_token(), []
    threads = [threading.Thread(target=lambda: found.append(made(post(support, sent, token=token)))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1
    holds = support.holds()
    assert holds["return_request"] == holds["outbox"] == holds["audit"] == 1


def test_sent_again_after_a_crash_it_is_the_same_return(support):
    sent, token = request(), new_token()
    first = made(post(support, sent, token=token))
    service = support.hand.services["support"]
    service.stop(signal.SIGKILL)
    service.start()
    assert made(post(support, sent, token=token)) == first
    assert made(post(support, sent, token=token, review="1")) == first, "also from the form"
    assert support.holds()["return_request"] == 1


def test_another_return_by_a_form_that_was_sent_is_neither_lost_nor_mistaken(support):
    token = new_token()
    first = made(post(support, request(), token=token))
    other = request()
    answer = post(support, other, token=token)
    page = values(answer.text)
    assert answer.status_code == 409 and first in answer.text
    assert page | form(other) == page and page["token"] != token, "typed text is kept, and it can be sent"
    second = made(post(support, other, token=page["token"]))
    assert second != first
    answer = post(support, request(), token=token, review="1")
    assert answer.status_code == 200 and values(answer.text)["token"] != token, "what is looked at first gets its own"


def test_a_refused_form_can_be_sent_with_its_token_once_it_is_mended(support):
    token = new_token()
    assert post(support, request(model=""), token=token).status_code == 422
    made(post(support, request(), token=token))


@pytest.mark.parametrize("token", ["x", "1' OR '1'='1", "00000000-0000-0000-0000-00000000000", "é" * 100])
def test_a_token_that_is_none_is_refused(support, token):
    answer = post(support, request(), token=token)
    assert answer.status_code == 422 and "token" in answer.text
    assert support.holds()["return_request"] == 0


def test_the_api_knows_no_token(support):
    answer = http.post(support.url + "/api/returns", json=request(token=new_token()))
    assert answer.status_code == 422 and answer.json()["errors"][0]["field"] == "token"


@pytest.mark.parametrize("example", ["1", "2", "3", "4", "5", "6"])
def test_every_example_can_be_sent(support, example):
    page = values(http.get(f"{support.url}/returns/new?example={example}").text)
    assert page["reason"] and page["serial_number"].startswith("SN-")
    again = values(http.get(f"{support.url}/returns/new?example={example}").text)
    assert page["serial_number"] != again["serial_number"] and page["token"] != again["token"]
    answer = http.post(support.url + "/returns", data=page)
    assert answer.status_code == 200, answer.text
    made(http.post(support.url + "/returns", data=values(answer.text)))


@pytest.mark.parametrize("example", ["0", "7", "", "x", "01"])
def test_an_example_that_there_is_not(support, example):
    answer = http.get(f"{support.url}/returns/new?example={example}")
    assert answer.status_code == 404 and "from 1 to 6" in answer.text
