//! A record as the value of a Kafka message: one JSON object, and back to the very same bytes.
//!
//! Others read these topics, so everything stands in it by name: the event, the edge's outcome, and the
//! claims of its token, so that nobody needs a key. `docs/kafka.md` tells the fields. 64-bit keys are
//! hexadecimal text: as JSON numbers they would be rounded by many readers.
//!
//! What the fields cannot say exactly (a kind or a field of a later build, a number that JSON does not
//! have) goes along as `bytes`, and then `bytes` is the record. So any record comes back as it was.

use std::borrow::Cow;
use std::net::IpAddr;

use reckon_event::{
    Claims, Control, Currency, DecodeError, ENVELOPE_BYTES, Facts, Kind, Pseudonym,
    RECORD_BYTES_MAX, Record, RecordId, Slot, SourceClass, Stream, TenantId, Timestamp, Verdict,
    peek, stamp,
};
use serde::{Deserialize, Serialize};

use super::words::{Base64, Id, Impression, Key, Person, Time, is_absent};

/// Where the text of a record's id begins in a value: it is the first field, and always as long.
pub(crate) const ID_AT: usize = r#"{"record_id":""#.len();
/// What the parts of a record take: see `crates/event/src/codec.rs`.
const FIXED_BYTES: usize = 64;
const CLAIMS_BYTES: usize = 104;
const SUBJECT_BYTES: usize = 44;
const FIELD_BYTES: usize = 3;

/// Why a value is no record: it is somebody else's, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    /// Nothing in it.
    #[error("the value is empty")]
    Empty,
    /// Not JSON, or a field is missing or of the wrong type.
    #[error("not a record: {0}")]
    Json(String),
    /// A field holds what no record has.
    #[error("field {0} holds what no record has")]
    Field(&'static str),
    /// Its `bytes` are no record.
    #[error("bytes: {0}")]
    Bytes(DecodeError),
    /// Texts or payload longer than a record may be.
    #[error("longer than a record may be")]
    TooLong,
}

/// The fields. Absent is absent; an unknown field is skipped.
#[derive(Debug, Serialize, Deserialize)]
struct Value<'a> {
    #[serde(default)]
    record_id: Id,
    #[serde(rename = "type", borrow)]
    kind_name: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kind: Option<u8>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    stream: Cow<'a, str>,
    slot: u16,
    #[serde(default)]
    tenant: u32,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    source_class: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    outcome: Cow<'a, str>,
    #[serde(default)]
    received_at: Time,
    #[serde(default)]
    occurred_at: Option<Time>,
    #[serde(default, skip_serializing_if = "is_absent")]
    facts: u16,
    #[serde(default, skip_serializing_if = "is_absent")]
    lists_version: u32,
    #[serde(default, skip_serializing_if = "is_absent")]
    rules_version: u32,
    #[serde(default, skip_serializing_if = "is_absent")]
    ad_key: Key,
    #[serde(default, skip_serializing_if = "is_absent")]
    campaign_key: Key,
    #[serde(default, skip_serializing_if = "is_absent")]
    category_key: Key,
    #[serde(default, skip_serializing_if = "is_absent")]
    price_micros: i64,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    currency: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_absent")]
    user_id: Person,
    #[serde(default, skip_serializing_if = "is_absent")]
    position: u16,
    #[serde(default, skip_serializing_if = "is_absent")]
    consent: u8,
    #[serde(default, skip_serializing_if = "is_absent")]
    ip_tag: Key,
    #[serde(default, skip_serializing_if = "is_absent")]
    agent_key: Key,
    #[serde(default, skip_serializing_if = "is_absent")]
    payload_digest: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<IpAddr>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    ad_id: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    event_id: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    source: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    region: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    device_type: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    placement: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    item_id: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    request_id: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    install_id: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    session_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    control: Cow<'a, str>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    payload: Base64<'a>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    claims: Option<Sealed<'a>>,
    #[serde(default, borrow, skip_serializing_if = "is_absent")]
    bytes: Base64<'a>,
}

