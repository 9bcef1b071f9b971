//! Answers "which, in which order, at what price": scores candidates, explores, chooses.
