//! What the engines of others are told, each in a section below that of the seam it serves.

use std::fmt;

use serde::Deserialize;

/// A text that is not printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    pub nodes: Secret,
    pub prefix: String,
    pub seconds_to_live: u32,
    pub replicas: usize,
    pub read_ms_max: u64,
    pub write_ms_max: u64,
}
