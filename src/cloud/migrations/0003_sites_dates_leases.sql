-- Sites, whose boxes share printers; dates as intervals; what is known of boxes' clocks; leases; silence.
ALTER TABLE boxes ADD COLUMN site TEXT NOT NULL DEFAULT '';
UPDATE boxes SET site = id;
ALTER TABLE boxes ADD COLUMN told_interval_s BIGINT NOT NULL DEFAULT 0;
ALTER TABLE boxes ADD COLUMN boots TEXT NOT NULL DEFAULT '[]';            -- starts that have polled, the newest last (JSON)
ALTER TABLE boxes ADD COLUMN suspended TEXT;                              -- why it is stopped; NULL: it is not
ALTER TABLE boxes ADD COLUMN suspended_detail TEXT NOT NULL DEFAULT '';
ALTER TABLE boxes ADD COLUMN released_epoch BIGINT;
ALTER TABLE boxes ADD COLUMN released_seq BIGINT;
ALTER TABLE boxes ADD COLUMN silent_since_ms BIGINT;                      -- flagged as silent
ALTER TABLE boxes ADD COLUMN read_times TEXT NOT NULL DEFAULT '';         -- "06:00", one a line
ALTER TABLE boxes ADD COLUMN look_interval_s BIGINT NOT NULL DEFAULT 0;

ALTER TABLE watermarks ADD COLUMN last_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE watermarks ADD COLUMN chain BLOB NOT NULL DEFAULT x'';        -- empty: not known
ALTER TABLE watermarks ADD COLUMN acknowledged_seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE watermarks ADD COLUMN asked BIGINT NOT NULL DEFAULT 0;
UPDATE watermarks SET last_seq =
    COALESCE((SELECT MAX(seq) FROM readings r WHERE r.box_id = watermarks.box_id AND r.epoch = watermarks.epoch), 0);

-- What is known of the clocks in a start of a box. Marks: at that moment of the start, not earlier (later) than that.
CREATE TABLE boots (
    box_id TEXT NOT NULL REFERENCES boxes (id),
    epoch BIGINT NOT NULL,
    boot_id TEXT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_mono_ms BIGINT NOT NULL,
    low_mono_ms BIGINT,
    low_unix_ms BIGINT,
    high_mono_ms BIGINT,
    high_unix_ms BIGINT,
    is_known BOOLEAN NOT NULL,
    PRIMARY KEY (box_id, epoch, boot_id)
);

-- One device a site. Latest reading and dates stand with the readings.
CREATE TABLE devices_of_sites (
    id INTEGER PRIMARY KEY,
    site TEXT NOT NULL,
    device_key TEXT NOT NULL,
    first_seen_ms BIGINT NOT NULL,
    UNIQUE (site, device_key)
);
INSERT INTO devices_of_sites (id, site, device_key, first_seen_ms)
    SELECT d.id, b.site, d.device_key, d.first_seen_ms FROM devices d JOIN boxes b ON b.id = d.box_id;
CREATE TABLE leases (
    device_id BIGINT NOT NULL REFERENCES devices_of_sites (id),
    box_id TEXT NOT NULL REFERENCES boxes (id),
    since_ms BIGINT NOT NULL,
    until_ms BIGINT                            -- NULL: now
);
CREATE INDEX leases_of_device ON leases (device_id, since_ms);
INSERT INTO leases (device_id, box_id, since_ms) SELECT id, box_id, 0 FROM devices;
DROP TABLE meters;
DROP TABLE devices;
ALTER TABLE devices_of_sites RENAME TO devices;

-- What a box said last that it cannot read.
CREATE TABLE silences (
    box_id TEXT NOT NULL REFERENCES boxes (id),
    device_id BIGINT NOT NULL REFERENCES devices (id),
    cause BIGINT NOT NULL,                     -- platen.v1.Cause
    detail TEXT NOT NULL,
    missed BIGINT NOT NULL,
    since_ms BIGINT NOT NULL,
    PRIMARY KEY (box_id, device_id)
);

ALTER TABLE readings ADD COLUMN kind TEXT NOT NULL DEFAULT '';            -- empty: stored by an older cloud, to be looked at again
ALTER TABLE readings ADD COLUMN whole BLOB;                               -- an update, applied: platen.v1.Reading
ALTER TABLE readings ADD COLUMN base_seq BIGINT;
ALTER TABLE readings ADD COLUMN boot_id TEXT;                             -- what it says of its time; NULL: nothing
ALTER TABLE readings ADD COLUMN mono_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE readings ADD COLUMN wall_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE readings ADD COLUMN radius_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE readings ADD COLUMN quality BIGINT NOT NULL DEFAULT 0;        -- platen.v1.ClockQuality
ALTER TABLE readings ADD COLUMN taken_low_ms BIGINT;                      -- the interval that holds the true time
ALTER TABLE readings ADD COLUMN taken_high_ms BIGINT;
ALTER TABLE readings ADD COLUMN is_open BOOLEAN NOT NULL DEFAULT FALSE;   -- it may become narrower
ALTER TABLE readings ADD COLUMN is_outside BOOLEAN NOT NULL DEFAULT FALSE; -- another box held the lease then
-- With seq, so that they give the order as well: else the primary key is taken, and every record of the epoch walked.
CREATE INDEX readings_open ON readings (box_id, epoch, seq) WHERE is_open;
CREATE INDEX readings_unfit ON readings (box_id, epoch, base_seq, seq) WHERE kind = 'unfit';
CREATE INDEX readings_of_device ON readings (device_id, is_outside, (taken_low_ms + taken_high_ms)) WHERE kind IN ('reading', 'update');
CREATE INDEX deliveries ON readings (device_id, box_id, received_ms) WHERE kind IN ('reading', 'update');
CREATE INDEX readings_old ON readings (box_id) WHERE kind = '';

CREATE TABLE meters (
    device_id BIGINT NOT NULL REFERENCES devices (id),
    name TEXT NOT NULL,
    box_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (device_id, name, box_id, epoch, seq)
);

ALTER TABLE device_events ADD COLUMN site TEXT NOT NULL DEFAULT '';
ALTER TABLE device_events ADD COLUMN old_key TEXT;
ALTER TABLE device_events ADD COLUMN epoch BIGINT;                        -- the record that it came in
ALTER TABLE device_events ADD COLUMN seq BIGINT;
UPDATE device_events SET site = (SELECT site FROM boxes WHERE boxes.id = device_events.box_id);
CREATE INDEX device_events_of_site ON device_events (site, device_key);
CREATE INDEX events_of_box ON events (box_id, at_ms);
