//! Events as they come from many people at once, as records of the edge and as rows of text.
//!
//! 1,000 ads of which a few have most of the traffic, 8 regions, 3 types of device, three million
//! people behind a million addresses, 50,000 events a second. One event in a hundred comes a second
//! time, one in a hundred is followed by another click of the same person on the same ad, and one in
//! a hundred was refused by the edge.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

use reckon_event::{
    Claims, Control, Currency, ImpressionId, Kind, Pseudonym, Reason, Record, SLOT_COUNT, Slot,
    TenantId, Timestamp, Verdict, name_key, truncate_ip,
};

/// Events a second of event time.
const RATE: u64 = 50_000;
const ADS: u64 = 1_000;
const ADS_PER_CAMPAIGN: u64 = 10;
const USERS: u64 = 3_000_000;
const ADDRESSES: u64 = 1_000_000;
const REGIONS: [&str; 8] =
    ["DE-BE", "DE-BY", "FR-IDF", "GB-LND", "US-CA", "US-NY", "PL-MZ", "IN-KA"];
const DEVICES: [&str; 3] = ["mobile", "desktop", "tablet"];
/// Share of events that are special in one way, each.
const SPECIAL_SHARE: u64 = 100;
/// Impressions to a click.
const IMPRESSIONS_PER_CLICK: u64 = 10;
/// How many events later a click follows its impression, a copy its event, a double click its click.
const CLICK_AFTER: u64 = 5 * RATE;
const COPY_AFTER: u64 = RATE;
const DOUBLE_AFTER: u64 = RATE / 2;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    /// Clicks alone, each of an impression of its own: every record is one that rules look at.
    Clicks,
    /// Impressions, and a click to ten of them.
    Shown,
}

/// What of it is hot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing beyond what is usual.
    Uniform,
    /// One ad has all of it.
    HotAd,
    /// One person has half of it.
    HotUser,
    /// One address has half of it.
    HotIp,
}

impl Mix {
    /// By its name.
    pub fn parse(name: &str) -> Self {
        match name {
            "clicks" => Mix::Clicks,
            "shown" => Mix::Shown,
            _ => panic!("{name} is none of clicks, shown"),
        }
    }
}

impl Traffic {
    /// By its name.
    pub fn parse(name: &str) -> Self {
        match name {
            "uniform" => Traffic::Uniform,
            "hot-ad" => Traffic::HotAd,
            "hot-user" => Traffic::HotUser,
            "hot-ip" => Traffic::HotIp,
            _ => panic!("{name} is none of uniform, hot-ad, hot-user, hot-ip"),
        }
    }
}

/// A person at a screen, and the ad that is on it.
#[derive(Clone, Copy)]
struct Scene {
    user: u64,
    address: u64,
    ad: u64,
    region: usize,
    device: usize,
    is_robot: bool,
}

/// One event.
#[derive(Clone, Copy)]
pub struct Event {
    kind: Kind,
    scene: Scene,
    impression: ImpressionId,
    at: Timestamp,
    /// It has come before.
    pub is_copy: bool,
}

/// What will follow of an earlier event, when so many have come.
type Due = (u64, Event);

/// All events in their order; the same arguments give the same events.
pub struct Stream {
    mix: Mix,
    traffic: Traffic,
    start: Timestamp,
    number: u64,
    random: u64,
    /// Hour and next sequence by slot.
    minted: Vec<(u32, u32)>,
    clicks: VecDeque<Due>,
    copies: VecDeque<Due>,
    doubles: VecDeque<Due>,
}

impl Stream {
    /// From a moment on.
    pub fn new(mix: Mix, traffic: Traffic, start: Timestamp) -> Self {
        Stream {
            mix,
            traffic,
            start,
            number: 0,
            random: 1,
            minted: vec![(0, 0); usize::from(SLOT_COUNT)],
            clicks: VecDeque::new(),
            copies: VecDeque::new(),
            doubles: VecDeque::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.random) % below
    }

    fn now(&self) -> Timestamp {
        self.start.plus((self.number * 1_000_000 / RATE).cast_signed())
    }

    /// The next one.
    pub fn next(&mut self) -> Event {
        self.number += 1;
        if let Some(copy) = due(&mut self.copies, self.number) {
            return Event { at: self.now(), is_copy: true, ..copy };
        }
        let event = if let Some(shown) = due(&mut self.clicks, self.number) {
            Event { kind: Kind::Click, at: self.now(), ..shown }
        } else if let Some(click) = due(&mut self.doubles, self.number) {
            self.mint(click.scene, Kind::Click)
        } else {
            let scene = self.scene();
            self.mint(scene, if self.mix == Mix::Clicks { Kind::Click } else { Kind::Impression })
        };
        self.plan(event);
        event
    }

