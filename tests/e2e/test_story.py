"""What people do: submit a return, watch four teams react, stop one, start it again."""

import time

import pytest

from stack import SERVICES, TEAMS, form, http, request, wait

OTHERS = [team for team in TEAMS if team != "inventory"]
REACTIONS = {
    "sales": "returns.sales.OrderRefunded",
    "inventory": "returns.inventory.ReplacementShipped",
    "manufacturing": "returns.manufacturing.DisassemblyOrdered",
    "accounting": "returns.accounting.AssetDisposalCharged",
}


def submit_form(stack, fields, **headers):
    """The form as a browser sends it; the id of the return that it leads to."""
    answer = http.post(stack.url("support") + "/returns", data=form(fields), headers=headers)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"].rpartition("/")[2]


def teams_of(stack, return_id):
    return {team["team"]: team for team in stack.get("support", f"/api/returns/{return_id}")["teams"]}


def model_on_hand(stack):
    """Other tests take from the stock as well."""
    stock = next(view for view in stack.status("inventory")["views"] if view["title"] == "Stock")
    on_hand = {row[0]: row[stock["columns"].index("On hand")] for row in stock["rows"]}
    return max(on_hand, key=on_hand.get)


def test_a_return_is_on_all_four_audit_pages(stack):
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = request()
    return_id = submit_form(stack, sent, traceparent=f"00-{trace}-b7ad6b7169203331-01")
    print(f"after {stack.await_audits([return_id], TEAMS, 180):.2f} s")
    for team in TEAMS:
        (row,) = stack.audit(team, return_id=return_id)
        assert row["outcome"] == "handled"
        assert row["trace_id"] == trace
        assert row["event_type"] == "returns.support.RefundRequest"
        assert row["topic"] == stack.topic("support.events")
    page = http.get(f"{stack.url('support')}/returns/{return_id}")
    assert page.status_code == 200
    for value in (return_id, sent["order_id"], sent["serial_number"], sent["reason"]):
        assert value in page.text


def test_each_teams_reaction_is_in_the_history_and_the_return_becomes_handled(stack):
    return_id = stack.submit(model=model_on_hand(stack))
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["status"] == "handled", 60, "the return is handled")
    wait(lambda: len(stack.events(return_id)) == 5, 60, "the history is whole")
    history = {event["team"]: event for event in stack.events(return_id)}
    assert history["support"]["type"].endswith("RefundRequest")
    for team, event_type in REACTIONS.items():
        assert history[team]["type"] == event_type
        assert history[team]["version"] == 1
        assert history[team]["data"]["caused_by"] == history["support"]["data"]["event_id"]
        assert history[team]["trace_id"] == history["support"]["trace_id"]
    teams = teams_of(stack, return_id)
    assert set(teams) >= {*TEAMS, "analytics"}, "whoever reads it is there, also one that says nothing"
    assert all(team["handled"] and team["event_type"] == REACTIONS.get(name) for name, team in teams.items())


def test_a_stopped_team_delays_nobody_and_catches_up(stack):
    stack.verb("stop", "inventory")
    stopped = True
    try:
        ids = [stack.submit() for _ in range(50)]
        stack.await_audits(ids, OTHERS, 180)
        wait(lambda: teams_of(stack, ids[-1])["sales"]["handled"], 60, "support knows that sales has handled it")
        assert not teams_of(stack, ids[-1])["inventory"]["handled"]
        assert stack.get("support", f"/api/returns/{ids[-1]}")["status"] == "requested"
        assert stack.pid_of("inventory") is None
        begin = time.monotonic()
        stack.verb("start", "inventory")
        stopped = False
        stack.await_audits(ids, ["inventory"], 5 - (time.monotonic() - begin))
    finally:
        if stopped:
            stack.verb("start", "inventory")
    for team in TEAMS:
        rows = [row for row in stack.audit(team) if row["return_id"] in set(ids)]
        assert sorted(row["return_id"] for row in rows) == sorted(ids)
        assert len({(row["topic"], row["partition"], row["offset"]) for row in rows}) == 50
    wait(lambda: stack.get("support", f"/api/returns/{ids[-1]}")["status"] == "handled", 60, "the last one is handled")


def test_many_returns_have_each_exactly_one_effect(stack):
    """The books at the end: one row a return and a record, and stock that adds up."""
    ids = [stack.submit(model="Comet router") for _ in range(20)]
    stack.await_audits(ids, SERVICES, 180)
    for team in TEAMS:
        rows = [row for row in stack.audit(team) if row["topic"]]
        places = [(row["topic"], row["partition"], row["offset"]) for row in rows]
        assert len(set(places)) == len(places)
        assert stack.get(team, "/api/audit/verify")["intact"]
    (stock,) = [view for view in stack.status("inventory")["views"] if view["title"] == "Stock"]
    for _model, initial, shipped, recalled, on_hand in stock["rows"]:
        assert on_hand == initial - shipped + recalled >= 0
    (ledger,) = [view for view in stack.status("accounting")["views"] if view["title"].startswith("Ledger")]
    assert ledger["rows"] and all(balance == "0.00" for *_, balance in ledger["rows"])


@pytest.mark.parametrize(
    "text",
    [
        "Экран не включается, «ноутбук» №5",
        "画面が表示されません。電源ボタンを押しても反応なし",
        "屏幕不亮，按电源键没有反应",
        "Broken 💥 after one week 👩🏽‍🔧 — naïve café",
        "الشاشة لا تعمل \u200fمنذ أمس\u200e (A-12)",
        "<b>bold</b> & \"quoted\" 'text' {{reason}} \\n %s",
    ],
)
def test_text_in_any_language_arrives_as_typed(stack, text):
    sent = request(reason=text, model=text[:60], location=text[:50])
    return_id = submit_form(stack, sent)
    stack.await_audits([return_id], SERVICES, 180)
    (shipped,) = stack.audit("inventory", return_id=return_id)
    (queued,) = stack.audit("manufacturing", return_id=return_id)
    (accepted,) = [row for row in stack.audit("support", return_id=return_id) if row["outcome"] == "accepted"]
    assert sent["model"] in shipped["summary"]
    assert sent["location"] in queued["summary"]
    assert text in accepted["summary"]
    assert stack.get("support", f"/api/returns/{return_id}")["request"]["reason"] == text
    page = http.get(stack.url("manufacturing") + "/audit", params={"return_id": return_id}).text
    escaped = sent["location"]
    for character, entity in {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"}.items():
        escaped = escaped.replace(character, entity)
    assert escaped in page
