//! The bytes of the state: sections a strand and a piece, so that only what changed is written again.
//!
//! ```text
//! | "RKCS" | version u16 | section* | end |        little endian
//! section: | length u32 | CRC32C u32 | tag u8 | strand u16 | body |    length and CRC from the tag on
//!   1 head:    clock i64 | appenders | unsigned clicks | totals
//!   2 dropped: hour u32 | incarnation u32
//!   3 piece:   hour u32 | incarnation u32 | impressions | views | clicks
//!   0 end:     count of sections u32          (strand 0; nothing may follow)
//! ids:   chunks varint, each: high u16 | 1, count, gaps as varints | 2, length, bits
//! ```
//!
//! The same memory gives the same bytes, whatever the order in which its ids came. Version 2 is
//! frozen by `tests/fixtures/v2`. Version 1 knew no topics; what it remembers cannot be told apart, so it
//! is refused, and the log is counted again.

use reckon_event::{Kind, TenantId, Timestamp, Verdict};

use crate::slot::{Appender, PersonAd, Piece, StrandState};
use crate::wire::{Reader, put_varint};
use crate::{IdSet, State, Strand, Totals};

/// The version this build writes.
pub const STATE_VERSION: u16 = 2;

const MAGIC: &[u8; 4] = b"RKCS";
const END: u8 = 0;
const HEAD: u8 = 1;
const DROPPED: u8 = 2;
const PIECE: u8 = 3;

/// Bytes that are not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end early.
    #[error("cut short")]
    Truncated,
    /// They do not begin like a state.
    #[error("not a counting state")]
    NotAState,
    /// Written by a build that remembered less.
    #[error("format version {0} is too old: `reckon rebuild` counts the log again")]
    TooOld(u16),
    /// Written by a later build.
    #[error("format version {0} is newer than this build")]
    Version(u16),
    /// A section's checksum does not fit.
    #[error("checksum mismatch")]
    Checksum,
    /// A field holds what no build writes.
    #[error("{0} is damaged")]
    Damaged(&'static str),
}

/// How much of a state is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Changes,
}

impl State {
    /// All of it.
    pub fn encode(&self) -> Vec<u8> {
        self.write(Extent::Whole)
    }

    /// What has changed since [`State::mark_written`]; to be laid over what was written before.
    pub fn encode_changes(&self) -> Vec<u8> {
        self.write(Extent::Changes)
    }

    /// Notes that everything up to now has been written.
    pub fn mark_written(&mut self) {
        for slot in self.strands.iter_mut().flatten() {
            slot.is_changed = false;
            slot.dropped.clear();
            for piece in &mut slot.pieces {
                (piece.is_changed, piece.is_written) = (false, true);
            }
        }
    }

    /// Reads what [`State::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<State, FormatError> {
        let mut state = State::new();
        state.apply_changes(bytes)?;
        Ok(state)
    }

    /// Lays what [`State::encode_changes`] wrote over this state.
    pub fn apply_changes(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let mut reader = Reader(bytes);
        if &reader.array::<4>()? != MAGIC {
            return Err(FormatError::NotAState);
        }
        let version = reader.u16()?;
        match version {
            STATE_VERSION => {}
            0 => return Err(FormatError::NotAState),
            1 => return Err(FormatError::TooOld(version)),
            _ => return Err(FormatError::Version(version)),
        }
        for sections in 0_u32.. {
            let mut body = next_section(&mut reader)?;
            let tag = body.u8()?;
            let strand = Strand::from_number(body.u16()?.into());
            let strand = strand.ok_or(FormatError::Damaged("strand"))?;
            if tag == END {
                let is_whole = body.u32()? == sections && reader.0.is_empty();
                return if is_whole { Ok(()) } else { Err(FormatError::Damaged("end")) };
            }
            self.apply_section(tag, strand, &mut body)?;
        }
        Err(FormatError::Damaged("sections"))
    }

    fn apply_section(
        &mut self,
        tag: u8,
        strand: Strand,
        body: &mut Reader<'_>,
    ) -> Result<(), FormatError> {
        let state = self.strand_mut(strand);
        match tag {
            HEAD => read_head(state, body)?,
            DROPPED => {
                let key = (body.u32()?, body.u32()?);
                state.pieces.retain(|piece| (piece.hour, piece.incarnation) != key);
            }
            PIECE => {
                let piece = read_piece(body)?;
                let key = (piece.hour, piece.incarnation);
                match state.pieces.binary_search_by_key(&key, |p| (p.hour, p.incarnation)) {
                    Ok(at) => state.pieces[at] = piece,
                    Err(at) => state.pieces.insert(at, piece),
                }
            }
            _ => return Err(FormatError::Damaged("section tag")),
        }
        if body.0.is_empty() { Ok(()) } else { Err(FormatError::Damaged("section length")) }
    }

    fn write(&self, extent: Extent) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&STATE_VERSION.to_le_bytes());
        let mut sections = 0_u32;
        let mut section = |out: &mut Vec<u8>, tag, strand, body: &mut dyn FnMut(&mut Vec<u8>)| {
            put_section(out, tag, strand, body);
            sections += 1;
        };
        for (number, slot) in (0_u16..).zip(&self.strands) {
            let is_whole = extent == Extent::Whole;
            let Some(slot) = slot.as_ref().filter(|slot| is_whole || slot.is_changed) else {
                continue;
            };
            section(&mut out, HEAD, number, &mut |out| put_head(out, slot));
            for (hour, incarnation) in slot.dropped.iter().filter(|_| !is_whole) {
                section(&mut out, DROPPED, number, &mut |out| put_pair(out, *hour, *incarnation));
            }
            for piece in slot.pieces.iter().filter(|piece| is_whole || piece.is_changed) {
                section(&mut out, PIECE, number, &mut |out| put_piece(out, piece));
            }
        }
        let count = sections.to_le_bytes();
        put_section(&mut out, END, 0, &mut |out| out.extend_from_slice(&count));
        out
    }
}

