//! The bytes of a record, as they stand in the log for ever.
//!
//! ```text
//! envelope (16 bytes)                       body, little endian
//! +-------+---+---+---+---+------+-----+-----+ +-------+--------------------+----------------+
//! | magic | v | k | s | f | slot | len | crc | | fixed | claims or subject  | optional fields|
//! |  2    | 1 | 1 | 1 | 1 |  2   |  4  |  4  | |  64   |  104      44       | tag len bytes  |
//! +-------+---+---+---+---+------+-----+-----+ +-------+--------------------+----------------+
//!   v format version, k kind, s stream, f flags (bit 0: minted, claims follow; else subject)
//!   len = bytes of the body;  crc = CRC32C over the first 12 bytes and the body
//!
//! fixed:   appender u64 | sequence u64 | received i64 | happened i64 | tenant u32 | lists u32 |
//!          rules u32 | facts u16 | source class u8 | edge outcome u8 | position u16 | consent u8 |
//!          13 reserved zeros
//! subject: ad u64 | campaign u64 | price i64 | currency [3] | user u128 | 1 reserved zero
//! field:   tag u8 | length u16 | bytes      (tags ascend; unknown tags are skipped)
//! ```
//!
//! The magic is not zero, so a hole of zeros never parses. Format version 1 is frozen by the
//! fixtures in `tests/fixtures/v1`; tags are the field numbers of the Avro schema.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::record::{Claims, Facts, Kind, Record, SourceClass, Stream};
use crate::token::CLAIMS_BYTES;
use crate::{Currency, ImpressionId, Pseudonym, RecordId, Slot, TenantId, Timestamp, Verdict};

/// The version this build writes.
pub const FORMAT_VERSION: u8 = 1;
/// Bytes before the body.
pub const ENVELOPE_BYTES: usize = 16;
/// The longest record, envelope included. An edge never makes a longer one.
pub const RECORD_BYTES_MAX: usize = 16 * 1_024;

const MAGIC: [u8; 2] = [0xAD, 0xC1];
const FLAG_MINTED: u8 = 1;
const FIXED_BYTES: usize = 64;
const SUBJECT_BYTES: usize = 44;

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the record says it has.
    #[error("cut short")]
    Truncated,
    /// It does not begin like a record.
    #[error("no record begins here")]
    NotARecord,
    /// Written by a later build.
    #[error("format version {0} is newer than this build")]
    Version(u8),
    /// A kind of a later build: to be skipped.
    #[error("kind {0} is not known to this build")]
    Kind(u8),
    /// A field holds what no build writes.
    #[error("field {0} is damaged")]
    Field(&'static str),
    /// The checksum does not fit.
    #[error("checksum mismatch")]
    Checksum,
}

/// What can be told of a record without reading its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// The kind's number, known or not.
    pub kind_code: u8,
    /// Where it is counted.
    pub slot: Slot,
    /// Length in bytes, envelope included.
    pub bytes: usize,
}

/// Looks at the envelope at the head of `bytes`, which may hold more records behind it.
pub fn peek(bytes: &[u8]) -> Result<Peeked, DecodeError> {
    let Some(head) = bytes.first_chunk::<ENVELOPE_BYTES>() else {
        return Err(if bytes.starts_with(&MAGIC) {
            DecodeError::Truncated
        } else {
            DecodeError::NotARecord
        });
    };
    if head[..2] != MAGIC {
        return Err(DecodeError::NotARecord);
    }
    if head[2] > FORMAT_VERSION || head[2] == 0 {
        return Err(DecodeError::Version(head[2]));
    }
    let slot =
        Slot::new(u16::from_le_bytes([head[6], head[7]])).ok_or(DecodeError::Field("slot"))?;
    let body = u32::from_le_bytes([head[8], head[9], head[10], head[11]]) as usize;
    if !(FIXED_BYTES..=RECORD_BYTES_MAX - ENVELOPE_BYTES).contains(&body) {
        return Err(DecodeError::Field("length"));
    }
    if bytes.len() < ENVELOPE_BYTES + body {
        return Err(DecodeError::Truncated);
    }
    Ok(Peeked { kind_code: head[3], slot, bytes: ENVELOPE_BYTES + body })
}

