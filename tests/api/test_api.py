"""The descriptions of the HTTP APIs (docs/api/*.openapi.json), held to the files, to OpenAPI 3.1, and to services that run."""

import collections
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer
from openapi_spec_validator import OpenAPIV31SpecValidator

from stack import BIN, DECLARED, ROOT, SERVICES, ByHand, http, request, wait

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("API_EXAMPLES", "3")  # of each operation, beside those that cover its description
SECONDS = os.environ.get("API_SECONDS")  # for a long run by hand: goes on making examples for so long
KEPT = sorted(path.name.partition(".")[0] for path in (ROOT / "docs/api").glob("*.openapi.json"))  # a newcomer need not
LOAD = ["/api/drill", "/api/simulate", "/api/compare"]  # what ends the process, or makes load


def printed(service):
    done = subprocess.run([BIN / service, "--openapi"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout


def operations(document):
    """{(method, path): operation}"""
    return {(m.upper(), p): o for p, item in document["paths"].items() for m, o in item.items()}


# --- The documents


def test_what_the_six_serve_is_kept():
    assert {*SERVICES, "analytics"} <= set(KEPT) <= set(DECLARED)


@pytest.mark.parametrize("service", KEPT)
def test_the_kept_description_is_the_one_that_the_service_prints(service):
    text = (ROOT / f"docs/api/{service}.openapi.json").read_text()
    assert text == printed(service), f"docs/api/{service}.openapi.json: make it anew with ./returns contracts"


@pytest.mark.parametrize("service", DECLARED)
def test_a_description_is_valid_and_complete(service):
    document = json.loads(printed(service))
    errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in OpenAPIV31SpecValidator(document).iter_errors()]
    assert not errors, errors
    tags = {tag["name"] for tag in document["tags"]}
    for (method, path), operation in operations(document).items():
        assert operation["summary"] and set(operation["tags"]) <= tags, (method, path, operation["tags"])
        assert any(s.startswith(("2", "3")) for s in operation["responses"]), (method, path)


# --- The running services


class Ran:
    """One run of schemathesis against one service."""

    def __init__(self, service, url, folder, real, chosen, spare=False):
        self.document = json.loads(http.get(f"{url}/openapi.json", follow_redirects=True).text)
        schema, har = folder / f"{service}.json", folder / f"{service}.har"
        schema.write_text(json.dumps(self.document))
        long = ["--max-time", SECONDS] if SECONDS else []
        env = os.environ | {"PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}", "SCHEMATHESIS_HOOKS": "hooks",
                            "API_REAL": json.dumps(real), "API_SPARE": str(int(spare))}
        self.done = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "schemathesis.toml", "run", schema, "--url", url,
             "--max-examples", EXAMPLES, "--report", "har", "--report-har-path", har, *chosen, *long],
            env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=int(SECONDS or 0) + 600)
        assert har.exists(), self.done.stdout[-3000:]
        self.entries = json.loads(har.read_text())["log"]["entries"]

    def answers(self):
        """{(method, path): Counter of statuses}; a path of its own goes before one with parameters."""
        known = operations(self.document)
        forms = [(o, re.compile(re.sub(r"\{[^}]+\}", "[^/]+", o[1].replace(".", r"\.")) + r"/?")) for o in sorted(known, key=lambda o: o[1].count("{"))]
        found = collections.defaultdict(collections.Counter)
        for entry in self.entries:
            method, path = entry["request"]["method"], httpx.URL(entry["request"]["url"]).raw_path.decode().split("?")[0]
            for operation, form in forms:
                if operation[0] == method and form.fullmatch(path):
                    found[operation][entry["response"]["status"]] += 1
                    break
        return found


def first(stack, service, path, member, fits=lambda one: True):
    return wait(lambda: next((one for one in stack.get(service, path)[member] if fits(one)), None), 30, f"{service}{path}")


@pytest.fixture(scope="module")
def real(stack):
    """{service: {path: [parameters]}}: a return, an order, a customer, a row about an event, a dead letter."""
    producer = Producer({"bootstrap.servers": stack.kafka})
    producer.produce(stack.topic("support.events"), b"no Avro", key="api")
    producer.flush(10)
    sales = stack.url("sales")
    http.post(f"{sales}/api/customers", json={"customer_id": "C-api", "name": "A", "location": "B"})
    for order in ("ORD-api", "ORD-completed"):
        item = {"model": "M", "price": {"amount": "1.00", "currency": "EUR"}, "serial_number": f"SN-{order}"}
        http.post(f"{sales}/api/orders", json={"order_id": order, "customer_id": "C-api", "shipment_id": "S", "items": [item]})
    ids = [stack.submit(customer_id="C-api") for _ in range(6)]
    stack.await_audits(ids, DECLARED, 30)
    wait(lambda: http.get(stack.url("support") + "/api/orders/ORD-api").status_code == 200, 30, "support knows the order")
    return {service: real_of(stack, service, ids) for service in DECLARED}