fn put_section(out: &mut Vec<u8>, tag: u8, strand: u16, body: &mut dyn FnMut(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(tag);
    out.extend_from_slice(&strand.to_le_bytes());
    body(out);
    let length = u32::try_from(out.len() - start - 8).expect("a strand's hour is below 4 GiB");
    let sum = crc32c::crc32c(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

fn next_section<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, FormatError> {
    let length = reader.u32()? as usize;
    let sum = reader.u32()?;
    let body = reader.bytes(length)?;
    if crc32c::crc32c(body) == sum { Ok(Reader(body)) } else { Err(FormatError::Checksum) }
}

fn put_pair(out: &mut Vec<u8>, first: u32, second: u32) {
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&second.to_le_bytes());
}

fn put_head(out: &mut Vec<u8>, slot: &StrandState) {
    out.extend_from_slice(&slot.clock.0.to_le_bytes());
    put_varint(out, slot.appenders.len() as u64);
    for known in &slot.appenders {
        out.extend_from_slice(&known.appender.to_le_bytes());
        out.extend_from_slice(&known.sequence.to_le_bytes());
        out.extend_from_slice(&known.seen.0.to_le_bytes());
    }
    put_varint(out, slot.unsigned.order.len() as u64);
    for (counted, person) in &slot.unsigned.order {
        out.extend_from_slice(&counted.0.to_le_bytes());
        out.extend_from_slice(&person.tenant.0.to_le_bytes());
        out.extend_from_slice(&[person.kind.code(), u8::from(person.is_user)]);
        out.extend_from_slice(&person.who.to_le_bytes());
        out.extend_from_slice(&person.agent.to_le_bytes());
        out.extend_from_slice(&person.ad.to_le_bytes());
    }
    put_totals(out, &slot.totals);
}

fn read_head(slot: &mut StrandState, body: &mut Reader<'_>) -> Result<(), FormatError> {
    slot.clock = Timestamp(body.i64()?);
    slot.appenders.clear();
    for _ in 0..body.count(24)? {
        let (appender, sequence) = (body.u64()?, body.u64()?);
        slot.appenders.push(Appender { appender, sequence, seen: Timestamp(body.i64()?) });
    }
    slot.unsigned = Default::default();
    for _ in 0..body.count(46)? {
        let counted = Timestamp(body.i64()?);
        slot.unsigned.insert(counted, read_person(body)?);
    }
    slot.totals = read_totals(body)?;
    Ok(())
}

fn read_person(body: &mut Reader<'_>) -> Result<PersonAd, FormatError> {
    Ok(PersonAd {
        tenant: TenantId(body.u32()?),
        kind: read_kind(body)?,
        is_user: body.u8()? == 1,
        who: body.u128()?,
        agent: body.u64()?,
        ad: body.u64()?,
    })
}

fn read_kind(body: &mut Reader<'_>) -> Result<Kind, FormatError> {
    Kind::from_code(body.u8()?).ok_or(FormatError::Damaged("kind"))
}

fn put_totals(out: &mut Vec<u8>, totals: &Totals) {
    for count in [totals.redelivered, totals.skipped, totals.unknown] {
        put_varint(out, count);
    }
    put_varint(out, totals.iter().count() as u64);
    for (kind, verdict, count) in totals.iter() {
        out.extend_from_slice(&[kind.code(), verdict.code()]);
        put_varint(out, count);
    }
}

fn read_totals(body: &mut Reader<'_>) -> Result<Totals, FormatError> {
    let mut totals = Totals::default();
    for count in [&mut totals.redelivered, &mut totals.skipped, &mut totals.unknown] {
        *count = body.varint()?;
    }
    for _ in 0..body.count(3)? {
        let kind = read_kind(body)?;
        let verdict = Verdict::from_code(body.u8()?).ok_or(FormatError::Damaged("verdict"))?;
        if matches!(kind, Kind::Control | Kind::Prediction) {
            return Err(FormatError::Damaged("kind"));
        }
        totals.add(kind, verdict, body.varint()?);
    }
    Ok(totals)
}

fn put_piece(out: &mut Vec<u8>, piece: &Piece) {
    put_pair(out, piece.hour, piece.incarnation);
    for set in &piece.sets {
        set.encode(out);
    }
}

fn read_piece(body: &mut Reader<'_>) -> Result<Piece, FormatError> {
    let (hour, incarnation) = (body.u32()?, body.u32()?);
    let sets = [IdSet::decode(body)?, IdSet::decode(body)?, IdSet::decode(body)?];
    Ok(Piece { hour, incarnation, sets, is_changed: false, is_written: true })
}