/// Gives the record at the head of `bytes` its id, unless it has one already, and its checksum.
/// Returns its length in bytes.
pub fn stamp(bytes: &mut [u8], id: RecordId) -> Result<usize, DecodeError> {
    let length = peek(bytes)?.bytes;
    let record = &mut bytes[..length];
    if record[ENVELOPE_BYTES..ENVELOPE_BYTES + 16] == [0; 16] {
        record[ENVELOPE_BYTES..ENVELOPE_BYTES + 8].copy_from_slice(&id.appender.to_le_bytes());
        record[ENVELOPE_BYTES + 8..ENVELOPE_BYTES + 16].copy_from_slice(&id.sequence.to_le_bytes());
    }
    let sum = checksum(record);
    record[12..16].copy_from_slice(&sum.to_le_bytes());
    Ok(length)
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..12]), &record[ENVELOPE_BYTES..])
}

impl<'a> Record<'a> {
    /// Appends the record's bytes to `out`, without a checksum ([`stamp`] sets it). Where there are
    /// claims, ad, campaign, price, currency and user are theirs.
    ///
    /// # Panics
    /// Where a text or payload is longer than a record may be; the edge checks lengths first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&MAGIC);
        let flags = if self.claims.is_some() { FLAG_MINTED } else { 0 };
        out.extend_from_slice(&[FORMAT_VERSION, self.kind as u8, self.stream as u8, flags]);
        out.extend_from_slice(&self.slot.number().to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        self.encode_fixed(out);
        match &self.claims {
            Some(claims) => out.extend_from_slice(&claims.to_bytes()),
            None => self.encode_subject(out),
        }
        self.encode_fields(out);
        let body = out.len() - start - ENVELOPE_BYTES;
        assert!(body + ENVELOPE_BYTES <= RECORD_BYTES_MAX, "the edge bounds every field");
        out[start + 8..start + 12].copy_from_slice(&(body as u32).to_le_bytes());
    }

