-- Boxes, what they delivered, and what they are asked. Times are milliseconds since 1970, UTC.
CREATE TABLE boxes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,          -- SHA-256 of the certificate, hexadecimal
    created_ms BIGINT NOT NULL,
    revoked BOOLEAN NOT NULL DEFAULT FALSE,
    last_poll_ms BIGINT,
    status BLOB,                               -- platen.v1.BoxStatus of the last poll
    ranges TEXT NOT NULL DEFAULT '',           -- one a line; empty: the box's own
    read_interval_s BIGINT NOT NULL DEFAULT 0,
    config_revision BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE readings (
    box_id TEXT NOT NULL REFERENCES boxes (id),
    epoch BIGINT NOT NULL,                     -- u64 in the clothes of an i64
    seq BIGINT NOT NULL,
    sha256 BLOB NOT NULL,
    received_ms BIGINT NOT NULL,
    device_id BIGINT,                          -- NULL: the payload could not be read; it is kept all the same
    payload BLOB NOT NULL,                     -- platen.v1.Reading
    PRIMARY KEY (box_id, epoch, seq)
);
CREATE TABLE watermarks (
    box_id TEXT NOT NULL REFERENCES boxes (id),
    epoch BIGINT NOT NULL,
    contiguous_seq BIGINT NOT NULL,
    PRIMARY KEY (box_id, epoch)
);
CREATE TABLE devices (
    id INTEGER PRIMARY KEY,
    box_id TEXT NOT NULL REFERENCES boxes (id),
    device_key TEXT NOT NULL,
    first_seen_ms BIGINT NOT NULL,
    taken_ms BIGINT NOT NULL,
    latest BLOB NOT NULL,                      -- platen.v1.Reading
    UNIQUE (box_id, device_key)
);
CREATE TABLE meters (
    device_id BIGINT NOT NULL REFERENCES devices (id),
    name TEXT NOT NULL,
    taken_ms BIGINT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (device_id, name, taken_ms)
);
CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    box_id TEXT NOT NULL REFERENCES boxes (id),
    kind TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    state BIGINT NOT NULL DEFAULT 0,           -- platen.v1.TaskState
    message TEXT NOT NULL DEFAULT '',
    updated_ms BIGINT NOT NULL
);
CREATE INDEX tasks_of_box ON tasks (box_id, created_ms);
CREATE TABLE events (
    at_ms BIGINT NOT NULL,
    box_id TEXT,
    kind TEXT NOT NULL,
    detail TEXT NOT NULL
);
