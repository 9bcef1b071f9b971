//! `POST /v1/events`: batches from phones, browsers and servers.
//!
//! Each event stands for itself: a bad one is told by its index and the rest are kept. All that is
//! accepted is durable when the answer goes out, or nothing was accepted.

use std::net::IpAddr;

use reckon_event::{
    Claims, Consent, Fact, Kind, Record, SourceClass, TenantId, TokenError, Verdict, name_key,
    truncate_ip,
};
use reckon_eventlog::{EventLog, Outcome};
use serde::Serialize;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::incoming::{Checked, Event};
use super::judge::{of_token_error, protocol_reason, slot_of};
use super::{Edge, Lists, Source, Visitor, device_of};

/// Who sends a batch.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Whose key it is.
    pub tenant: TenantId,
    /// A `collect` key is trusted, a write key is not.
    pub source: Source,
    /// The name of the source, as opaque ids are scoped by it.
    pub name: String,
}

/// One event that was not taken.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// The field, and what is wrong with it.
    pub reason: String,
}

/// The answer to a batch.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct BatchAnswer {
    /// Events that are durable now.
    pub accepted: usize,
    /// Events that were not taken.
    pub rejected: Vec<Rejected>,
}

/// Why a whole batch was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchError {
    /// Not JSON: what, and where.
    Malformed(String),
    /// More events than a batch may hold.
    TooMany(usize),
    /// The log cannot take it now: nothing was accepted, send it again.
    Unavailable,
}

/// Events between two chances for other requests to run.
const YIELD_EVERY: usize = 256;

/// Takes a batch. Without an authority each event needs a token that opens.
pub async fn ingest(
    edge: &Edge,
    authority: Option<&Authority>,
    visitor: &Visitor<'_>,
    body: &[u8],
    is_lines: bool,
) -> Result<BatchAnswer, BatchError> {
    let events = split(body, is_lines, edge.policy.batch_events_max)?;
    let mut parts = Parts::new(edge.log.partitions(), body.len());
    let mut rejected = Vec::new();
    for (index, json) in events.iter().enumerate() {
        if index % YIELD_EVERY == YIELD_EVERY - 1 {
            tokio::task::yield_now().await;
        }
        if let Err(reason) = take(edge, authority, visitor, json, &mut parts) {
            rejected.push(Rejected { index, reason });
        }
    }
    let accepted = events.len() - rejected.len();
    parts.log(edge).await?;
    use std::sync::atomic::Ordering::Relaxed;
    edge.meters.logged.fetch_add(accepted as u64, Relaxed);
    edge.meters.rejected.fetch_add(rejected.len() as u64, Relaxed);
    Ok(BatchAnswer { accepted, rejected })
}

/// Encoded records, one buffer a partition.
struct Parts {
    buffers: Vec<(Vec<u8>, u32)>,
}

impl Parts {
    fn new(partitions: u16, body_bytes: usize) -> Self {
        let each = body_bytes / usize::from(partitions);
        Parts { buffers: (0..partitions).map(|_| (Vec::with_capacity(each), 0)).collect() }
    }

    fn add(&mut self, log: &dyn EventLog, record: &Record<'_>) {
        let partition = log.partition_of(record.kind, record.slot);
        let (buffer, count) = &mut self.buffers[usize::from(partition)];
        record.encode(buffer);
        *count += 1;
    }

    /// Appends all parts side by side, and waits for all of them.
    async fn log(&self, edge: &Edge) -> Result<(), BatchError> {
        let mut receipts = Vec::with_capacity(self.buffers.len());
        for (partition, (buffer, count)) in (0..).zip(&self.buffers) {
            if *count > 0 {
                receipts.push(edge.log.append(partition, buffer, *count));
            }
        }
        let mut durable = true;
        for receipt in receipts {
            durable &= matches!(receipt.await, Outcome::Durable(_));
        }
        if durable { Ok(()) } else { Err(BatchError::Unavailable) }
    }
}

/// Cuts a body into the JSON of its events.
fn split(body: &[u8], is_lines: bool, events_max: usize) -> Result<Vec<&[u8]>, BatchError> {
    let body = body.trim_ascii();
    let events = match body.first() {
        None => {
            return Err(BatchError::Malformed(
                "the body is empty; send a JSON array or NDJSON".to_owned(),
            ));
        }
        Some(b'[') if !is_lines => {
            let values: Vec<&RawValue> =
                serde_json::from_slice(body).map_err(|error| malformed(&error))?;
            values.into_iter().map(|value| value.get().as_bytes()).collect()
        }
        Some(b'{') if !is_lines => {
            let values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
            let values: Result<Vec<&RawValue>, _> = values.collect();
            values
                .map_err(|error| malformed(&error))?
                .into_iter()
                .map(|value| value.get().as_bytes())
                .collect()
        }
        Some(_) => lines(body),
    };
    if events.len() > events_max { Err(BatchError::TooMany(events.len())) } else { Ok(events) }
}

