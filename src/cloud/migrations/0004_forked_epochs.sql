-- Where a released box is to end an epoch whose numbers it gave again.
ALTER TABLE boxes ADD COLUMN fork_epoch BIGINT;                           -- NULL: nowhere
ALTER TABLE boxes ADD COLUMN fork_seq BIGINT;                             -- the last number that is the same
ALTER TABLE boxes ADD COLUMN fork_told BIGINT NOT NULL DEFAULT 0;         -- how often the box was told
