//! A walk over the bytes of a protobuf, before a decoder builds values of them.
//!
//! Two bytes on the wire can become a hundred in memory, and some fields have no business in a model that
//! only scores. So each message that matters has a list: which fields are walked into, how many of them
//! there may be, and which are refused.

use super::FILE_BYTES_MAX;
use crate::ImportError;

/// What is known of a message.
struct Message {
    name: &'static str,
    fields: &'static [(u64, Rule)],
}

#[derive(Clone, Copy)]
enum Rule {
    /// A message of its own; at most so many in one parent.
    Enter(&'static Message, usize),
    /// At most so many in one parent, and of at most so many bytes each.
    Small(usize, usize),
    /// Not taken, and why.
    Refused(&'static str),
}

const SUBGRAPH: Rule = Rule::Refused("a graph within a graph (If, Loop, Scan)");
const SPARSE: Rule = Rule::Refused("a sparse tensor");
const LIST: Rule = Rule::Refused("a list of tensors or types");

const MODEL: Message = Message {
    name: "the model",
    fields: &[
        (7, Rule::Enter(&GRAPH, 1)),
        (8, Rule::Small(64, 1024)),
        (14, Rule::Small(1024, 1 << 20)),
        (20, Rule::Refused("training information")),
        (25, Rule::Refused("functions of its own")),
    ],
};
const GRAPH: Message = Message {
    name: "the graph",
    fields: &[
        (1, Rule::Enter(&NODE, 4096)),
        (5, Rule::Enter(&TENSOR, 16_384)),
        (11, Rule::Small(16_384, 1024)),
        (12, Rule::Small(64, 1024)),
        (13, Rule::Small(16_384, 1024)),
        (14, Rule::Refused("a quantisation annotation")),
        (15, SPARSE),
        (16, Rule::Small(1024, 1024)),
    ],
};
const NODE: Message = Message {
    name: "a node",
    fields: &[
        (1, Rule::Small(1024, 4096)),
        (2, Rule::Small(1024, 4096)),
        (5, Rule::Enter(&ATTRIBUTE, 64)),
        (9, Rule::Small(64, 4096)),
    ],
};
const ATTRIBUTE: Message = Message {
    name: "an attribute",
    fields: &[
        (5, Rule::Enter(&TENSOR, 1)),
        (6, SUBGRAPH),
        (9, Rule::Small(1 << 24, 4096)),
        (10, LIST),
        (11, SUBGRAPH),
        (14, LIST),
        (15, LIST),
        (22, SPARSE),
        (23, SPARSE),
    ],
};
const TENSOR: Message = Message {
    name: "a tensor",
    fields: &[
        (3, Rule::Refused("a tensor in segments")),
        (6, Rule::Refused("a tensor of texts")),
        (13, Rule::Refused("a tensor in another file (external data): save the model as one file")),
        (16, Rule::Small(64, 1024)),
    ],
};

/// Refuses what is no model, is too large, or has what is not taken.
pub(super) fn check(bytes: &[u8]) -> Result<(), ImportError> {
    if bytes.len() > FILE_BYTES_MAX {
        let reason = format!("it has {} bytes; at most {FILE_BYTES_MAX} are taken", bytes.len());
        return Err(ImportError::onnx(reason));
    }
    walk(bytes, 0, &MODEL)
}

fn walk(bytes: &[u8], offset: usize, message: &Message) -> Result<(), ImportError> {
    let mut counts = [0usize; 32];
    let mut reader = Reader { bytes, place: 0 };
    while reader.place < bytes.len() {
        let cut = || {
            let reason = format!("it is cut off or damaged in {} at byte {offset}", message.name);
            ImportError::onnx(reason)
        };
        let (number, payload) = reader.field().ok_or_else(cut)?;
        let Some((_, rule)) = message.fields.iter().find(|(field, _)| *field == number) else {
            continue;
        };
        let count = &mut counts[number as usize];
        *count += 1;
        let start = offset + reader.place - payload.len();
        rule.check(payload, start, *count, message)?;
    }
    Ok(())
}

impl Rule {
    fn check(
        self,
        payload: &[u8],
        start: usize,
        count: usize,
        parent: &Message,
    ) -> Result<(), ImportError> {
        let (count_max, bytes_max) = match self {
            Rule::Enter(_, count) => (count, usize::MAX),
            Rule::Small(count, bytes) => (count, bytes),
            Rule::Refused(what) => {
                return Err(ImportError::onnx(format!("{what} is not taken (byte {start})")));
            }
        };
        if count > count_max || payload.len() > bytes_max {
            let reason = format!(
                "{} has more parts of a kind than {count_max}, or one of more than {bytes_max} bytes \
                 (byte {start})",
                parent.name
            );
            return Err(ImportError::onnx(reason));
        }
        match self {
            Rule::Enter(message, _) => walk(payload, start, message),
            _ => Ok(()),
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl<'a> Reader<'a> {
    /// The next field's number, and its bytes where it has a length.
    fn field(&mut self) -> Option<(u64, &'a [u8])> {
        let tag = self.varint()?;
        let payload = match tag & 7 {
            0 => self.varint().map(|_| &[][..])?,
            1 => self.slice(8).map(|_| &[][..])?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.slice(length)?
            }
            5 => self.slice(4).map(|_| &[][..])?,
            _ => return None,
        };
        (tag >> 3 != 0).then_some((tag >> 3, payload))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.place)?;
            self.place += 1;
            number |= u64::from(byte & 127).checked_shl(shift)?;
            if byte < 128 {
                return Some(number);
            }
        }
        None
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let slice = self.bytes.get(self.place..self.place.checked_add(length)?)?;
        self.place += length;
        Some(slice)
    }
}
