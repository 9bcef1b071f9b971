//! One model as one immutable, checksummed artifact, with the rows that prove it.
