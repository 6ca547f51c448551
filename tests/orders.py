"""Sales' events about customers and orders, as a foreign producer publishes them."""

import uuid
from datetime import datetime, timezone
from decimal import Decimal

from stack import ROOT
from wire import publish, write_avro


def price(amount="149.90", currency="EUR"):
    return {"amount": Decimal(amount), "currency": currency}


def item(line, serial=None, model="Aurora 14 laptop", cost=None):
    return {"line": line, "model": model, "price": cost or price(), "serial_number": serial}


def change(line, **different):
    """One line of an OrderChanged: what is not named is as before."""
    return {"line": line, "removed": False, "model": None, "price": None, "serial_number": None} | different


class Sales:
    """What sales would publish, from outside; each thing's version counts up by itself."""

    def __init__(self, stack, source=None):
        self.stack, self.versions = stack, {}
        self.source = source or stack.url("sales")

    def tell(self, kind, key, **fields):
        """The event, once Kafka has it."""
        self.versions[key] = self.versions.get(key, 0) + 1
        event = {
            "event_id": str(uuid.uuid4()), "version": self.versions[key], "caused_by": None,
            "occurred_at": datetime.now(timezone.utc).replace(microsecond=0),
        } | fields
        topic = self.stack.topic("sales.events")
        value = write_avro(self.stack.registry, topic, event, (ROOT / f"schemas/sales/{kind}.avsc").read_text())
        publish(self.stack.kafka, topic, key, value, headers={"ce_source": self.source.encode()})
        return event

    def register(self, customer, name=None, location="Berlin"):
        return self.tell("CustomerRegistered", customer, customer_id=customer, name=name or f"{customer} Inc", location=location)

    def place(self, order, customer, items, shipment=None):
        return self.tell("OrderPlaced", order, order_id=order, customer_id=customer, shipment_id=shipment, items=items)

    def change(self, order, items=(), shipment=None):
        return self.tell("OrderChanged", order, order_id=order, shipment_id=shipment, items=list(items))

    def complete(self, order, shipment, serials):
        """serials: {line: serial number}"""
        items = [{"line": line, "serial_number": serial} for line, serial in serials.items()]
        return self.tell("OrderCompleted", order, order_id=order, shipment_id=shipment, items=items)


def unique(prefix):
    return f"{prefix}-{uuid.uuid4().hex[:8].upper()}"
