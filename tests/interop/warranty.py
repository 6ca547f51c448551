"""Warranty: whether that of a returned device still runs. Says so in a WarrantyChecked for each RefundRequest."""
import datetime
import json
import pathlib
import zlib

from subscriber import Subscriber

SCHEMA = json.loads(pathlib.Path(__file__).with_name("WarrantyChecked.avsc").read_text())


def check(event):
    """Two years from the day of making, which the serial number tells those who know how to read it."""
    came = event["occurred_at"].date()
    made = came - datetime.timedelta(days=zlib.crc32(event["serial_number"].encode()) % 1095)
    until = made + datetime.timedelta(days=730)
    return {"serial_number": event["serial_number"], "made_on": made, "warranty_until": until,
            "within_warranty": came <= until}


if __name__ == "__main__":
    Subscriber("warranty", SCHEMA, {"returns.support.RefundRequest": check}).run()
