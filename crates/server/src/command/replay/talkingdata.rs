//! Clicks as TalkingData published them (2017): `ip,app,device,os,channel,click_time,attributed_time,
//! is_attributed`, with a heading line.
//!
//! The app is the ad, the channel the placement. The address is an anonymised number; it becomes an
//! address of its own in a private range, so that addresses are equal where numbers were. Device and
//! system become a user agent. Times have no zone and are taken as UTC.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reckon_event::{Kind, Timestamp};

use super::batch::{Ad, Outgoing, Parsed, event_id, lane_of};
use super::read::{Account, Lines};
use crate::command::client::figures::Span;

const HEADING: &str = "ip,app,device,os,channel,click_time,";
/// The most apps told apart.
const APPS_MAX: usize = 1_000_000;

/// Reads clicks.
pub struct Clicks {
    conversions: bool,
    named: HashSet<u32>,
}

impl Clicks {
    /// With or without the conversions that follow from clicks.
    pub fn new(conversions: bool) -> Self {
        Clicks { conversions, named: HashSet::new() }
    }
}

impl Lines for Clicks {
    fn account(&self) -> Account {
        Account { advertiser_id: "talkingdata", campaign_id: "talkingdata", cpc_micros: 10_000 }
    }

    fn parse(&mut self, number: u64, line: &str) -> Result<Parsed, String> {
        if line.starts_with(HEADING) {
            return Ok(Parsed::default());
        }
        let row = Row::parse(line)?;
        let mut events =
            vec![row.event(Kind::Click, row.clicked, &event_id(number, line.as_bytes(), ""))];
        if let Some(attributed) = row.attributed.filter(|_| self.conversions) {
            let id = event_id(number, line.as_bytes(), "-c");
            events.push(row.event(Kind::Conversion, attributed, &id));
        }
        if self.named.len() >= APPS_MAX && !self.named.contains(&row.app) {
            return Err(format!("app: more than {APPS_MAX} different ones"));
        }
        let ad = self.named.insert(row.app).then(|| Ad {
            ad_id: format!("app-{}", row.app),
            destination_url: format!("https://apps.example/app-{}", row.app),
        });
        Ok(Parsed { events, ad })
    }
}

/// One row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    ip: u32,
    app: u32,
    device: u32,
    os: u32,
    channel: u32,
    clicked: Timestamp,
    attributed: Option<Timestamp>,
}

impl Row {
    fn parse(line: &str) -> Result<Self, String> {
        let mut columns = line.split(',');
        let mut text =
            |name: &str| columns.next().ok_or_else(|| format!("{name}: the column is missing"));
        let number = |name: &str, text: &str| {
            text.parse().map_err(|_| format!("{name}: {text:?} is not a number"))
        };
        let row = Row {
            ip: number("ip", text("ip")?)?,
            app: number("app", text("app")?)?,
            device: number("device", text("device")?)?,
            os: number("os", text("os")?)?,
            channel: number("channel", text("channel")?)?,
            clicked: time("click_time", text("click_time")?)?,
            attributed: match text("attributed_time")? {
                "" => None,
                at => Some(time("attributed_time", at)?),
            },
        };
        text("is_attributed")?;
        match columns.next() {
            None => Ok(row),
            Some(_) => Err("there are more than 8 columns".to_owned()),
        }
    }

    fn event(&self, kind: Kind, at: Timestamp, event_id: &str) -> Outgoing {
        let Row { ip, app, device, os, channel, .. } = *self;
        let address = address_of(ip);
        // Only digits and fixed words: nothing needs to be escaped.
        let json = format!(
            "{{\"type\":\"{}\",\"ad_id\":\"app-{app}\",\"occurred_at\":\"{at}\",\"ip\":\"{address}\",\
             \"user_agent\":\"app (device {device}; os {os})\",\"device_type\":\"device-{device}\",\
             \"placement\":\"channel-{channel}\",\"event_id\":\"{event_id}\"}}",
            kind.name()
        );
        Outgoing { json, kind, lane: lane_of(&ip.to_le_bytes()), span: Some(Span::at(at)) }
    }
}

/// `2017-11-06 16:00:00` as UTC.
fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    let rfc3339 = format!("{}Z", text.replacen(' ', "T", 1));
    Timestamp::parse(&rfc3339).map_err(|error| format!("{name}: {text:?} is {error}"))
}

/// A number's address: 10.0.0.0/8 where it fits, else a unique local one.
fn address_of(number: u32) -> IpAddr {
    let [a, b, c, d] = number.to_be_bytes();
    let half = |high, low| u16::from_be_bytes([high, low]);
    match a {
        0 => IpAddr::V4(Ipv4Addr::new(10, b, c, d)),
        _ => IpAddr::V6(Ipv6Addr::new(0xfd00, half(a, b), half(c, d), 0, 0, 0, 0, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "48646,12,1,19,178,2017-11-06 16:00:00,2017-11-06 17:01:02,1";

    #[test]
    fn a_click_becomes_an_event() {
        let mut clicks = Clicks::new(false);
        let parsed = clicks.parse(2, LINE).expect("a click");
        let [event] = parsed.events.as_slice() else { panic!("one event") };
        let json: serde_json::Value = serde_json::from_str(&event.json).expect("JSON");
        let expect = serde_json::json!({
            "type": "click", "ad_id": "app-12", "occurred_at": "2017-11-06T16:00:00Z", "ip": "10.0.190.6",
            "user_agent": "app (device 1; os 19)", "device_type": "device-1", "placement": "channel-178",
            "event_id": event_id(2, LINE.as_bytes(), ""),
        });
        assert_eq!(json, expect);
        let ad = Ad {
            ad_id: "app-12".to_owned(),
            destination_url: "https://apps.example/app-12".to_owned(),
        };
        assert_eq!(parsed.ad, Some(ad));
        assert_eq!(clicks.parse(3, LINE).expect("a click").ad, None, "an ad is named once");
    }

    #[test]
    fn conversions_come_where_they_are_asked_for() {
        let parsed = Clicks::new(true).parse(2, LINE).expect("a click");
        let kinds: Vec<Kind> = parsed.events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [Kind::Click, Kind::Conversion]);
        assert!(parsed.events[1].json.contains("2017-11-06T17:01:02Z"));
        assert_eq!(parsed.events[0].lane, parsed.events[1].lane);
    }

    #[test]
    fn the_heading_is_no_event() {
        let line = "ip,app,device,os,channel,click_time,attributed_time,is_attributed";
        assert_eq!(Clicks::new(false).parse(1, line), Ok(Parsed::default()));
    }

    #[test]
    fn numbers_keep_apart_as_addresses() {
        let addresses: HashSet<IpAddr> =
            [0, 1, 255, 256, 1 << 24, 2 << 24, u32::MAX].map(address_of).into();
        assert_eq!(addresses.len(), 7);
        assert_eq!(address_of(364_778).to_string(), "10.5.144.234");
    }

    #[track_caller]
    fn refused(line: &str, part: &str) {
        let error = Clicks::new(false).parse(2, line).expect_err("refused");
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused("x,12,1,19,178,2017-11-06 16:00:00,,0", "ip: \"x\"");
        refused("1,12,1,19,178,yesterday,,0", "click_time");
        refused("1,12,1,19", "channel: the column is missing");
        refused("1,12,1,19,178,2017-11-06 16:00:00,,0,9", "more than 8");
    }
}