    /// Decides what will follow an event.
    fn plan(&mut self, event: Event) {
        if self.draw(SPECIAL_SHARE) == 0 {
            self.copies.push_back((self.number + COPY_AFTER, event));
        }
        if event.kind == Kind::Click && self.draw(SPECIAL_SHARE) == 0 {
            self.doubles.push_back((self.number + DOUBLE_AFTER, event));
        }
        if event.kind == Kind::Impression && self.draw(IMPRESSIONS_PER_CLICK) == 0 {
            self.clicks.push_back((self.number + CLICK_AFTER, event));
        }
    }

    fn scene(&mut self) -> Scene {
        let is_hot = self.draw(2) == 0;
        let share = self.draw(1 << 20) as f64 / f64::from(1 << 20);
        // The first comes most often: the k-th about as often as 1 / k.
        let ad = (ADS as f64).powf(share) as u64;
        let (user, address) = (1 + self.draw(USERS), 1 + self.draw(ADDRESSES));
        Scene {
            user: if self.traffic == Traffic::HotUser && is_hot { 0 } else { user },
            address: if self.traffic == Traffic::HotIp && is_hot { 0 } else { address },
            ad: if self.traffic == Traffic::HotAd { 1 } else { ad },
            region: self.draw(REGIONS.len() as u64) as usize,
            device: self.draw(DEVICES.len() as u64) as usize,
            is_robot: self.draw(SPECIAL_SHARE) == 0,
        }
    }

    fn mint(&mut self, scene: Scene, kind: Kind) -> Event {
        let at = self.now();
        let slot = Slot::of_key(mixed(scene.user));
        let (hour, next) = &mut self.minted[usize::from(slot.number())];
        if *hour != at.hour() {
            (*hour, *next) = (at.hour(), 0);
        }
        let impression = ImpressionId { incarnation: 1, slot, hour: *hour, sequence: *next };
        *next += 1;
        Event { kind, scene, impression, at, is_copy: false }
    }

    /// A moment at which all minutes so far are closed.
    pub fn closed_at(&self) -> Timestamp {
        self.now().plus(2 * Timestamp::MINUTE)
    }
}

/// The first, if enough events have come for it.
fn due(queue: &mut VecDeque<Due>, number: u64) -> Option<Event> {
    queue.pop_front_if(|(at, _)| *at <= number).map(|(_, event)| event)
}

const fn mixed(number: u64) -> u64 {
    let mixed = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

impl Event {
    /// Appends the record that the edge writes of it, without id and checksum: the log sets them.
    pub fn record(&self, out: &mut Vec<u8>) {
        let Scene { address, ad, region, device, is_robot, .. } = self.scene;
        let ad_id = ad_id(ad);
        let ip = IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address as u32));
        let refused = Verdict::Invalid(Reason::DeclaredRobot);
        let mut record = Record {
            outcome: if is_robot { refused } else { Verdict::Counted },
            lists_version: 1,
            rules_version: 1,
            ip: Some(truncate_ip(ip)),
            ip_tag: mixed(address + 1),
            agent_key: mixed(address % 50),
            ad_id: &ad_id,
            region: REGIONS[region],
            device: DEVICES[device],
            placement: "top",
            ..Record::new(self.kind, self.impression.slot, self.at)
        };
        record.adopt(self.claims(&ad_id));
        record.position = 1;
        record.consent = 1;
        record.encode(out);
    }

    fn claims(&self, ad_id: &str) -> Claims {
        let Scene { user, ad, .. } = self.scene;
        Claims {
            tenant: TenantId::DEFAULT,
            impression: self.impression,
            ad_key: name_key(ad_id),
            campaign_key: mixed(ad / ADS_PER_CAMPAIGN),
            price: 250_000,
            currency: Currency::EUR,
            user: Pseudonym(u128::from(mixed(user)) << 64 | u128::from(mixed(!user))),
            issued_at: self.at,
            expires_at: self.at.plus(Timestamp::DAY),
            model_version: 0,
            delta_version: 1,
            prediction_id: mixed(self.at.0.cast_unsigned()),
            arm: 0,
            propensity: 0.5,
            position: 1,
            explored: false,
            consent: 1,
        }
    }

    /// Its id, its ad, and when it happened in milliseconds since 1970.
    pub fn row(&self, out: &mut dyn Write) -> io::Result<()> {
        let (kind, ad, millis) = (self.kind.name(), ad_id(self.scene.ad), self.at.0 / 1_000);
        writeln!(out, "{kind}-{},{ad},{millis}", self.impression)
    }
}

fn ad_id(ad: u64) -> String {
    format!("ad-{ad}")
}

/// Appends a control record in some slot.
pub fn control(control: Control<'_>, at: Timestamp, out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    let slot = Slot::new(0).expect("there is a first");
    Record { payload: &payload, ..Record::new(Kind::Control, slot, at) }.encode(out);
}
