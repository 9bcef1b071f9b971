//! An event as the edge has stamped it, and the claims of the token it came with.
//!
//! How it stands in the log byte by byte is told in `codec`.

use std::net::IpAddr;

use crate::{
    Currency, ImpressionId, Micros, Pseudonym, RecordId, Slot, TenantId, Timestamp, Verdict,
    name_key,
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// An ad was served.
    Impression = 1,
    /// An ad was viewable.
    View = 2,
    /// An ad was clicked.
    Click = 3,
    /// What the advertiser wanted happened.
    Conversion = 4,
    /// Somebody stayed for a while.
    Dwell = 5,
    /// Somebody shared an item.
    Share = 6,
    /// Somebody hid an item.
    Hide = 7,
    /// Knowledge that came after a period was closed.
    Adjustment = 8,
    /// A decision of the system that counting must see in order.
    Control = 9,
    /// A served row, for training.
    Prediction = 10,
}

impl Kind {
    /// The kind of a number; `None` for one this build does not know.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Kind::Impression,
            2 => Kind::View,
            3 => Kind::Click,
            4 => Kind::Conversion,
            5 => Kind::Dwell,
            6 => Kind::Share,
            7 => Kind::Hide,
            8 => Kind::Adjustment,
            9 => Kind::Control,
            10 => Kind::Prediction,
            _ => return None,
        })
    }

    /// The stable number.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The topic its records go to where a log has several.
    pub const fn topic(self) -> Topic {
        match self {
            Kind::Impression | Kind::View => Topic::Impressions,
            Kind::Click => Topic::Clicks,
            _ => Topic::Events,
        }
    }

    /// The name in requests and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Impression => "impression",
            Kind::View => "view",
            Kind::Click => "click",
            Kind::Conversion => "conversion",
            Kind::Dwell => "dwell",
            Kind::Share => "share",
            Kind::Hide => "hide",
            Kind::Adjustment => "adjustment",
            Kind::Control => "control",
            Kind::Prediction => "prediction",
        }
    }
}

/// One of the lines a log may keep apart. Records are in order within a topic and a slot only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Topic {
    /// What was served and seen.
    Impressions = 0,
    /// Clicks, and nothing else: others bill by them.
    Clicks = 1,
    /// All other kinds, and those of later builds.
    Events = 2,
}

impl Topic {
    /// All topics, in the order of their numbers.
    pub const ALL: [Topic; 3] = [Topic::Impressions, Topic::Clicks, Topic::Events];

    /// The topic of a kind's number, known or not.
    pub fn of_kind_code(code: u8) -> Self {
        Kind::from_code(code).map_or(Topic::Events, Kind::topic)
    }
}

/// How much a record matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stream {
    /// Durable before the reply; counted.
    Events = 1,
    /// May be lost under load; never money.
    Predictions = 2,
}

/// Whose clock says when the event happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SourceClass {
    /// `/click` and pixels: the server's receive time.
    Server = 1,
    /// Batches and authenticated sources: the client's time, clamped.
    Client = 2,
}

/// One thing the edge noticed about an event. Bits are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Fact {
    /// An authenticated source with scope `collect` sent it.
    Trusted = 1,
    /// The client's time lay in the future and was set to the receive time.
    Clamped = 1 << 1,
    /// The price was resolved from the books, not sealed in a token.
    PriceResolved = 1 << 2,
    /// The token's key is not in the ring.
    TokenUnknownKey = 1 << 3,
    /// The token belongs to another tenant.
    TokenForeign = 1 << 4,
    /// The token is cut short or not of a token's form.
    TokenMalformed = 1 << 5,
    /// It waited in the spool for the log to come back.
    Spooled = 1 << 6,
    /// Unsigned clicks count (`click.unsigned = "count"`), one a person and ad.
    UnsignedCounts = 1 << 7,
    /// A regular id of an SDK's session stands in for the event id.
    Sequenced = 1 << 8,
}

/// A set of [`Fact`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts(pub u16);

impl Facts {
    /// With `fact` in it.
    #[must_use]
    pub const fn with(self, fact: Fact) -> Self {
        Facts(self.0 | fact as u16)
    }

    /// True where `fact` is in it.
    pub const fn has(self, fact: Fact) -> bool {
        self.0 & fact as u16 != 0
    }
}

/// What a token seals about a minted impression.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claims {
    /// Whose ad and whose page.
    pub tenant: TenantId,
    /// The impression itself; its slot is the record's.
    pub impression: ImpressionId,
    /// [`crate::name_key`] of the ad.
    pub ad_key: u64,
    /// [`crate::name_key`] of the campaign.
    pub campaign_key: u64,
    /// What a counted click costs.
    pub price: Micros,
    /// In which currency.
    pub currency: Currency,
    /// For whom it was minted.
    pub user: Pseudonym,
    /// When it was minted.
    pub issued_at: Timestamp,
    /// From when on it is expired, by the server's receive time.
    pub expires_at: Timestamp,
    /// The base model's version; 0 where none scored.
    pub model_version: u32,
    /// The online model's version; 0 where none scored.
    pub delta_version: u32,
    /// The logged prediction it came from; 0 where none.
    pub prediction_id: u64,
    /// The experiment's arm.
    pub arm: u16,
    /// The probability with which it was chosen.
    pub propensity: f32,
    /// The position it was served at, from 1; 0 where unknown.
    pub position: u16,
    /// It was shown to explore.
    pub explored: bool,
    /// What the user had said at minting: see [`crate::Consent`].
    pub consent: u8,
}

