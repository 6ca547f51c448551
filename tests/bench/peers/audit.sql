PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA cache_size = -65536;
PRAGMA wal_autocheckpoint = 16000;
CREATE TABLE IF NOT EXISTS audit (
    id INTEGER PRIMARY KEY, return_id TEXT NOT NULL, event_id TEXT NOT NULL UNIQUE, event_type TEXT NOT NULL,
    topic TEXT NOT NULL, partition INTEGER NOT NULL, record_offset INTEGER NOT NULL, occurred_at INTEGER NOT NULL,
    summary TEXT NOT NULL, hash BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS offsets (
    topic TEXT NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (topic, partition)) WITHOUT ROWID;