/// What a token sealed.
#[derive(Debug, Serialize, Deserialize)]
struct Sealed<'a> {
    impression: Impression,
    tenant: u32,
    ad_key: Key,
    campaign_key: Key,
    price_micros: i64,
    #[serde(borrow)]
    currency: Cow<'a, str>,
    user_id: Person,
    issued_at: Time,
    expires_at: Time,
    model_version: u32,
    delta_version: u32,
    prediction_id: Key,
    arm: u16,
    propensity: f32,
    position: u16,
    explored: bool,
    consent: u8,
}

/// Appends the value of a whole record; true where it has an id of its own.
pub(crate) fn encode(record: &[u8], out: &mut Vec<u8>) -> bool {
    let id = RecordId { appender: u64_at(record, 16), sequence: u64_at(record, 24) };
    match Record::decode(record) {
        Ok((decoded, _)) if is_said(&decoded, record) => write(&Value::of(&decoded), out),
        Ok((decoded, _)) => {
            let bytes = Base64::Bytes(record);
            write(&Value { bytes, ..Value::of(&roughly(decoded)) }, out);
        }
        // A kind of a later build, or what only a later build can read: it goes through as it is.
        Err(_) => write(&Value::opaque(record, id), out),
    }
    id != RecordId::default()
}

fn write(value: &Value<'_>, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("a vector takes all bytes, and keys are text");
}

/// True where the fields tell everything: written again from them it is the same record.
fn is_said(record: &Record<'_>, bytes: &[u8]) -> bool {
    if roughly(*record) != *record {
        return false;
    }
    let mut again = Vec::with_capacity(bytes.len());
    record.encode(&mut again);
    // Between these stands the checksum, which the log sets.
    again.len() == bytes.len() && again[..12] == bytes[..12] && again[16..] == bytes[16..]
}

