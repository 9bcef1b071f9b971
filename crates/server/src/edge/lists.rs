//! The lists that the edge judges by: declared robots, and networks that no person clicks from.
//!
//! Both are data in files. A record carries the version of the lists that judged it, so one record is
//! judged by one pair of them; a changed file is read on the side and swapped in whole.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::{Agents, Networks};
use crate::config::Rules;

/// The lists of one moment.
pub struct Lists {
    /// Agents that declare themselves robots.
    pub agents: Agents,
    /// Ranges of data centres.
    pub networks: Networks,
    /// Stands in every record they judge.
    pub version: u32,
}

/// When the files of the lists were changed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed([Option<SystemTime>; 2]);

impl Lists {
    /// Reads the files that the configuration names; the built-in list of robots where it names none.
    pub fn load(rules: &Rules) -> Result<Self> {
        let robots = Some(rules.robots_file.as_str()).filter(|file| !file.is_empty());
        let agents = Agents::load(robots.map(Path::new))?;
        let (networks, digest) = match rules.networks_file.as_str() {
            "" => (Networks::default(), 0),
            file => File::open(file)
                .map_err(anyhow::Error::from)
                .and_then(|opened| Networks::read(BufReader::new(opened)))
                .with_context(|| format!("rules.networks_file: {file}"))?,
        };
        let version = agents.version ^ (digest as u32);
        Ok(Lists { agents, networks, version })
    }
}

impl Changed {
    /// Looks at the files.
    pub fn look(rules: &Rules) -> Self {
        let changed = |file| std::fs::metadata(file).and_then(|file| file.modified()).ok();
        Changed([changed(&rules.robots_file), changed(&rules.networks_file)])
    }
}