/// One record. Empty strings and zero keys mean "absent".
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Record<'a> {
    /// Who appended it, and the how-manieth it is. Stamped by the log.
    pub id: RecordId,
    /// What happened.
    pub kind: Kind,
    /// How much it matters.
    pub stream: Stream,
    /// Where it is counted.
    pub slot: Slot,
    /// Whose it is.
    pub tenant: TenantId,
    /// Whose clock `happened` is by.
    pub source_class: SourceClass,
    /// The edge's judgement; [`Verdict::Counted`] means "passed".
    pub outcome: Verdict,
    /// What the edge noticed.
    pub facts: Facts,
    /// Version of the robot and address lists that judged it.
    pub lists_version: u32,
    /// Version of the rules that judged it.
    pub rules_version: u32,
    /// When the server received it.
    pub received: Timestamp,
    /// When it happened.
    pub happened: Timestamp,
    /// Key of the ad; 0 where it is not registered.
    pub ad_key: u64,
    /// Key of the campaign; 0 where the ad is not registered.
    pub campaign_key: u64,
    /// Key of what the ad advertises; 0 where that is not known. No token seals it: it is what the
    /// catalog said when the event came, and no money depends on it.
    pub category_key: u64,
    /// What a counted click costs.
    pub price: Micros,
    /// In which currency.
    pub currency: Currency,
    /// Who did it.
    pub user: Pseudonym,
    /// What the token sealed, where it opened.
    pub claims: Option<Claims>,
    /// The position on the page, from 1; 0 where unknown.
    pub position: u16,
    /// What the user has said: see [`crate::Consent`].
    pub consent: u8,
    /// The address of the day, keyed; 0 where unknown.
    pub ip_tag: u64,
    /// Key of the user agent; 0 where unknown.
    pub agent_key: u64,
    /// Digest of the payload without transport fields; 0 where there is no opaque id.
    pub payload_digest: u64,
    /// Value of a conversion in micros, milliseconds of a dwell.
    pub value: Option<i64>,
    /// The truncated address.
    pub ip: Option<IpAddr>,
    /// The ad's id as the event names it.
    pub ad_id: &'a str,
    /// The client's own id of the event.
    pub event_id: &'a str,
    /// The authenticated source that sent it.
    pub source: &'a str,
    /// Region of the user.
    pub region: &'a str,
    /// Type of the device.
    pub device: &'a str,
    /// Where on the page.
    pub placement: &'a str,
    /// The item of a feed.
    pub item_id: &'a str,
    /// The request that led to it.
    pub request_id: &'a str,
    /// The install of an SDK.
    pub install_id: &'a str,
    /// The session of an SDK.
    pub session_id: &'a str,
    /// The number within the session of an SDK.
    pub session_sequence: Option<u64>,
    /// The bytes of a control record, an adjustment or a prediction.
    pub payload: &'a [u8],
}

impl<'a> Record<'a> {
    /// A record of `kind` in `slot` with everything else absent, as a base for struct update.
    pub const fn new(kind: Kind, slot: Slot, received: Timestamp) -> Record<'a> {
        Record {
            id: RecordId { appender: 0, sequence: 0 },
            kind,
            stream: Stream::Events,
            slot,
            tenant: TenantId::DEFAULT,
            source_class: SourceClass::Server,
            outcome: Verdict::Counted,
            facts: Facts(0),
            lists_version: 0,
            rules_version: 0,
            received,
            happened: received,
            ad_key: 0,
            campaign_key: 0,
            category_key: 0,
            price: 0,
            currency: Currency::NONE,
            user: Pseudonym::NONE,
            claims: None,
            position: 0,
            consent: 0,
            ip_tag: 0,
            agent_key: 0,
            payload_digest: 0,
            value: None,
            ip: None,
            ad_id: "",
            event_id: "",
            source: "",
            region: "",
            device: "",
            placement: "",
            item_id: "",
            request_id: "",
            install_id: "",
            session_id: "",
            session_sequence: None,
            payload: &[],
        }
    }

    /// Orders events of the same microsecond by what they are, not by when they arrived: copies of
    /// one event have the same key, wherever they stand in the log.
    pub fn order_key(&self) -> u64 {
        if let Some(claims) = &self.claims {
            let ImpressionId { incarnation, sequence, .. } = claims.impression;
            return u64::from(incarnation) << 32 | u64::from(sequence);
        }
        match self.session_sequence {
            Some(number) => name_key(self.session_id).wrapping_add(number),
            None if self.event_id.is_empty() => 0,
            None => name_key(self.event_id),
        }
    }

    /// Takes over what a token sealed: it wins over whatever the request said.
    pub const fn adopt(&mut self, claims: Claims) {
        self.tenant = claims.tenant;
        self.slot = claims.impression.slot;
        self.ad_key = claims.ad_key;
        self.campaign_key = claims.campaign_key;
        self.price = claims.price;
        self.currency = claims.currency;
        self.user = claims.user;
        self.claims = Some(claims);
    }
}