def real_of(stack, service, ids):
    row = first(stack, service, "/api/audit", "rows", lambda r: r["topic"] and r["outcome"] == "handled")["id"]
    letter = first(stack, service, "/api/dead-letters", "dead_letters")["id"]
    schemas = [p.relative_to(ROOT / "schemas").parts for p in (ROOT / "schemas").glob("*/*.avsc")]
    known = {
        "/api/audit/{id}": [row],
        "/api/audit/{id}/event": [row],
        "/api/dead-letters/{id}": [letter],
        "/api/dead-letters/{id}/redrive": [letter, "all"],
        "/api/returns/{id}": ids,
        "/api/returns/{id}/events": ids,
        "/api/returns/{id}/cancel": ids[:3],
        "/api/returns/{id}/close": ids[3:],
        "/api/customers/{id}": ["C-api"],
        "/api/orders/{id}": ["ORD-api"],
        "/api/orders/{id}/change": ["ORD-api"],
        "/api/orders/{id}/complete": ["ORD-completed"],  # after which nothing changes it
    }
    of = {path: [{"id": i} for i in these] for path, these in known.items()} | {"customer": "C-api"}
    of["/assets/{name}"] = [{"name": "style.css"}]
    of["/docs/api/{file}"] = [{"file": f"{service}.{kind}.json"} for kind in ("openapi", "asyncapi")]
    of["/schemas/{service}/{file}"] = [{"service": s, "file": f} for s, f in schemas]
    of["/schemas/{service}/snapshots/{file}"] = [{"service": "support", "file": "ReturnSnapshot.avsc"}]
    return of


@pytest.fixture(scope="module")
def runs(stack, real, tmp_path_factory):
    """All services at once. Load and drills have a test of their own, and so have streams, which never end."""
    folder = tmp_path_factory.mktemp("api")
    chosen = [word for path in [*LOAD, "/api/stream"] for word in ("--exclude-path", path)]
    with ThreadPoolExecutor(len(DECLARED)) as pool:
        begun = {s: pool.submit(Ran, s, stack.url(s), folder, real[s], chosen) for s in DECLARED}
        return {service: run.result() for service, run in begun.items()}


@pytest.mark.full
@pytest.mark.parametrize("service", DECLARED)
def test_every_answer_is_described_and_nothing_described_is_out_of_reach(stack, runs, service):
    run = runs[service]
    assert run.done.returncode == 0, run.done.stdout[-20000:]
    answers = run.answers()
    wanted = [o for o in operations(run.document) if o[1] not in LOAD and o[1] not in ("/api/stream", "/api/log/accept")]
    idle = {" ".join(o): dict(answers[o]) for o in wanted if not any(s < 400 for s in answers[o])}
    if service != "support":  # only support has snapshots; elsewhere is one where it is
        idle.pop("GET /schemas/{service}/snapshots/{file}", None)
    assert not idle, f"never done, whatever was asked: {idle}"
    assert answers["POST", "/api/log/accept"][409], "no log was held, and none is to be accepted"
    print(f"{service}: {len(run.entries)} requests, {sum(len(a) for a in answers.values())} kinds of answers of {len(answers)} operations")


@pytest.mark.full
def test_a_stream_is_as_described_and_says_what_is_wrong(stack):
    for service in DECLARED:
        with http.stream("GET", stack.url(service) + "/api/stream?after=0&light=1") as answer:
            assert answer.status_code == 200 and answer.headers["Content-Type"] == "text/event-stream"
            lines = answer.iter_lines()
            seen = [next(lines) for _ in range(3)]
            assert seen[0].startswith(":") and any(line.startswith("id: ") for line in seen), seen
        wrong = http.get(stack.url(service) + "/api/stream?after=x")
        assert wrong.status_code == 400 and wrong.headers["Content-Type"].startswith("application/problem+json")
        other = http.get(stack.url(service) + "/api/stream", headers={"Sec-Fetch-Site": "cross-site"})
        assert other.status_code == 403 and other.headers["Content-Type"].startswith("application/problem+json")


def by_hand(folder, **settings):
    return ByHand(["support"], folder, kafka="127.0.0.1:1", registry="http://127.0.0.1:1", **settings)


def test_load_and_drills_are_refused_as_described_where_they_are_not_allowed(tmp_path):
    document = json.loads(printed("support"))
    with by_hand(tmp_path, drills=0) as services:
        for method, path in [o for o in operations(document) if o[1] in LOAD and o != ("GET", "/api/compare")]:
            answer = http.request(method, services.url("support") + path, json={} if method == "POST" else None)
            assert (answer.status_code, answer.headers["Content-Type"].split(";")[0]) == (403, "application/problem+json"), path
            assert "403" in document["paths"][path][method.lower()]["responses"], path


def test_load_and_drills_are_as_described_where_they_are_allowed(tmp_path):
    chosen = [word for path in LOAD for word in ("--include-path", path)]
    with by_hand(tmp_path, drills=1, comparison=1) as services:
        run = Ran("support", services.url("support"), tmp_path, {}, chosen, spare=True)
        assert run.done.returncode == 0, run.done.stdout[-20000:]
        assert services.services["support"].process.poll() is None
    statuses = {o: set(a) for o, a in run.answers().items()}
    assert len(statuses) == 2 * len(LOAD), statuses
    for operation, seen in statuses.items():
        assert any(s < 300 for s in seen), (operation, seen)
