//! How far the store has come, as it stands in the cluster.
//!
//! ```text
//! features:mark          birth, epoch, generation, cut (offsets, by partition), witnesses (slots)
//! features:witness:{T}   an epoch; T is a tag of a slot that one master serves
//! ```
//!
//! The mark names the last epoch that all nodes have, and so the one that may be read. Each master
//! holds a witness, written behind everything of an epoch and before the mark: a node that has come
//! back with less than it had shows a witness from before the mark.

use std::sync::Arc;

use redis::{Cmd, Value};

use super::slots::{slot_of, tag_of};

/// The mark, as it was read; all zero where there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The run of the store; 0 before the first.
    pub birth: u64,
    /// The last epoch that may be read; 0 before the first of this run.
    pub epoch: u64,
    /// The highest generation seen.
    pub generation: u32,
    /// The offset behind the last record of each partition that is counted.
    pub cut: Arc<[u64]>,
    /// The slots whose witnesses have been written.
    pub witnesses: Vec<u16>,
}

/// The fields of a mark, in the order they are asked for.
const FIELDS: [&str; 5] = ["birth", "epoch", "generation", "cut", "witnesses"];

impl Mark {
    /// Asks for it.
    pub fn query(key: &str) -> Cmd {
        let mut query = redis::cmd("HMGET");
        query.arg(key).arg(&FIELDS);
        query
    }

    /// From the answer; an error names the field that holds something else.
    pub fn parse(answer: &Value) -> Result<Self, &'static str> {
        let Value::Array(values) = answer else { return Err("(all)") };
        let values: &[Value; 5] = values.as_slice().try_into().map_err(|_| "(all)")?;
        if values.iter().all(|value| *value == Value::Nil) {
            return Ok(Mark::default());
        }
        let field = |at: usize| text(&values[at]).ok_or(FIELDS[at]);
        let list = field(3)?.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
        let witnesses = field(4)?.split_whitespace().map(str::parse).collect::<Result<_, _>>();
        Ok(Mark {
            birth: field(0)?.parse().map_err(|_| FIELDS[0])?,
            epoch: field(1)?.parse().map_err(|_| FIELDS[1])?,
            generation: field(2)?.parse().map_err(|_| FIELDS[2])?,
            cut: list.map_err(|_| FIELDS[3])?.into(),
            witnesses: witnesses.map_err(|_| FIELDS[4])?,
        })
    }

    /// What of it says which epoch may be read.
    pub fn point(&self) -> (u64, u64) {
        (self.birth, self.epoch)
    }
}

/// Text of a reply; `None` where it is none.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Numbers with spaces in between.
pub fn list<T: ToString>(numbers: &[T]) -> String {
    numbers.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

/// The key of the witness in a slot.
pub fn witness_key(prefix: &str, slot: u16) -> String {
    format!("{prefix}features:witness:{{{}}}", tag_of(slot))
}

/// The key of the mark, and its slot.
pub fn mark_key(prefix: &str) -> (String, u16) {
    let key = format!("{prefix}features:mark");
    let slot = slot_of(&key);
    (key, slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(values: [&str; 5]) -> Value {
        Value::Array(values.map(|value| Value::BulkString(value.as_bytes().to_vec())).into())
    }

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let mark = Mark::parse(&answer(["17", "5", "2", "10 20", "0 5461"])).expect("a mark");
        assert_eq!((mark.point(), mark.generation), ((17, 5), 2));
        assert_eq!((&*mark.cut, &*mark.witnesses), (&[10, 20][..], &[0, 5461][..]));
        assert_eq!(Mark::parse(&Value::Array(vec![Value::Nil; 5])), Ok(Mark::default()));
        assert_eq!(Mark::parse(&answer(["17", "five", "2", "", ""])), Err("epoch"));
        assert_eq!(Mark::parse(&answer(["17", "5", "2", "1 x", ""])), Err("cut"));
    }
}
