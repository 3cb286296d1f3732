-- What happened to printers, told by boxes. An event that is told again has the same id.
CREATE TABLE device_events (
    box_id TEXT NOT NULL REFERENCES boxes (id),
    id BLOB NOT NULL,
    device_key TEXT NOT NULL,
    kind TEXT NOT NULL,
    seen_ms BIGINT NOT NULL,
    payload BLOB NOT NULL,                     -- platen.v1.Event
    PRIMARY KEY (box_id, id)
);
CREATE INDEX device_events_of_device ON device_events (box_id, device_key, seen_ms);
