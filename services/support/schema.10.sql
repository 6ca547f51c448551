-- Support's tables, from version 9 to version 10: what kind of reason was given, and how the return came in. Requests
-- from before that say neither, as their events do.
ALTER TABLE return_request ADD COLUMN reason_code TEXT NOT NULL DEFAULT 'OTHER';
ALTER TABLE return_request ADD COLUMN channel TEXT NOT NULL DEFAULT 'unknown';
