-- How many orders each site has in its queue, kept with every order.
CREATE TABLE site_queue (
    site   TEXT   NOT NULL PRIMARY KEY,
    queued BIGINT NOT NULL
);
INSERT INTO site_queue (site, queued) SELECT site, COUNT(*) FROM disassembly_order GROUP BY site;

-- For the latest orders.
CREATE INDEX disassembly_order_queued ON disassembly_order (queued_at);