fn lines(body: &[u8]) -> Vec<&[u8]> {
    let mut events = Vec::with_capacity(body.len() / 256 + 1);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
        let line = body[start..end].trim_ascii();
        if !line.is_empty() {
            events.push(line);
        }
        start = end + 1;
    }
    events
}

fn malformed(error: &serde_json::Error) -> BatchError {
    BatchError::Malformed(format!("not JSON: {error}"))
}

/// Reads, judges and encodes one event.
fn take(
    edge: &Edge,
    authority: Option<&Authority>,
    visitor: &Visitor<'_>,
    json: &[u8],
    parts: &mut Parts,
) -> Result<(), String> {
    let event = Event::parse(json)?;
    let checked = event.check()?;
    let sender = sender_of(authority, visitor, &event)?;
    let happened = happened(edge, visitor, &checked)?;
    let token = match &*event.imp {
        "" => None,
        text => Some(edge.open_token(text, visitor.received).and_then(|claims| {
            let tenant = authority.map_or(claims.tenant, |authority| authority.tenant);
            let age_max = edge.policy.thresholds.token_age(Source::Client);
            match claims.judge(tenant, visitor.received, age_max) {
                Ok(()) => Ok(Ok(claims)),
                // Whose token it is stays known for the record, except to another tenant.
                Err(TokenError::Expired) => Ok(Err(claims)),
                Err(error) => Err(error),
            }
        })),
    };
    if authority.is_none() && !matches!(token, Some(Ok(_))) {
        return Err("imp: without a key every event needs a valid token".to_owned());
    }
    parts.add(&*edge.log, &record_of(edge, authority, &sender, &event, &checked, happened, token));
    Ok(())
}

/// Whose address and agent the event is judged by: what a trusted source says of the user, else the
/// connection's own.
fn sender_of<'a>(
    authority: Option<&Authority>,
    visitor: &Visitor<'a>,
    event: &'a Event<'_>,
) -> Result<Visitor<'a>, String> {
    if authority.is_none_or(|authority| authority.source != Source::Trusted) {
        return Ok(*visitor);
    }
    let address: Option<IpAddr> = match &*event.ip {
        "" => None,
        text => Some(text.parse().map_err(|_| "ip: not an IP address".to_owned())?),
    };
    Ok(Visitor { address, agent: &event.user_agent, ..*visitor })
}

/// When it happened, and whether that had to be clamped.
fn happened(
    edge: &Edge,
    visitor: &Visitor<'_>,
    checked: &Checked,
) -> Result<(reckon_event::Timestamp, bool), String> {
    let Some(time) = checked.occurred_at else {
        return Ok((visitor.received, false));
    };
    let ahead = time.since(visitor.received);
    if -ahead > edge.policy.age_us_max {
        return Err("occurred_at: out of range: too long ago (events.age_s_max)".to_owned());
    }
    if ahead > edge.policy.future_skew_us {
        Ok((visitor.received, true))
    } else {
        Ok((time, false))
    }
}

/// A token that was brought: valid, expired, or not believed.
type Brought = Option<Result<Result<Claims, Claims>, TokenError>>;

fn record_of<'a>(
    edge: &Edge,
    authority: Option<&'a Authority>,
    sender: &Visitor<'a>,
    event: &'a Event<'_>,
    checked: &Checked,
    (happened, clamped): (reckon_event::Timestamp, bool),
    token: Brought,
) -> Record<'a> {
    let tenant = authority.map_or(edge.open_tenant(), |authority| authority.tenant);
    let trusted = authority.is_some_and(|authority| authority.source == Source::Trusted);
    let user = edge.pseudonym(tenant, &event.user_id, sender.received);
    let agent_key = if sender.agent.is_empty() { 0 } else { name_key(sender.agent) };
    let ip_tag = super::click::tag_of(&edge.secrets.tags, sender);
    let slot = slot_of(user, &event.install_id, &event.event_id, ip_tag, agent_key);
    let lists = edge.lists.load();
    let mut record = Record {
        tenant,
        source_class: SourceClass::Client,
        lists_version: lists.version,
        rules_version: edge.policy.rules_version,
        happened,
        user,
        position: event.position.unwrap_or(0),
        consent: event.consent.0.0,
        ip: sender.address.map(truncate_ip),
        ip_tag,
        agent_key,
        value: checked.value,
        ad_id: &event.ad_id,
        event_id: &event.event_id,
        source: authority.map_or("", |authority| &authority.name),
        region: &event.region,
        device: if event.device_type.is_empty() {
            device_of(sender.agent)
        } else {
            &event.device_type
        },
        placement: &event.placement,
        item_id: &event.item_id,
        request_id: &event.request_id,
        install_id: &event.install_id,
        session_id: &event.session_id,
        session_sequence: event.seq,
        ..Record::new(checked.kind, slot, sender.received)
    };
    if trusted {
        record.facts = record.facts.with(Fact::Trusted);
    }
    if clamped {
        record.facts = record.facts.with(Fact::Clamped);
    }
    if !event.event_id.is_empty() || event.seq.is_some() {
        record.payload_digest = digest(event);
    }
    settle(edge, &lists, sender, trusted, token, &mut record);
    record
}

