//! What a model may know: how inputs are named, counted, kept and read.
