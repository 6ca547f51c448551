"""What schemathesis cannot know: ids that there are, and what only one request may use. Cases that are meant to be wrong stay so."""

import collections
import itertools
import json
import os
import uuid

import schemathesis
from schemathesis.generation import GenerationMode

REAL = json.loads(os.environ["API_REAL"])  # {path: [{parameter: value}, …]}
SPARE = os.environ.get("API_SPARE") == "1"  # nothing that ends the process, or makes load for longer than a second
turns = collections.defaultdict(itertools.count)


def real_path(case):
    """Two of three ask for what is there."""
    known, turn = REAL.get(case.operation.path), next(turns[case.operation.label])
    if known and turn % 3 < 2:
        case.path_parameters = known[turn % len(known)]
        return True
    return False


@schemathesis.hook
def before_call(context, case, kwargs):
    if SPARE and isinstance(case.body, dict):
        changed = {"mode": "pause"} if case.body.get("mode") == "crash" else {}
        changed |= {name: 1 for name in ("rate", "seconds") if isinstance(case.body.get(name), (int, str))}
        if case.meta.generation.mode == GenerationMode.POSITIVE or "mode" in changed:
            case.body = case.body | changed
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    is_real = real_path(case)
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if is_real and "If-Match" in case.headers:
        case.headers["If-Match"] = "*"
    if "as_of" in case.query:
        case.query.pop("version", None)
    for name in ("before", "after"):
        if isinstance(case.query.get(name), str):
            del case.query[name]
    body_fits(case, is_real)


def body_fits(case, is_real):
    """A device can be refunded once, an order has the lines that it has, and a customer has to be known."""
    if not isinstance(case.body, dict):
        return
    if case.operation.label == "POST /api/returns/traditional":
        unique = uuid.uuid4().hex[:10]
        case.body = case.body | {"order_id": f"O-{unique}", "serial_number": f"SN-{unique}"}
    if case.operation.label == "POST /api/orders/{id}/change" and is_real:
        case.body = case.body | {"shipment_id": f"S-{uuid.uuid4().hex[:10]}"}
        case.body.pop("items", None)
    if case.operation.label == "POST /api/orders":
        case.body = case.body | {"customer_id": REAL["customer"]}
