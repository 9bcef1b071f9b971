//! A chunk as bytes, and back.

use super::{CHUNK_ROWS, Rows};

/// Bytes of a chunk's count and checksum.
const FRAME: usize = 8;

/// Bytes of one row.
pub(super) fn row_bytes(columns: usize, fields: usize) -> usize {
    columns * 4 + fields * 8 + 1 + 4 + 8 + 8 + 2 + 4
}

/// Appends a chunk of all rows.
pub(super) fn encode(rows: &Rows, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    put(out, &rows.numeric, |x| x.to_le_bytes());
    put(out, &rows.keys, |x| x.to_le_bytes());
    put(out, &rows.labels, |x| [u8::from(x)]);
    put(out, &rows.weights, |x| x.to_le_bytes());
    put(out, &rows.times, |x| x.to_le_bytes());
    put(out, &rows.groups, |x| x.to_le_bytes());
    put(out, &rows.positions, |x| x.to_le_bytes());
    put(out, &rows.truths, |x| x.to_le_bytes());
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Reads a chunk back into rows, which have its shape and are cleared; `None` where it is damaged.
pub(super) fn decode(bytes: &[u8], rows: &mut Rows) -> Option<()> {
    rows.clear();
    let (body, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    let (count, mut body) = body.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(*count) as usize;
    if count > CHUNK_ROWS || bytes.len() != FRAME + count * row_bytes(rows.columns, rows.fields) {
        return None;
    }
    let body = &mut body;
    take(body, count * rows.columns, &mut rows.numeric, f32::from_le_bytes)?;
    take(body, count * rows.fields, &mut rows.keys, u64::from_le_bytes)?;
    take(body, count, &mut rows.labels, |[byte]: [u8; 1]| byte != 0)?;
    take(body, count, &mut rows.weights, f32::from_le_bytes)?;
    take(body, count, &mut rows.times, i64::from_le_bytes)?;
    take(body, count, &mut rows.groups, u64::from_le_bytes)?;
    take(body, count, &mut rows.positions, u16::from_le_bytes)?;
    take(body, count, &mut rows.truths, f32::from_le_bytes)
}

fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, values: &[T], bytes: impl Fn(T) -> [u8; N]) {
    out.reserve(values.len() * N);
    values.iter().for_each(|&value| out.extend_from_slice(&bytes(value)));
}

fn take<T, const N: usize>(
    body: &mut &[u8],
    count: usize,
    out: &mut Vec<T>,
    value: impl Fn([u8; N]) -> T,
) -> Option<()> {
    let (head, tail) = body.split_at_checked(count * N)?;
    out.extend(head.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)));
    *body = tail;
    Some(())
}
