//! An independent recount of the log: reads every record and lets the naive judge decide.

use reckon_count::Policy;
use reckon_count::naive::Recount;
use reckon_event::{DecodeError, Record};
use reckon_eventlog::EventLog;

use crate::Error;

const READ_BYTES: usize = 1 << 20;

/// Counts everything in the log below `cut` (by partition; `None`: up to the end) with plain sets and
/// maps. It is exact where the log still has its beginning, and fails with `Gone` where not.
pub fn recount(log: &dyn EventLog, cut: Option<&[u64]>, policy: &Policy) -> Result<Recount, Error> {
    let mut recount = Recount::default();
    for partition in 0..log.partitions() {
        let end = match cut {
            Some(cut) => cut.get(usize::from(partition)).copied().unwrap_or(0),
            None => log.range(partition).end,
        };
        let mut from = 0;
        while from < end {
            let chunk = log.read(partition, from, READ_BYTES)?;
            if chunk.next <= from {
                let to = end;
                return Err(Error::Lost { number: 0, partition, to, end: from });
            }
            for entry in chunk.entries.iter().filter(|entry| entry.offset < end) {
                match Record::decode_checked(&chunk.bytes[entry.bytes.clone()]) {
                    Ok((record, _)) => drop(recount.take(&record, policy)),
                    Err(DecodeError::Kind(_)) => recount.totals.unknown += 1,
                    Err(source) => {
                        return Err(Error::Record { partition, offset: entry.offset, source });
                    }
                }
            }
            from = chunk.next;
        }
    }
    Ok(recount)
}
