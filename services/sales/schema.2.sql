-- For the latest refunds.
CREATE INDEX refund_refunded ON refund (refunded_at);
