//! Reckon's own events, one JSON object a line, sent as they stand.
//!
//! Two things are added. An event without an id of its own (no `event_id`, no `seq`, and no token
//! that is its id) gets one made of its line, so that the file may be sent again. And an `ad_id`
//! without a token is registered under the campaign `replay` at no price, unless it is there already.

use std::borrow::Cow;
use std::collections::HashSet;

use reckon_event::{Kind, Timestamp, valid_name};
use serde::Deserialize;

use super::batch::{Ad, Outgoing, Parsed, event_id, lane_of};
use super::read::{Account, Lines};
use crate::command::client::figures::Span;

/// The most ads told apart.
const ADS_MAX: usize = 1_000_000;

/// Reads events.
#[derive(Default)]
pub struct Events {
    named: HashSet<String>,
}

/// What has to be known of an event to send it; the server judges the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    imp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ad_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    install_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    ip: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_agent: Option<Cow<'a, str>>,
    #[serde(borrow)]
    occurred_at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    seq: Option<u64>,
}

impl Lines for Events {
    fn account(&self) -> Account {
        Account { advertiser_id: "replay", campaign_id: "replay", cpc_micros: 0 }
    }

    fn parse(&mut self, number: u64, line: &str) -> Result<Parsed, String> {
        let line = line.trim();
        if line.is_empty() {
            return Ok(Parsed::default());
        }
        let head: Head<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let kind = head.kind()?;
        let json = if head.has_id(kind) {
            line.to_owned()
        } else {
            with_id(line, &event_id(number, line.as_bytes(), ""))?
        };
        let event = Outgoing { json, kind, lane: head.lane(), span: head.span() };
        Ok(Parsed { events: vec![event], ad: self.unnamed(&head) })
    }
}

impl Events {
    /// The ad an event names for the first time, without a token that vouches for it.
    fn unnamed(&mut self, head: &Head<'_>) -> Option<Ad> {
        let ad_id = text(&head.ad_id);
        let is_new = text(&head.imp).is_empty()
            && valid_name(ad_id).is_ok()
            && self.named.len() < ADS_MAX
            && !self.named.contains(ad_id);
        if !is_new {
            return None;
        }
        self.named.insert(ad_id.to_owned());
        let path: String = url::form_urlencoded::byte_serialize(ad_id.as_bytes()).collect();
        Some(Ad {
            ad_id: ad_id.to_owned(),
            destination_url: format!("https://replay.example/{path}"),
        })
    }
}

impl Head<'_> {
    fn kind(&self) -> Result<Kind, String> {
        let name = text(&self.kind);
        let kinds = [
            Kind::Impression,
            Kind::View,
            Kind::Click,
            Kind::Conversion,
            Kind::Dwell,
            Kind::Share,
            Kind::Hide,
        ];
        let known = kinds.into_iter().find(|kind| kind.name() == name);
        known.ok_or_else(|| format!("type: {name:?} is no kind of event"))
    }

    /// True where a second copy is recognised by what the event brings along.
    fn has_id(&self, kind: Kind) -> bool {
        let by_token = matches!(kind, Kind::Impression | Kind::View | Kind::Click);
        self.seq.is_some()
            || !text(&self.event_id).is_empty()
            || (by_token && !text(&self.imp).is_empty())
    }

    /// As slots are chosen: by token, else user, else install, else address and agent.
    fn lane(&self) -> u64 {
        let by_name = [&self.imp, &self.user_id, &self.install_id]
            .map(text)
            .into_iter()
            .find(|name| !name.is_empty());
        match by_name {
            Some(name) => lane_of(name.as_bytes()),
            None => {
                lane_of(text(&self.ip).as_bytes())
                    ^ lane_of(text(&self.user_agent).as_bytes()).rotate_left(32)
            }
        }
    }

    fn span(&self) -> Option<Span> {
        let at = self.occurred_at.as_deref().or(self.timestamp.as_deref())?;
        Timestamp::parse(at).ok().map(Span::at)
    }
}

fn text<'a>(field: &'a Option<Cow<'_, str>>) -> &'a str {
    field.as_deref().unwrap_or_default()
}

/// Puts an event id into an object that has none. A field given as `null` or empty stands before it
/// and would be a second one of its name, so that is told rather than guessed.
fn with_id(line: &str, event_id: &str) -> Result<String, String> {
    if line.contains("\"event_id\"") {
        return Err("event_id: is empty; leave it out, or give one".to_owned());
    }
    let (_, rest) = line.split_once('{').ok_or("an event is a JSON object")?;
    let comma = if rest.trim_start().starts_with('}') { "" } else { "," };
    Ok(format!("{{\"event_id\":\"{event_id}\"{comma}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Parsed {
        Events::default().parse(7, line).expect("an event")
    }

    #[test]
    fn events_with_an_id_are_sent_as_they_stand() {
        for line in [
            r#"{"type":"click","ad_id":"a","event_id":"e1"}"#,
            r#"{"type":"view","imp":"T"}"#,
            r#"{"type":"click","ad_id":"a","install_id":"i","session_id":"s","seq":1,"x":[{"y":1}]}"#,
        ] {
            assert_eq!(parse(line).events[0].json, line);
        }
    }

    #[test]
    fn others_get_the_id_of_their_line() {
        for line in [r#"{"type":"click","ad_id":"a"}"#, r#" { "type":"conversion","imp":"T"}"#] {
            let json: serde_json::Value =
                serde_json::from_str(&parse(line).events[0].json).expect("JSON");
            assert_eq!(
                json["event_id"].as_str(),
                Some(event_id(7, line.trim().as_bytes(), "").as_str())
            );
            assert!(json["type"].is_string());
        }
    }

    #[test]
    fn ads_are_registered_where_no_token_vouches_for_them() {
        let ad = parse(r#"{"type":"click","ad_id":"a b"}"#).ad.expect("an ad");
        assert_eq!(
            (ad.ad_id.as_str(), ad.destination_url.as_str()),
            ("a b", "https://replay.example/a+b")
        );
        assert_eq!(parse(r#"{"type":"click","ad_id":"a","imp":"T"}"#).ad, None);
        assert_eq!(parse(r#"{"type":"click","item_id":"a"}"#).ad, None);
    }

    #[test]
    fn one_person_is_one_lane() {
        let lane = |line: &str| parse(line).events[0].lane;
        let user = lane(r#"{"type":"click","ad_id":"a","user_id":"u"}"#);
        assert_eq!(user, lane(r#"{"type":"view","ad_id":"b","user_id":"u","ip":"1.1.1.1"}"#));
        assert_ne!(user, lane(r#"{"type":"click","ad_id":"a","user_id":"v"}"#));
        let address = lane(r#"{"type":"click","ad_id":"a","ip":"1.1.1.1","user_agent":"x"}"#);
        assert_ne!(
            address,
            lane(r#"{"type":"click","ad_id":"a","ip":"1.1.1.1","user_agent":"y"}"#)
        );
    }

    #[test]
    fn what_is_no_event_is_told() {
        let refused = |line: &str| Events::default().parse(7, line).expect_err("refused");
        assert!(refused("{\"type\":\"clik\"}").contains("clik"));
        assert!(refused("[1]").contains("type"));
        assert!(refused("{\"type\":\"click\",\"event_id\":\"\"}").contains("event_id"));
        assert!(refused("{\"type\":").contains("EOF"));
        assert_eq!(Events::default().parse(1, "  "), Ok(Parsed::default()));
    }
}
