//! Which model answers: it learns online from what is counted, is published in numbered snapshots, and is judged.
