-- Enrolment: whose a box is, by which certificates it is known, and what is under way between boxes and people.
-- boxes.fingerprint is not looked at any more: it names the first certificate of a box.
CREATE TABLE credentials (
    fingerprint TEXT PRIMARY KEY,              -- SHA-256 of the certificate, hexadecimal
    box_id TEXT NOT NULL REFERENCES boxes (id),
    generation BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    first_used_ms BIGINT,                      -- NULL: not yet; those before it hold until then
    revoked BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX credentials_of_box ON credentials (box_id, generation);
-- Certificates were made for 90 days.
INSERT INTO credentials (fingerprint, box_id, generation, not_after_ms, first_used_ms)
    SELECT fingerprint, id, 1, created_ms + 7776000000, last_poll_ms FROM boxes;

ALTER TABLE boxes ADD COLUMN serial TEXT;                                 -- NULL: taken in by files
ALTER TABLE boxes ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE boxes ADD COLUMN bound_key BLOB;
ALTER TABLE boxes ADD COLUMN generation BIGINT NOT NULL DEFAULT 1;        -- of the newest certificate
ALTER TABLE boxes ADD COLUMN unlock_secret BLOB;
ALTER TABLE boxes ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
ALTER TABLE boxes ADD COLUMN enrolled_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE boxes ADD COLUMN recoveries_left BIGINT NOT NULL DEFAULT 2;
ALTER TABLE boxes ADD COLUMN recovery_allowed BOOLEAN NOT NULL DEFAULT FALSE; -- by a person, however long it was away
ALTER TABLE boxes ADD COLUMN recovered_csr BLOB;                          -- SHA-256: asked again, it costs nothing
ALTER TABLE boxes ADD COLUMN contact_counter BIGINT NOT NULL DEFAULT 0;   -- 0: not known
ALTER TABLE boxes ADD COLUMN contact_boot TEXT NOT NULL DEFAULT '';
ALTER TABLE boxes ADD COLUMN leaving_since_ms BIGINT;                     -- released by a person: it is told so until it leaves
ALTER TABLE boxes ADD COLUMN leaving_told_ms BIGINT;
ALTER TABLE boxes ADD COLUMN left_ms BIGINT;                              -- it has left
ALTER TABLE boxes ADD COLUMN left_how TEXT NOT NULL DEFAULT '';           -- "reset" or "released"
CREATE UNIQUE INDEX boxes_of_serial ON boxes (tenant, serial) WHERE serial IS NOT NULL;

-- Whose a serial number is, over resets too, until it is released.
CREATE TABLE tenant_locks (
    serial TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    since_ms BIGINT NOT NULL
);

CREATE TABLE enrolments (
    id BLOB PRIMARY KEY,                       -- known to the box only
    reference TEXT NOT NULL UNIQUE,            -- by which the portal calls it
    nonce BLOB NOT NULL,
    bound_key BLOB NOT NULL,
    serial TEXT NOT NULL,
    model TEXT NOT NULL,
    firmware TEXT NOT NULL,
    csr BLOB NOT NULL,
    address TEXT NOT NULL,
    way BIGINT NOT NULL,                       -- as in the contract: 10 code shown, 11 button held, 12 registration code
    label_proof BLOB NOT NULL,
    user_code TEXT,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    polled_ms BIGINT NOT NULL DEFAULT 0,
    count BIGINT NOT NULL DEFAULT 0,
    poll_s BIGINT NOT NULL,
    state TEXT NOT NULL,                       -- waiting, press, number, enrolled, done, refused
    number BIGINT NOT NULL DEFAULT 0,
    message TEXT NOT NULL DEFAULT '',
    tenant TEXT NOT NULL DEFAULT '',
    site TEXT NOT NULL DEFAULT '',
    name TEXT NOT NULL DEFAULT '',
    box_id TEXT,
    enrolled BLOB                              -- platen.v1.Enrolled, until the box has used it
);
CREATE UNIQUE INDEX enrolments_by_code ON enrolments (user_code) WHERE user_code IS NOT NULL;
CREATE INDEX enrolments_of_serial ON enrolments (serial, state);
CREATE INDEX enrolments_of_key ON enrolments (bound_key, state);
CREATE INDEX enrolments_of_box ON enrolments (box_id);

-- Somebody in the portal waits for a box whose button is held.
CREATE TABLE windows (
    id TEXT PRIMARY KEY,
    serial TEXT NOT NULL,
    secret TEXT NOT NULL,                      -- of the label; empty when the window is closed
    tenant TEXT NOT NULL,
    site TEXT NOT NULL,
    name TEXT NOT NULL,
    opened_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    state TEXT NOT NULL,                       -- open, closed, done
    message TEXT NOT NULL DEFAULT '',
    claim BLOB                                 -- the enrolment that proved the label's secret
);
CREATE INDEX windows_of_serial ON windows (serial, state);

CREATE TABLE registration_codes (
    sha256 BLOB PRIMARY KEY,
    tenant TEXT NOT NULL,
    site TEXT NOT NULL,
    name TEXT NOT NULL,
    serial TEXT,                               -- NULL: any
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms BIGINT
);

-- Wrong codes, to slow down whoever guesses; nonces, each of which is taken once.
CREATE TABLE wrong_codes (
    who TEXT NOT NULL,
    at_ms BIGINT NOT NULL
);
CREATE INDEX wrong_codes_of ON wrong_codes (who, at_ms);
CREATE TABLE nonces (
    nonce BLOB PRIMARY KEY,
    at_ms BIGINT NOT NULL
);
CREATE INDEX nonces_by_age ON nonces (at_ms);