    fn encode_fixed(&self, out: &mut Vec<u8>) {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0..8].copy_from_slice(&self.id.appender.to_le_bytes());
        fixed[8..16].copy_from_slice(&self.id.sequence.to_le_bytes());
        fixed[16..24].copy_from_slice(&self.received.0.to_le_bytes());
        fixed[24..32].copy_from_slice(&self.happened.0.to_le_bytes());
        fixed[32..36].copy_from_slice(&self.tenant.0.to_le_bytes());
        fixed[36..40].copy_from_slice(&self.lists_version.to_le_bytes());
        fixed[40..44].copy_from_slice(&self.rules_version.to_le_bytes());
        fixed[44..46].copy_from_slice(&self.facts.0.to_le_bytes());
        fixed[46] = self.source_class as u8;
        fixed[47] = self.outcome.code();
        fixed[48..50].copy_from_slice(&self.position.to_le_bytes());
        fixed[50] = self.consent;
        out.extend_from_slice(&fixed);
    }

    fn encode_subject(&self, out: &mut Vec<u8>) {
        let mut subject = [0; SUBJECT_BYTES];
        subject[0..8].copy_from_slice(&self.ad_key.to_le_bytes());
        subject[8..16].copy_from_slice(&self.campaign_key.to_le_bytes());
        subject[16..24].copy_from_slice(&self.price.to_le_bytes());
        subject[24..27].copy_from_slice(&self.currency.bytes());
        subject[27..43].copy_from_slice(&self.user.0.to_le_bytes());
        out.extend_from_slice(&subject);
    }

    fn encode_fields(&self, out: &mut Vec<u8>) {
        let texts = [
            (1, self.ad_id),
            (2, self.event_id),
            (3, self.source),
            (4, self.region),
            (5, self.device),
            (6, self.placement),
            (7, self.item_id),
            (8, self.request_id),
            (9, self.install_id),
            (10, self.session_id),
        ];
        for (tag, text) in texts {
            if !text.is_empty() {
                field(out, tag, text.as_bytes());
            }
        }
        for (tag, key) in [(11, self.ip_tag), (12, self.agent_key), (13, self.payload_digest)] {
            if key != 0 {
                field(out, tag, &key.to_le_bytes());
            }
        }
        if let Some(sequence) = self.session_sequence {
            field(out, 14, &sequence.to_le_bytes());
        }
        if let Some(value) = self.value {
            field(out, 15, &value.to_le_bytes());
        }
        match self.ip {
            Some(IpAddr::V4(v4)) => field(out, 16, &v4.octets()),
            Some(IpAddr::V6(v6)) => field(out, 16, &v6.octets()),
            None => {}
        }
        if !self.payload.is_empty() {
            field(out, 17, self.payload);
        }
        if self.category_key != 0 {
            field(out, 18, &self.category_key.to_le_bytes());
        }
    }

    /// Reads the record at the head of `bytes`, and its length. The checksum is not looked at: the
    /// log has checked its block already; [`Record::decode_checked`] does.
    pub fn decode(bytes: &'a [u8]) -> Result<(Record<'a>, usize), DecodeError> {
        let peeked = peek(bytes)?;
        let kind = Kind::from_code(peeked.kind_code).ok_or(DecodeError::Kind(peeked.kind_code))?;
        let body = &bytes[ENVELOPE_BYTES..peeked.bytes];
        let fixed: &[u8; FIXED_BYTES] = body.first_chunk().expect("peek has checked the length");
        let mut record = Record::new(kind, peeked.slot, Timestamp(i64_at(fixed, 16)));
        record.stream = match bytes[4] {
            1 => Stream::Events,
            2 => Stream::Predictions,
            _ => return Err(DecodeError::Field("stream")),
        };
        record.decode_fixed(fixed)?;
        let rest = &body[FIXED_BYTES..];
        let fields = if bytes[5] & FLAG_MINTED != 0 {
            let (claims, fields) =
                rest.split_at_checked(CLAIMS_BYTES).ok_or(DecodeError::Field("claims"))?;
            let claims = Claims::from_bytes(claims.try_into().expect("split at its length"))
                .ok_or(DecodeError::Field("claims"))?;
            record.adopt(claims);
            fields
        } else {
            let (subject, fields) =
                rest.split_at_checked(SUBJECT_BYTES).ok_or(DecodeError::Field("subject"))?;
            record.decode_subject(subject.try_into().expect("split at its length"))?;
            fields
        };
        record.decode_fields(fields)?;
        Ok((record, peeked.bytes))
    }

    /// As [`Record::decode`], and the checksum must fit.
    pub fn decode_checked(bytes: &'a [u8]) -> Result<(Record<'a>, usize), DecodeError> {
        let length = peek(bytes)?.bytes;
        let sum = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if checksum(&bytes[..length]) != sum {
            return Err(DecodeError::Checksum);
        }
        Self::decode(bytes)
    }

    fn decode_fixed(&mut self, fixed: &[u8; FIXED_BYTES]) -> Result<(), DecodeError> {
        self.id = RecordId { appender: u64_at(fixed, 0), sequence: u64_at(fixed, 8) };
        self.happened = Timestamp(i64_at(fixed, 24));
        self.tenant = TenantId(u32_at(fixed, 32));
        self.lists_version = u32_at(fixed, 36);
        self.rules_version = u32_at(fixed, 40);
        self.facts = Facts(u16_at(fixed, 44));
        self.source_class = match fixed[46] {
            1 => SourceClass::Server,
            2 => SourceClass::Client,
            _ => return Err(DecodeError::Field("source class")),
        };
        self.outcome = Verdict::from_code(fixed[47]).ok_or(DecodeError::Field("outcome"))?;
        self.position = u16_at(fixed, 48);
        self.consent = fixed[50];
        Ok(())
    }

    fn decode_subject(&mut self, subject: &[u8; SUBJECT_BYTES]) -> Result<(), DecodeError> {
        self.ad_key = u64_at(subject, 0);
        self.campaign_key = u64_at(subject, 8);
        self.price = i64_at(subject, 16);
        self.currency = Currency::from_bytes([subject[24], subject[25], subject[26]])
            .map_err(|_| DecodeError::Field("currency"))?;
        self.user = Pseudonym(u128_at(subject, 27));
        Ok(())
    }

    fn decode_fields(&mut self, mut fields: &'a [u8]) -> Result<(), DecodeError> {
        while let Some((head, rest)) = fields.split_first_chunk::<3>() {
            let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
            let (value, rest) =
                rest.split_at_checked(length).ok_or(DecodeError::Field("field length"))?;
            self.take_field(head[0], value)?;
            fields = rest;
        }
        if fields.is_empty() { Ok(()) } else { Err(DecodeError::Field("field length")) }
    }

    fn take_field(&mut self, tag: u8, value: &'a [u8]) -> Result<(), DecodeError> {
        let text = || std::str::from_utf8(value).map_err(|_| DecodeError::Field("text"));
        let key =
            || value.try_into().map(u64::from_le_bytes).map_err(|_| DecodeError::Field("key"));
        match tag {
            1 => self.ad_id = text()?,
            2 => self.event_id = text()?,
            3 => self.source = text()?,
            4 => self.region = text()?,
            5 => self.device = text()?,
            6 => self.placement = text()?,
            7 => self.item_id = text()?,
            8 => self.request_id = text()?,
            9 => self.install_id = text()?,
            10 => self.session_id = text()?,
            11 => self.ip_tag = key()?,
            12 => self.agent_key = key()?,
            13 => self.payload_digest = key()?,
            14 => self.session_sequence = Some(key()?),
            15 => self.value = Some(key()?.cast_signed()),
            16 => self.ip = Some(decode_ip(value)?),
            17 => self.payload = value,
            18 => self.category_key = key()?,
            _ => {}
        }
        Ok(())
    }
}