/// The nearest record that text can tell: of the years 1970 to 2199, and with a probability that is a
/// number.
fn roughly(mut record: Record<'_>) -> Record<'_> {
    let nearest = |time: Timestamp| time.clamp(Timestamp::MIN, Timestamp::MAX.plus(-1));
    record.received = nearest(record.received);
    record.happened = nearest(record.happened);
    if let Some(claims) = &mut record.claims {
        claims.issued_at = nearest(claims.issued_at);
        claims.expires_at = nearest(claims.expires_at);
        if !claims.propensity.is_finite() {
            claims.propensity = 0.0;
        }
    }
    record
}

/// Appends the record of a value to `out`, with its checksum.
pub(crate) fn decode(value: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
    if value.is_empty() {
        return Err(ValueError::Empty);
    }
    let value: Value<'_> =
        serde_json::from_slice(value).map_err(|error| ValueError::Json(error.to_string()))?;
    let begin = out.len();
    match value.bytes.decoded().ok_or(ValueError::Field("bytes"))? {
        bytes if bytes.is_empty() => value.encode(out)?,
        bytes => value.adopt(&bytes, out)?,
    }
    stamp(&mut out[begin..], value.record_id.0).map_err(ValueError::Bytes)?;
    Ok(())
}

impl<'a> Value<'a> {
    /// The fields of a record.
    fn of(record: &Record<'a>) -> Self {
        Value {
            record_id: Id(record.id),
            kind_name: record.kind.name().into(),
            kind: Some(record.kind.code()),
            stream: stream_name(record.stream).into(),
            slot: record.slot.number(),
            tenant: record.tenant.0,
            source_class: source_class_name(record.source_class).into(),
            outcome: record.outcome.name().into(),
            received_at: Time(record.received),
            occurred_at: Some(Time(record.happened)),
            facts: record.facts.0,
            lists_version: record.lists_version,
            rules_version: record.rules_version,
            ad_key: Key(record.ad_key),
            campaign_key: Key(record.campaign_key),
            category_key: Key(record.category_key),
            price_micros: record.price,
            currency: currency_name(record.currency),
            user_id: Person(record.user.0),
            position: record.position,
            consent: record.consent,
            ip_tag: Key(record.ip_tag),
            agent_key: Key(record.agent_key),
            payload_digest: Key(record.payload_digest),
            value: record.value,
            ip: record.ip,
            ad_id: record.ad_id.into(),
            event_id: record.event_id.into(),
            source: record.source.into(),
            region: record.region.into(),
            device_type: record.device.into(),
            placement: record.placement.into(),
            item_id: record.item_id.into(),
            request_id: record.request_id.into(),
            install_id: record.install_id.into(),
            session_id: record.session_id.into(),
            seq: record.session_sequence,
            control: control_name(record).into(),
            payload: Base64::Bytes(record.payload),
            claims: record.claims.as_ref().map(Sealed::of),
            bytes: Base64::default(),
        }
    }

    /// What can be told of a record that this build cannot read.
    fn opaque(record: &'a [u8], id: RecordId) -> Self {
        let peeked = peek(record).expect("append has looked at every record");
        let base = Record::new(Kind::Control, peeked.slot, Timestamp(0));
        Value {
            record_id: Id(id),
            kind_name: "unknown".into(),
            kind: Some(peeked.kind_code),
            bytes: Base64::Bytes(record),
            ..Value::of(&base)
        }
    }

    /// Takes the record that goes along whole.
    fn adopt(&self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ValueError> {
        let peeked = peek(bytes).map_err(ValueError::Bytes)?;
        if peeked.bytes != bytes.len() {
            return Err(ValueError::Field("bytes"));
        }
        if peeked.slot.number() != self.slot {
            return Err(ValueError::Field("slot"));
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes the record that the fields tell.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), ValueError> {
        let kind = self.kind_code()?;
        let payload = self.payload.decoded().ok_or(ValueError::Field("payload"))?;
        let record = self.record(&payload)?;
        if bytes_of(&record) > RECORD_BYTES_MAX {
            return Err(ValueError::TooLong);
        }
        let begin = out.len();
        record.encode(out);
        debug_assert_eq!(
            out.len() - begin,
            bytes_of(&record),
            "what was checked is what is written"
        );
        // Of a kind of a later build the fields that are known here are kept, and it stays unknown.
        out[begin + 3] = kind;
        Ok(())
    }

    fn kind_code(&self) -> Result<u8, ValueError> {
        let named = (0..=u8::MAX).filter_map(Kind::from_code).find(|k| k.name() == self.kind_name);
        match (named.map(Kind::code), self.kind) {
            (Some(named), None) => Ok(named),
            (Some(named), Some(kind)) if named == kind => Ok(kind),
            (None, Some(kind)) if Kind::from_code(kind).is_none() => Ok(kind),
            _ => Err(ValueError::Field("type")),
        }
    }

    fn record<'b>(&'b self, payload: &'b [u8]) -> Result<Record<'b>, ValueError> {
        let slot = Slot::new(self.slot).ok_or(ValueError::Field("slot"))?;
        let mut record = Record {
            id: self.record_id.0,
            stream: stream_of(&self.stream)?,
            tenant: TenantId(self.tenant),
            source_class: source_class_of(&self.source_class)?,
            outcome: outcome_of(&self.outcome)?,
            facts: Facts(self.facts),
            lists_version: self.lists_version,
            rules_version: self.rules_version,
            happened: self.occurred_at.unwrap_or(self.received_at).0,
            ad_key: self.ad_key.0,
            campaign_key: self.campaign_key.0,
            category_key: self.category_key.0,
            price: self.price_micros,
            currency: currency_of(&self.currency)?,
            user: Pseudonym(self.user_id.0),
            position: self.position,
            consent: self.consent,
            ip_tag: self.ip_tag.0,
            agent_key: self.agent_key.0,
            payload_digest: self.payload_digest.0,
            value: self.value,
            ip: self.ip,
            ad_id: &self.ad_id,
            event_id: &self.event_id,
            source: &self.source,
            region: &self.region,
            device: &self.device_type,
            placement: &self.placement,
            item_id: &self.item_id,
            request_id: &self.request_id,
            install_id: &self.install_id,
            session_id: &self.session_id,
            session_sequence: self.seq,
            payload,
            ..Record::new(Kind::Control, slot, self.received_at.0)
        };
        if let Some(sealed) = &self.claims {
            record.adopt(sealed.claims()?);
        }
        if record.slot == slot { Ok(record) } else { Err(ValueError::Field("claims.impression")) }
    }
}

impl<'a> Sealed<'a> {
    fn of(claims: &Claims) -> Self {
        Sealed {
            impression: Impression(claims.impression),
            tenant: claims.tenant.0,
            ad_key: Key(claims.ad_key),
            campaign_key: Key(claims.campaign_key),
            price_micros: claims.price,
            currency: claims.currency.to_string().into(),
            user_id: Person(claims.user.0),
            issued_at: Time(claims.issued_at),
            expires_at: Time(claims.expires_at),
            model_version: claims.model_version,
            delta_version: claims.delta_version,
            prediction_id: Key(claims.prediction_id),
            arm: claims.arm,
            propensity: claims.propensity,
            position: claims.position,
            explored: claims.explored,
            consent: claims.consent,
        }
    }

    fn claims(&self) -> Result<Claims, ValueError> {
        Ok(Claims {
            tenant: TenantId(self.tenant),
            impression: self.impression.0,
            ad_key: self.ad_key.0,
            campaign_key: self.campaign_key.0,
            price: self.price_micros,
            currency: currency_of(&self.currency)?,
            user: Pseudonym(self.user_id.0),
            issued_at: self.issued_at.0,
            expires_at: self.expires_at.0,
            model_version: self.model_version,
            delta_version: self.delta_version,
            prediction_id: self.prediction_id.0,
            arm: self.arm,
            propensity: self.propensity,
            position: self.position,
            explored: self.explored,
            consent: self.consent,
        })
    }
}

/// How long a record is when it is encoded.
fn bytes_of(record: &Record<'_>) -> usize {
    let texts = [
        record.ad_id,
        record.event_id,
        record.source,
        record.region,
        record.device,
        record.placement,
        record.item_id,
        record.request_id,
        record.install_id,
        record.session_id,
    ];
    let field = |bytes: usize| if bytes == 0 { 0 } else { FIELD_BYTES + bytes };
    let texts: usize = texts.iter().map(|text| field(text.len())).sum();
    let keys = [record.ip_tag, record.agent_key, record.payload_digest, record.category_key];
    let numbers = keys.iter().filter(|key| **key != 0).count()
        + usize::from(record.value.is_some())
        + usize::from(record.session_sequence.is_some());
    let ip = match record.ip {
        None => 0,
        Some(IpAddr::V4(_)) => field(4),
        Some(IpAddr::V6(_)) => field(16),
    };
    let whose = if record.claims.is_some() { CLAIMS_BYTES } else { SUBJECT_BYTES };
    let fixed = ENVELOPE_BYTES + FIXED_BYTES + whose;
    fixed + texts + numbers * field(8) + ip + field(record.payload.len())
}

const fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Events => "events",
        Stream::Predictions => "predictions",
    }
}

fn stream_of(name: &str) -> Result<Stream, ValueError> {
    match name {
        "" | "events" => Ok(Stream::Events),
        "predictions" => Ok(Stream::Predictions),
        _ => Err(ValueError::Field("stream")),
    }
}

const fn source_class_name(class: SourceClass) -> &'static str {
    match class {
        SourceClass::Server => "server",
        SourceClass::Client => "client",
    }
}

