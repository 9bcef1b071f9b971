-- What models may know of an ad: its language, and how good it is, in millionths.
ALTER TABLE ads ADD COLUMN locale TEXT COLLATE "C", ADD COLUMN quality_micros BIGINT;