fn decode_ip(bytes: &[u8]) -> Result<IpAddr, DecodeError> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    let v6 = <[u8; 16]>::try_from(bytes).map_err(|_| DecodeError::Field("ip"))?;
    Ok(IpAddr::V6(Ipv6Addr::from(v6)))
}

fn field(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("the edge bounds every field");
    out.push(tag);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(value);
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("sixteen bytes"))
}

impl Claims {
    /// The plaintext of a token, and the claims block of a minted record.
    pub(crate) fn to_bytes(self) -> [u8; CLAIMS_BYTES] {
        let mut out = [0; CLAIMS_BYTES];
        out[0] = u8::from(self.explored);
        out[1] = self.consent;
        out[2..4].copy_from_slice(&self.impression.slot.number().to_le_bytes());
        out[4..8].copy_from_slice(&self.impression.incarnation.to_le_bytes());
        out[8..12].copy_from_slice(&self.impression.hour.to_le_bytes());
        out[12..16].copy_from_slice(&self.impression.sequence.to_le_bytes());
        out[16..20].copy_from_slice(&self.tenant.0.to_le_bytes());
        out[20..28].copy_from_slice(&self.ad_key.to_le_bytes());
        out[28..36].copy_from_slice(&self.campaign_key.to_le_bytes());
        out[36..44].copy_from_slice(&self.price.to_le_bytes());
        out[44..52].copy_from_slice(&self.issued_at.0.to_le_bytes());
        out[52..60].copy_from_slice(&self.expires_at.0.to_le_bytes());
        out[60..76].copy_from_slice(&self.user.0.to_le_bytes());
        out[76..84].copy_from_slice(&self.prediction_id.to_le_bytes());
        out[84..88].copy_from_slice(&self.model_version.to_le_bytes());
        out[88..92].copy_from_slice(&self.delta_version.to_le_bytes());
        out[92..96].copy_from_slice(&self.propensity.to_le_bytes());
        out[96..98].copy_from_slice(&self.arm.to_le_bytes());
        out[98..100].copy_from_slice(&self.position.to_le_bytes());
        out[100..103].copy_from_slice(&self.currency.bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8; CLAIMS_BYTES]) -> Option<Self> {
        Some(Claims {
            explored: bytes[0] == 1,
            consent: bytes[1],
            impression: ImpressionId {
                slot: Slot::new(u16_at(bytes, 2))?,
                incarnation: u32_at(bytes, 4),
                hour: u32_at(bytes, 8),
                sequence: u32_at(bytes, 12),
            },
            tenant: TenantId(u32_at(bytes, 16)),
            ad_key: u64_at(bytes, 20),
            campaign_key: u64_at(bytes, 28),
            price: i64_at(bytes, 36),
            issued_at: Timestamp(i64_at(bytes, 44)),
            expires_at: Timestamp(i64_at(bytes, 52)),
            user: Pseudonym(u128_at(bytes, 60)),
            prediction_id: u64_at(bytes, 76),
            model_version: u32_at(bytes, 84),
            delta_version: u32_at(bytes, 88),
            propensity: f32::from_le_bytes(bytes[92..96].try_into().expect("four bytes")),
            arm: u16_at(bytes, 96),
            position: u16_at(bytes, 98),
            currency: Currency::from_bytes([bytes[100], bytes[101], bytes[102]]).ok()?,
        })
    }
}
