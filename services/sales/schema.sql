-- What sales refunded. One refund for each item of an order: the same item cannot be refunded twice.
CREATE TABLE refund (
    order_id      TEXT   NOT NULL,
    serial_number TEXT   NOT NULL,
    return_id     TEXT   NOT NULL,
    refunded_at   BIGINT NOT NULL,
    PRIMARY KEY (order_id, serial_number)
);
