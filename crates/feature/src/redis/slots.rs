//! Slots of a cluster: the slot of a key, a key for a slot, and who serves which.
//!
//! The client finds its way by itself. What is kept here groups commands by node, so that one
//! pipeline goes to each, and tells which masters there are: where it is out of date, a group fails
//! and its commands go out one by one.

use std::collections::HashMap;
use std::sync::OnceLock;

use redis::Value;

use super::mark::text;

/// How many slots a cluster has.
pub const SLOT_COUNT: u16 = 16_384;

/// The slot of a key without a hash tag: none of ours has braces but witnesses, whose slot is known.
pub fn slot_of(key: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(key.as_bytes()) % SLOT_COUNT
}

/// A hash tag whose keys fall into a slot.
pub fn tag_of(slot: u16) -> u32 {
    static TAGS: OnceLock<Vec<u32>> = OnceLock::new();
    TAGS.get_or_init(find_tags)[usize::from(slot)]
}

fn find_tags() -> Vec<u32> {
    let mut tags = vec![u32::MAX; usize::from(SLOT_COUNT)];
    let mut missing = tags.len();
    for tag in 0.. {
        let place = &mut tags[usize::from(slot_of(&tag.to_string()))];
        if *place == u32::MAX {
            *place = tag;
            missing -= 1;
        }
        if missing == 0 {
            break;
        }
    }
    tags
}

/// A node that serves slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    /// The first slot it serves: the way to it.
    pub slot: u16,
    /// How many replicas of it can be reached.
    pub replicas: usize,
    /// Where it is, as the cluster's redirections say it.
    pub address: (String, u16),
}

/// Who serves which slot.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    /// Every master that serves any.
    pub masters: Vec<Master>,
    owners: Vec<Option<u16>>,
}

impl Slots {
    /// From the answer to `CLUSTER SLOTS`; `None` where it has another form.
    pub fn parse(answer: &Value) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut slots = Slots { masters: Vec::new(), owners: vec![None; usize::from(SLOT_COUNT)] };
        let mut known = HashMap::new();
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(from), Value::Int(to), master, replicas @ ..] = range.as_slice() else {
                return None;
            };
            let (from, to) = (u16::try_from(*from).ok()?, u16::try_from(*to).ok()?);
            let (id, address) = node(master)?;
            let owner = *known.entry(id).or_insert_with(|| {
                slots.masters.push(Master { slot: from, replicas: replicas.len(), address });
                u16::try_from(slots.masters.len() - 1).expect("fewer masters than slots")
            });
            slots.owners.get_mut(usize::from(from)..=usize::from(to))?.fill(Some(owner));
        }
        Some(slots)
    }

    /// The place in `masters` of who serves a slot; `None` where nobody does.
    pub fn owner(&self, slot: u16) -> Option<u16> {
        self.owners.get(usize::from(slot)).copied().flatten()
    }

    /// The master at `host:port`; `None` where none is known there.
    pub fn node(&self, address: &str) -> Option<(String, u16)> {
        let (host, port) = address.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let mut addresses = self.masters.iter().map(|master| &master.address);
        addresses.find(|known| (known.0.as_str(), known.1) == (host, port)).cloned()
    }
}

/// `[host, port, id, ...]`; a host may be missing, and is then the one that was asked.
fn node(node: &Value) -> Option<(&[u8], (String, u16))> {
    let Value::Array(parts) = node else { return None };
    let [host, Value::Int(port), Value::BulkString(id), ..] = parts.as_slice() else {
        return None;
    };
    let host = text(host).unwrap_or_default().to_owned();
    Some((id, (host, u16::try_from(*port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_slot_that_the_cluster_gives_it() {
        // From the cluster specification, and from `CLUSTER KEYSLOT`.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of("user:features:00000000000000000000000000000007"), 1_960);
    }

    #[test]
    fn there_is_a_tag_for_every_slot() {
        for slot in 0..SLOT_COUNT {
            assert_eq!(slot_of(&tag_of(slot).to_string()), slot);
        }
    }

    fn node(id: &str) -> Value {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![text(&format!("host-{id}")), Value::Int(7_000), text(id)])
    }

    #[test]
    fn ranges_of_one_node_belong_together() {
        let range = |from, to, nodes: &[&str]| {
            let nodes = nodes.iter().map(|id| node(id));
            Value::Array([Value::Int(from), Value::Int(to)].into_iter().chain(nodes).collect())
        };
        let answer = Value::Array(vec![
            range(0, 99, &["a", "b"]),
            range(100, 199, &["c"]),
            range(200, 299, &["a", "b"]),
        ]);
        let slots = Slots::parse(&answer).expect("the form of an answer");
        let address = |id: &str| (format!("host-{id}"), 7_000);
        let master = |slot, replicas, id| Master { slot, replicas, address: address(id) };
        assert_eq!(slots.masters, [master(0, 1, "a"), master(100, 0, "c")]);
        assert_eq!(slots.node("host-c:7000"), Some(address("c")));
        assert_eq!(slots.node("host-b:7000"), None, "a replica");
        assert_eq!(
            [0, 150, 250, 300].map(|slot| slots.owner(slot)),
            [Some(0), Some(1), Some(0), None]
        );
        assert!(Slots::parse(&Value::Okay).is_none());
    }
}
