//! Networks that no person clicks from: ranges of data centres and the like, from a file.
//!
//! One range a line in CIDR form (`198.51.100.0/24`, `2001:db8::/32`, or a lone address), `#` begins a
//! comment. Millions of lines become two sorted tables of disjoint ranges, 8 bytes a range of IPv4 and
//! 32 of IPv6; a look-up is a binary search. A file that changes is read beside the old tables, which
//! answer until it is whole.

use std::io::BufRead;
use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context, Result, bail};

/// The most lines a file may have.
const LINES_MAX: usize = 20_000_000;

/// A set of addresses.
#[derive(Debug, Default)]
pub struct Networks {
    /// First and last address of each range, ascending and disjoint.
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// Reads a file's lines; gives the digest of them too.
    pub fn read(lines: impl BufRead) -> Result<(Self, u64)> {
        let mut networks = Networks::default();
        let mut digest = xxhash_rust::xxh3::Xxh3::new();
        for (at, line) in lines.lines().enumerate() {
            let line = line.with_context(|| format!("line {}", at + 1))?;
            if at >= LINES_MAX {
                bail!("more than {LINES_MAX} lines");
            }
            digest.update(line.as_bytes());
            digest.update(b"\n");
            let text = line.split_once('#').map_or(&*line, |(text, _)| text).trim();
            if !text.is_empty() {
                networks.add(text).with_context(|| format!("line {}: {text:?}", at + 1))?;
            }
        }
        networks.v4 = joined(networks.v4, |last| last.checked_add(1));
        networks.v6 = joined(networks.v6, |last| last.checked_add(1));
        Ok((networks, digest.digest()))
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u32>().context("after the /")?)),
        };
        match address.parse::<IpAddr>().context("not an address")? {
            IpAddr::V4(address) => {
                let bits = bits.unwrap_or(32);
                if bits > 32 {
                    bail!("an IPv4 range has 0 to 32 bits");
                }
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let first = u32::from(address) & !host;
                self.v4.push((first, first | host));
            }
            IpAddr::V6(address) => {
                let bits = bits.unwrap_or(128);
                if bits > 128 {
                    bail!("an IPv6 range has 0 to 128 bits");
                }
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let first = u128::from(address) & !host;
                self.v6.push((first, first | host));
            }
        }
        Ok(())
    }

    /// True where an address is in one of the ranges. An IPv4 address written as IPv6 is the same.
    pub fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => has(&self.v4, u32::from(address)),
            IpAddr::V6(address) => match mapped(address) {
                Some(address) => has(&self.v4, address),
                None => has(&self.v6, u128::from(address)),
            },
        }
    }

    /// How many ranges there are.
    pub const fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// True where there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn mapped(address: Ipv6Addr) -> Option<u32> {
    address.to_ipv4_mapped().map(u32::from)
}

fn has<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind > 0 && address <= ranges[behind - 1].1
}

/// The same addresses in ascending, disjoint ranges.
fn joined<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    ranges.dedup_by(|(first, last), (_, before)| {
        let touches = next(*before).is_none_or(|next| *first <= next);
        if touches {
            *before = (*before).max(*last);
        }
        touches
    });
    ranges.shrink_to_fit();
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Result<Networks> {
        Networks::read(text.as_bytes()).map(|(networks, _)| networks)
    }

    #[test]
    fn ranges_are_joined_and_looked_up() {
        let text = "# data centres\n198.51.100.0/25 # half\n198.51.100.128/25\n198.51.100.7\n\n\
                    203.0.113.9\n0.0.0.0/8\n255.255.255.255\n2001:db8::/32\n2001:db9::1/128\n";
        let networks = networks(text).expect("a good list");
        assert_eq!((networks.v4.len(), networks.v6.len(), networks.len()), (4, 2, 6));
        for (address, expect) in [
            ("198.51.99.255", false),
            ("198.51.100.0", true),
            ("198.51.100.200", true),
            ("198.51.101.0", false),
            ("203.0.113.9", true),
            ("203.0.113.10", false),
            ("0.1.2.3", true),
            ("1.0.0.0", false),
            ("255.255.255.255", true),
            ("::ffff:203.0.113.9", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", true),
            ("2001:db9::2", false),
            ("::1", false),
        ] {
            assert_eq!(networks.has(address.parse().expect("an address")), expect, "{address}");
        }
        assert!(!Networks::default().has("1.2.3.4".parse().expect("an address")));
        assert!(super::Networks::read("0.0.0.0/0\n::/0\n".as_bytes()).is_ok_and(|(all, _)| {
            all.len() == 2 && all.has("9.9.9.9".parse().expect("an address"))
        }));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, part) in [
            ("1.2.3.4\n1.2.3\n", "line 2"),
            ("1.2.3.4/33", "32 bits"),
            ("::/129", "128 bits"),
            ("1.2.3.4/x", "after the /"),
        ] {
            let error = format!("{:#}", networks(text).expect_err("refused"));
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_million_ranges_are_found_again() {
        let text: String = (0..1_000_000_u32)
            .map(|at| format!("{}/31\n", std::net::Ipv4Addr::from(at * 4)))
            .collect();
        let networks = networks(&text).expect("a good list");
        assert_eq!(networks.len(), 1_000_000);
        for at in (0..4_000_000_u32).step_by(4_999) {
            let address = IpAddr::from(std::net::Ipv4Addr::from(at));
            assert_eq!(networks.has(address), at % 4 < 2, "{address}");
        }
    }
}