fn source_class_of(name: &str) -> Result<SourceClass, ValueError> {
    match name {
        "" | "server" => Ok(SourceClass::Server),
        "client" => Ok(SourceClass::Client),
        _ => Err(ValueError::Field("source_class")),
    }
}

fn outcome_of(name: &str) -> Result<Verdict, ValueError> {
    if name.is_empty() {
        return Ok(Verdict::Counted);
    }
    Verdict::all().find(|verdict| verdict.name() == name).ok_or(ValueError::Field("outcome"))
}

fn currency_name(currency: Currency) -> Cow<'static, str> {
    if currency == Currency::NONE { "".into() } else { currency.to_string().into() }
}

fn currency_of(name: &str) -> Result<Currency, ValueError> {
    if name.is_empty() {
        return Ok(Currency::NONE);
    }
    Currency::parse(name).map_err(|_| ValueError::Field("currency"))
}

/// What a control record decides, for those who read the topics by themselves.
fn control_name(record: &Record<'_>) -> &'static str {
    if record.kind != Kind::Control {
        return "";
    }
    match Control::decode(record.payload) {
        Ok(Some(Control::Tick)) => "tick",
        Ok(Some(Control::Rules { .. })) => "rules",
        Ok(Some(Control::Settle)) => "settle",
        Ok(None) | Err(_) => "unknown",
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a record is longer"))
}
