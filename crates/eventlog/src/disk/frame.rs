//! The frame: the only thing a segment consists of.
//!
//! ```text
//! header (64 bytes, little endian)
//! +-------+---------+------+------+---------+--------+----------------+-------+---------+
//! | magic | version | kind | lane | segment | offset | synced_through | count | payload |
//! |   4   |    1    |   1  |   2  |    8    |    8   |        8       |   4   |    4    |
//! +-------+---------+------+------+---------+--------+----------------+-------+---------+
//! | appender | reserved | payload_crc | header_crc |   payload, then zeros up to a
//! |     8    |     8    |      4      |      4     |   multiple of 512 bytes
//! +----------+----------+-------------+------------+
//! ```
//!
//! A frame begins at a multiple of 512 bytes, so no write ever touches a sector that holds synced
//! bytes, and a search for frames need look nowhere else. The header has a checksum of its own: it
//! stays evidence of what was synced where its payload is torn.

use reckon_disk::SECTOR_BYTES;

/// The version this build writes.
pub(crate) const VERSION: u8 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
/// "RKNF": not zero anywhere, so a hole never parses.
const MAGIC: [u8; 4] = *b"RKNF";

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FrameKind {
    /// The first of a segment.
    Head = 1,
    /// Records.
    Block = 2,
    /// Nothing but the news that everything before is synced.
    Seal = 3,
    /// The last of a segment.
    Footer = 4,
}

/// What stands at the head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: FrameKind,
    pub(crate) lane: u16,
    /// Offset of the first record of the segment this frame belongs to.
    pub(crate) segment: u64,
    /// Offset of the frame's first record; where it has none, of the next record.
    pub(crate) offset: u64,
    /// Every record below this offset was synced before this frame was written.
    pub(crate) synced_through: u64,
    pub(crate) count: u32,
    /// Bytes of records, without the padding.
    pub(crate) payload_bytes: u32,
    /// The handle that wrote it: incarnation and generation.
    pub(crate) appender: u64,
    pub(crate) payload_sum: u32,
}

/// Why 64 bytes are not a header of this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAFrame {
    Zeros,
    Magic,
    Version(u8),
    HeaderSum,
    Kind,
    /// A frame, but of another lane or segment.
    Foreign,
}

impl NotAFrame {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            NotAFrame::Zeros => "zeros where a frame belongs",
            NotAFrame::Magic => "no frame begins here",
            NotAFrame::Version(_) => "a frame of a later format version",
            NotAFrame::HeaderSum => "the checksum of the frame's header does not fit",
            NotAFrame::Kind => "a frame of an unknown kind",
            NotAFrame::Foreign => "a frame of another lane or segment",
        }
    }
}

/// Bytes of a whole frame with this much payload.
pub(crate) const fn frame_bytes(payload: usize) -> usize {
    (HEADER_BYTES + payload).next_multiple_of(SECTOR_BYTES)
}

impl Header {
    /// Bytes of the whole frame.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize) as u64
    }

    /// The offset behind the last record.
    pub(crate) const fn next_offset(&self) -> u64 {
        self.offset + self.count as u64
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[5] = self.kind as u8;
        out[6..8].copy_from_slice(&self.lane.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.synced_through.to_le_bytes());
        out[32..36].copy_from_slice(&self.count.to_le_bytes());
        out[36..40].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[40..48].copy_from_slice(&self.appender.to_le_bytes());
        out[56..60].copy_from_slice(&self.payload_sum.to_le_bytes());
        let sum = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a header of `lane` and `segment`. Says nothing about the payload.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        lane: u16,
        segment: u64,
    ) -> Result<Self, NotAFrame> {
        if bytes[0..4] != MAGIC {
            let zeros = bytes.iter().all(|&b| b == 0);
            return Err(if zeros { NotAFrame::Zeros } else { NotAFrame::Magic });
        }
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(NotAFrame::HeaderSum);
        }
        if bytes[4] != VERSION {
            return Err(NotAFrame::Version(bytes[4]));
        }
        let kind = match bytes[5] {
            1 => FrameKind::Head,
            2 => FrameKind::Block,
            3 => FrameKind::Seal,
            4 => FrameKind::Footer,
            _ => return Err(NotAFrame::Kind),
        };
        let header = Header {
            kind,
            lane: u16::from_le_bytes([bytes[6], bytes[7]]),
            segment: u64_at(bytes, 8),
            offset: u64_at(bytes, 16),
            synced_through: u64_at(bytes, 24),
            count: u32_at(bytes, 32),
            payload_bytes: u32_at(bytes, 36),
            appender: u64_at(bytes, 40),
            payload_sum: u32_at(bytes, 56),
        };
        if (header.lane, header.segment) == (lane, segment) {
            Ok(header)
        } else {
            Err(NotAFrame::Foreign)
        }
    }

    /// True where `rest`, the frame's bytes behind its header, is what was written.
    pub(crate) fn payload_fits(&self, rest: &[u8]) -> bool {
        crc32c::crc32c(rest) == self.payload_sum
    }
}

/// Appends a frame to `out`: `header` with its payload length and checksum set, `payload`, padding.
pub(crate) fn push_frame(out: &mut Vec<u8>, mut header: Header, payload: &[u8]) -> Header {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out.extend_from_slice(payload);
    out.resize(start + frame_bytes(payload.len()), 0);
    header.payload_bytes = u32::try_from(payload.len()).expect("a block is far below 4 GiB");
    header.payload_sum = crc32c::crc32c(&out[start + HEADER_BYTES..]);
    out[start..start + HEADER_BYTES].copy_from_slice(&header.encode());
    header
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: FrameKind::Block,
            lane: 3,
            segment: 1_000,
            offset: 1_234,
            synced_through: 1_230,
            count: 5,
            payload_bytes: 0,
            appender: 7 << 32 | 1,
            payload_sum: 0,
        }
    }

    #[test]
    fn a_frame_is_whole_sectors_and_reads_back() {
        for payload in [0, 1, 448, 449, 5_000] {
            let bytes = vec![0xA5; payload];
            let mut out = Vec::new();
            let written = push_frame(&mut out, header(), &bytes);
            assert_eq!(out.len() % SECTOR_BYTES, 0);
            assert_eq!(out.len() as u64, written.frame_bytes());
            let head = out.first_chunk().expect("longer than a header");
            let read = Header::decode(head, 3, 1_000).expect("a frame");
            assert_eq!(read, written);
            assert!(read.payload_fits(&out[HEADER_BYTES..]));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut out = Vec::new();
        push_frame(&mut out, header(), &[0x5A; 100]);
        for bit in 0..out.len() * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            let head = out.first_chunk().expect("longer than a header");
            let whole = Header::decode(head, 3, 1_000)
                .is_ok_and(|header| header.payload_fits(&out[HEADER_BYTES..]));
            assert!(!whole, "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn frames_of_elsewhere_and_zeros_are_told_apart() {
        let mut out = Vec::new();
        push_frame(&mut out, header(), b"x");
        let head = out.first_chunk().expect("longer than a header");
        assert_eq!(Header::decode(head, 4, 1_000), Err(NotAFrame::Foreign));
        assert_eq!(Header::decode(head, 3, 1_001), Err(NotAFrame::Foreign));
        assert_eq!(Header::decode(&[0; 64], 3, 1_000), Err(NotAFrame::Zeros));
        assert_eq!(Header::decode(&[1; 64], 3, 1_000), Err(NotAFrame::Magic));
    }
}
