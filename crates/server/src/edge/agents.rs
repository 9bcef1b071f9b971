//! User agents: does it declare itself a robot, and what kind of device is it?
//!
//! The list is data (`config/robots.txt`, or a file of the operator's), compiled once into one set of
//! expressions. Agents repeat, so answers are remembered in a bounded table and a look-up is the rule.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use parking_lot::RwLock;
use regex::bytes::{RegexSet, RegexSetBuilder};

const BUILT_IN: &str = include_str!("../../../../config/robots.txt");
/// Agents remembered; the table is emptied when it is full, since remembering is only a saving.
const REMEMBERED_MAX: usize = 65_536;
/// Longer agents are judged by their first bytes.
const AGENT_BYTES_MAX: usize = 1_024;

/// The list of declared robots.
pub struct Agents {
    robots: RegexSet,
    /// Stands in every record: which list judged it.
    pub version: u32,
    remembered: RwLock<HashMap<Box<str>, bool, foldhash::fast::RandomState>>,
}

impl Agents {
    /// The built-in list, or a file's.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        match file {
            None => Self::parse(BUILT_IN),
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| {
                    format!("rules.robots_file: cannot read {}", path.display())
                })?;
                Self::parse(&text).with_context(|| format!("rules.robots_file: {}", path.display()))
            }
        }
    }

    fn parse(text: &str) -> Result<Self> {
        let patterns = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let robots = RegexSetBuilder::new(patterns).unicode(false).build()?;
        let version = xxhash_rust::xxh3::xxh3_64(text.as_bytes()) as u32;
        Ok(Agents { robots, version, remembered: RwLock::default() })
    }

    /// Does this agent declare itself a robot? An absent one does not.
    pub fn is_robot(&self, agent: &str) -> bool {
        if agent.is_empty() {
            return false;
        }
        let mut end = agent.len().min(AGENT_BYTES_MAX);
        while !agent.is_char_boundary(end) {
            end -= 1;
        }
        let agent = &agent[..end];
        if let Some(&known) = self.remembered.read().get(agent) {
            return known;
        }
        let robot = self.robots.is_match(agent.as_bytes());
        let mut remembered = self.remembered.write();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(agent.into(), robot);
        robot
    }
}

/// The type of device an agent names: `mobile`, `tablet` or `desktop`; empty where it names none.
pub fn device_of(agent: &str) -> &'static str {
    let has = |part: &str| memchr::memmem::find(agent.as_bytes(), part.as_bytes()).is_some();
    if has("iPad") || has("Tablet") || (has("Android") && !has("Mobile")) {
        "tablet"
    } else if has("Mobi") || has("iPhone") {
        "mobile"
    } else if has("Windows NT") || has("Macintosh") || has("X11") {
        "desktop"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Mobile/15E148 Safari/604.1";
    const DESKTOP: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";

    #[test]
    fn robots_declare_themselves() {
        let agents = Agents::load(None).expect("the built-in list compiles");
        for robot in [
            "Googlebot/2.1 (+http://www.google.com/bot.html)",
            "curl/8.1",
            "facebookexternalhit/1.1",
        ] {
            assert!(agents.is_robot(robot) && agents.is_robot(robot), "{robot}");
        }
        for person in [PHONE, DESKTOP, ""] {
            assert!(!agents.is_robot(person), "{person}");
        }
    }

    #[test]
    fn devices_are_named() {
        assert_eq!(
            [device_of(PHONE), device_of(DESKTOP), device_of("x")],
            ["mobile", "desktop", ""]
        );
        assert_eq!(device_of("Mozilla/5.0 (Linux; Android 14; SM-X910) Safari/537.36"), "tablet");
    }
}
