//! The values of one append: made before it has its place, and given their ids when it has.

use reckon_event::{RecordId, peek};

use super::value::{ID_AT, encode};
use super::words::Id;

/// Some records as values, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    heads: Vec<Head>,
}

#[derive(Debug)]
struct Head {
    end: u32,
    slot: u16,
    has_id: bool,
}

impl Values {
    /// The values of whole records. They must have been looked at.
    pub fn of(records: &[u8], count: u32) -> Self {
        let mut values = Values {
            bytes: Vec::with_capacity(records.len() * 4),
            heads: Vec::with_capacity(count as usize),
        };
        let mut at = 0;
        while at < records.len() {
            let length = peek(&records[at..]).expect("append has looked at every record").bytes;
            values.push(&records[at..at + length]);
            at += length;
        }
        values
    }

    fn push(&mut self, record: &[u8]) {
        let peeked = peek(record).expect("append has looked at every record");
        let has_id = encode(record, &mut self.bytes);
        let end = u32::try_from(self.bytes.len()).expect("an append is bounded by its lane");
        self.heads.push(Head { end, slot: peeked.slot.number(), has_id });
    }

    /// Gives ids from `first` on to those that have none. A record that has one keeps it, and its
    /// number is left out.
    pub fn stamp(&mut self, first: RecordId) {
        let mut begin = 0;
        for (head, sequence) in self.heads.iter().zip(first.sequence..) {
            if !head.has_id {
                let text = Id(RecordId { sequence, ..first }).text();
                self.bytes[begin + ID_AT..begin + ID_AT + text.len()].copy_from_slice(&text);
            }
            begin = head.end as usize;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    /// The bytes of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The slot of one, and its value.
    pub fn get(&self, at: usize) -> (u16, &[u8]) {
        let begin = at.checked_sub(1).map_or(0, |before| self.heads[before].end as usize);
        (self.heads[at].slot, &self.bytes[begin..self.heads[at].end as usize])
    }
}
