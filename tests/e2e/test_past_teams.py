"""A team's tables at every moment of its past are what its own events up to then say."""

import random
import uuid
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stack import ROOT, ByHand, http, wait
from wire import publish, records, refund_request, write_avro

pytestmark = pytest.mark.full

TEAMS = ["inventory", "accounting"]
RETURNS = 60
CANCELLED = (ROOT / "schemas/support/RefundCancelled.avsc").read_text()


def milliseconds(text):
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def moment(ms):
    return datetime.fromtimestamp(ms / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


@pytest.fixture(scope="module")
def teams(stack, tmp_path_factory):
    """Two teams by hand, after returns of a few models and currencies, some of which were cancelled."""
    rng = random.Random(4)
    with ByHand(["support", *TEAMS], tmp_path_factory.mktemp("teams"), kafka=stack.kafka, registry=stack.registry) as hand:
        hand.await_connected(["support", *TEAMS])
        topic, events = hand.topic("support.events"), []
        for i in range(RETURNS):
            return_id = f"R-{i:04}"
            cost = {"amount": Decimal(rng.randrange(100, 90000)) / 100, "currency": rng.choice(["EUR", "USD"])}
            request = refund_request(return_id, model=rng.choice(["Kettle", "Mixer"]), cost=cost)
            events.append((return_id, write_avro(stack.registry, topic, request)))
            if rng.random() < 0.4:
                cancel = {name: request[name] for name in ("return_id", "occurred_at", "caused_by")}
                cancel |= {"event_id": str(uuid.uuid4()), "version": 2, "by": "agent-7"}
                events.append((return_id, write_avro(stack.registry, topic, cancel, CANCELLED)))
        for return_id, value in events:
            publish(stack.kafka, topic, return_id, value)
        for team in TEAMS:
            wait(lambda: len(hand.audit(team)) == len(events), 30, f"{team} has handled all")
            wait(lambda: not hand.status(team)["outbox"]["depth"], 60, f"{team} has published all")
        deserialize = AvroDeserializer(SchemaRegistryClient({"url": stack.registry}))
        hand.said = {team: [] for team in TEAMS}
        for team in TEAMS:
            for r in records(stack.kafka, hand.topic(f"{team}.events")):
                kind = dict(r.headers())["ce_type"].decode().rpartition(".")[2]
                if kind != "AuditHeads":
                    hand.said[team].append((kind, deserialize(r.value(), SerializationContext(r.topic(), MessageField.VALUE))))
        yield hand


def table(hand, team, title, at):
    answer = http.get(hand.url(team) + "/api/state", params={"as_of": at} if at else {})
    assert answer.status_code == 200
    view = next(v for v in answer.json()["views"] if v["title"] == title)
    assert view["known"], f"{title} of {team} is not known of the past"
    return [dict(zip(view["columns"], row)) for row in view["rows"]]


def moments_of(said):
    at = sorted({round(e["occurred_at"].timestamp() * 1000) for _, e in said})
    return [at[0] - 1, *at, *(ms + 1 for ms in at[::5]), at[-1] + 86_400_000]


def until(said, ms):
    return [(kind, e) for kind, e in said if round(e["occurred_at"].timestamp() * 1000) <= ms]


def test_the_ledger_at_each_moment(teams):
    for ms in moments_of(teams.said["accounting"]):
        sums, net = Counter(), Counter()
        for kind, e in until(teams.said["accounting"], ms):
            sums[e["cost"]["currency"]] += e["cost"]["amount"]
            for side, sign in (("debit_account", 1), ("credit_account", -1)):
                net[e["cost"]["currency"], e[side]] += sign * e["cost"]["amount"]
        expected = {c: (f"{total:.2f}", f"{total:.2f}", "0.00") for c, total in sums.items()}
        rows = table(teams, "accounting", "Ledger by currency", moment(ms))
        assert {r["Currency"]: (r["Debit"], r["Credit"], r["Balance"]) for r in rows} == expected, moment(ms)
        rows = table(teams, "accounting", "Accounts", moment(ms))
        assert {(r["Currency"], r["Account"]): Decimal(r["Debit"]) - Decimal(r["Credit"]) for r in rows} == net, moment(ms)


def test_the_stock_at_each_moment(teams):
    for ms in moments_of(teams.said["inventory"]):
        shipped, recalled = Counter(), Counter()
        for kind, e in until(teams.said["inventory"], ms):
            shipped[e["model"]] += kind == "ReplacementShipped"
            recalled[e["model"]] += kind == "ShipmentRecalled"
        for r in table(teams, "inventory", "Stock", moment(ms)):
            model = r["Model"]
            assert (r["Shipped"], r["Recalled"]) == (shipped[model], recalled[model]), (moment(ms), model)
            assert r["On hand"] == r["Initial"] - r["Shipped"] + r["Recalled"] >= 0


def test_a_moment_to_come_is_now(teams):
    for team, title in (("accounting", "Ledger by currency"), ("accounting", "Accounts"), ("inventory", "Stock"),
                        ("inventory", "Backorders")):
        assert table(teams, team, title, "2100-01-01") == table(teams, team, title, None), title


@pytest.mark.parametrize("team", TEAMS)
def test_one_walks_through_all_that_changed(teams, team):
    changed = sorted({r["at"] for r in teams.audit(team) if r["outcome"] in ("handled", "declined")})
    for way, steps in (("previous", changed[::-1]), ("next", changed)):
        here = teams.get(team, "/api/state" + ("" if way == "previous" else f"?as_of={moment(milliseconds(changed[0]) - 1)}"))
        walked = []
        while here[way]:
            walked.append(here[way])
            here = teams.get(team, f"/api/state?as_of={here[way]}")
        assert walked == steps
