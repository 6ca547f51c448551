"""The README's pictures. ./returns screenshots puts them into docs/."""

import pytest

from stack import SERVICES

pytestmark = pytest.mark.full


@pytest.fixture
def readme(pictures):
    folder = pictures / "readme"
    folder.mkdir(exist_ok=True)
    return folder


def assert_small(picture):
    assert 5_000 < picture.stat().st_size < 200_000, f"{picture} has {picture.stat().st_size} bytes"


def test_the_board_while_a_team_is_stopped(stack, open_page, readme):
    stack.await_audits([stack.submit()], SERVICES, 10)
    stack.verb("stop", "inventory")
    try:
        page = open_page(viewport={"width": 1100, "height": 1090})
        ids = [stack.submit(model=m) for m in ("Aurora 14 laptop", "Dune headset", "Comet router")]
        stack.await_audits(ids, ["sales", "manufacturing", "accounting"], 30)
        page.goto(stack.url("support") + "/")
        page.get_by_text("3 waiting").wait_for()
        page.screenshot(path=readme / "board.png")
    finally:
        stack.verb("start", "inventory")
    stack.await_audits(ids, ["inventory"], 30)
    assert_small(readme / "board.png")
