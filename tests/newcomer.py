"""What happens to a subscriber on the shared stack, for the tests that lie beside a service (services/NAME/test_*.py)."""

import uuid

from stack import http, wait
from wire import publish, read_avro, records


def post(stack, service, path, body, version=None):
    headers = {"If-Match": f'"{version}"'} if version else {}
    answer = http.post(stack.url(service) + path, json=body, headers=headers)
    assert answer.status_code in (200, 201, 202, 409, 412), answer.text
    return answer


def await_handled(stack, return_id):
    """Its version, once every subscriber has passed it."""
    def one():
        said = stack.get("support", f"/api/returns/{return_id}")
        return said["status"] == "handled" and said["version"]

    return wait(one, 30, f"{return_id} is handled")


def cause(stack):
    """One event, at least, of each type that support and the teams publish. Ids of the returns."""
    done = stack.submit()
    post(stack, "support", f"/api/returns/{done}/cancel", {}, version=7)  # a version that there is not
    post(stack, "support", f"/api/returns/{done}/close", {}, version=await_handled(stack, done))
    item = stack.get("support", f"/api/returns/{done}")["request"]
    again = stack.submit(order_id=item["order_id"], serial_number=item["serial_number"])  # declined
    out_of_stock = stack.submit(model=f"Model {uuid.uuid4().hex[:6]}")
    taken_back = stack.submit()
    for return_id in (again, out_of_stock, taken_back):
        version = await_handled(stack, return_id)
        post(stack, "support", f"/api/returns/{return_id}/cancel", {}, version=version)
    order(stack)
    return [done, again, out_of_stock, taken_back]


def order(stack):
    """A customer's first order: placed, changed and completed."""
    name = uuid.uuid4().hex[:8].upper()
    price = {"amount": "149.90", "currency": "EUR"}
    item = {"model": "Aurora 14 laptop", "price": price, "serial_number": f"SN-{name}"}
    post(stack, "sales", "/api/customers", {"customer_id": f"C-{name}", "name": f"{name} Inc", "location": "Berlin"})
    placed = {"order_id": f"ORD-{name}", "customer_id": f"C-{name}", "shipment_id": f"SHP-{name}", "items": [item]}
    post(stack, "sales", "/api/orders", placed)
    post(stack, "sales", f"/api/orders/ORD-{name}/change", {"shipment_id": f"SHP-{name}-2"}, version=1)
    post(stack, "sales", f"/api/orders/ORD-{name}/complete", {}, version=2)


def of_types(stack, types):
    """(type, record) of every event of these types."""
    for owner in sorted({kind.split(".")[1] for kind in types}):
        for record in records(stack.kafka, stack.topic(f"{owner}.events")):
            kind = dict(record.headers() or []).get("ce_type", b"").decode()
            if kind in types:
                yield kind, record


def published(stack, types):
    """{event id: type} of all that is in the topics."""
    return {dict(record.headers())["ce_id"].decode(): kind for kind, record in of_types(stack, types)}


def effects(stack, name):
    """{event id: how often it had an effect}, by the service's own audit log."""
    counts = {}
    for row in stack.audit(name):
        if row["event_id"] and row["outcome"] not in ("duplicate", "skipped"):
            counts[row["event_id"]] = counts.get(row["event_id"], 0) + 1
    return counts


def duplicate(stack, kind):
    """Publishes the last event of the type a second time, byte for byte. The event's id."""
    record = [record for _, record in of_types(stack, [kind])][-1]
    publish(stack.kafka, record.topic(), record.key(), record.value(), record.partition(), record.headers())
    return read_avro(stack.registry, record)["event_id"]


def outcomes(stack, name, event_id):
    return [row["outcome"] for row in stack.audit(name) if row["event_id"] == str(event_id)]


def state(stack, name):
    """{title: rows} of the tables on the service's page."""
    return {view["title"]: view["rows"] for view in stack.get(name, "/api/state")["views"]}