/// Gives the record its ad, its price and its outcome.
fn settle(
    edge: &Edge,
    lists: &Lists,
    sender: &Visitor<'_>,
    trusted: bool,
    token: Brought,
    record: &mut Record<'_>,
) {
    let claims = match token {
        Some(Ok(Ok(claims))) => {
            adopt(record, claims);
            Some(claims)
        }
        Some(Ok(Err(expired))) => {
            adopt(record, expired);
            record.outcome = Verdict::Expired;
            return;
        }
        Some(Err(error)) => {
            name_ad(edge, record);
            let (outcome, facts) = of_token_error(error);
            record.outcome = outcome;
            record.facts.0 |= facts.0;
            return;
        }
        None => {
            name_ad(edge, record);
            None
        }
    };
    if record.ad_key != 0 {
        record.category_key = edge.catalog.category_of(record.tenant, record.ad_key);
    }
    let of_item = record.ad_id.is_empty() && !record.item_id.is_empty();
    let clicked = claims.as_ref().filter(|_| record.kind == Kind::Click);
    let reason = || protocol_reason(sender, clicked, lists, &edge.policy.thresholds);
    record.outcome = match (claims.is_some(), record.ad_key == 0 && !of_item) {
        (false, true) => Verdict::UnknownAd,
        (false, _) if !trusted && !edge.policy.unsigned_counts => Verdict::Unsigned,
        _ => reason().map_or(Verdict::Counted, Verdict::Invalid),
    };
    if claims.is_none() && !trusted && record.outcome == Verdict::Counted {
        record.outcome = Verdict::Unsigned;
        record.facts = record.facts.with(Fact::UnsignedCounts);
    }
}

fn adopt(record: &mut Record<'_>, claims: Claims) {
    record.adopt(claims);
    if record.position == 0 {
        record.position = claims.position;
    }
    if Consent(record.consent) == Consent::UNSAID {
        record.consent = claims.consent;
    }
}

/// Without a token the ad is the one named, at the price in force when it happened.
fn name_ad(edge: &Edge, record: &mut Record<'_>) {
    if record.ad_id.is_empty() {
        return;
    }
    let Some(ad) = edge.catalog.ad_by_id(record.tenant, record.ad_id) else {
        return;
    };
    record.ad_key = ad.key;
    record.campaign_key = ad.campaign_key;
    if record.kind != Kind::Click {
        return;
    }
    if let Some(campaign) = edge.catalog.campaign(ad.tenant, ad.campaign_key) {
        record.price = campaign.price_at(record.happened);
        record.currency = campaign.currency;
        record.facts = record.facts.with(Fact::PriceResolved);
    }
}

/// A digest of what the event says, without what a retry changes. Two events with one id and two
/// digests are a conflict.
fn digest(event: &Event<'_>) -> u64 {
    let mut hasher = Xxh3::new();
    let texts = [
        &event.kind,
        &event.imp,
        &event.ad_id,
        &event.item_id,
        &event.user_id,
        &event.occurred_at,
        &event.timestamp,
        &event.device_type,
        &event.region,
        &event.placement,
        &event.request_id,
    ];
    for text in texts {
        hasher.update(&(text.len() as u32).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.update(&event.position.unwrap_or(0).to_le_bytes());
    hasher.update(&event.value.map_or(0, f64::to_bits).to_le_bytes());
    hasher.update(&[event.consent.0.0]);
    hasher.digest().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, is_lines: bool, expect: &[&str]) {
        let events = split(body.as_bytes(), is_lines, 3).expect("well formed");
        let events: Vec<&str> =
            events.iter().map(|event| std::str::from_utf8(event).expect("UTF-8")).collect();
        assert_eq!(events, expect);
    }

    #[test]
    fn bodies_are_cut_into_events() {
        check(r#"[{"a":1}, {"b":"]"}]"#, false, &[r#"{"a":1}"#, r#"{"b":"]"}"#]);
        check("{\"a\":1}\r\n\n{\"b\":2}\n", true, &[r#"{"a":1}"#, r#"{"b":2}"#]);
        check("{\"a\":1}\n{\"b\":2}", false, &[r#"{"a":1}"#, r#"{"b":2}"#]);
        check(r#" {"a":1} "#, false, &[r#"{"a":1}"#]);
        check("{\"a\":1}\nnonsense", true, &[r#"{"a":1}"#, "nonsense"]);
        check("[]", false, &[]);
    }

    #[test]
    fn bodies_that_are_no_batch_are_refused() {
        let error = |body: &str| split(body.as_bytes(), false, 3).expect_err("refused");
        assert!(matches!(error(""), BatchError::Malformed(_)));
        assert!(matches!(error("[{]"), BatchError::Malformed(_)));
        assert!(matches!(error("{\"a\":"), BatchError::Malformed(_)));
        assert_eq!(error("[1,2,3,4]"), BatchError::TooMany(4));
    }
}
