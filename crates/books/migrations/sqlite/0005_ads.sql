-- What models may know of an ad: its language, and how good it is, in millionths.
ALTER TABLE ads ADD COLUMN locale TEXT;
ALTER TABLE ads ADD COLUMN quality_micros INTEGER;
