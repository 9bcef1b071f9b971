//! One event of a batch, as a client writes it in JSON.
//!
//! Texts are borrowed from the body where nothing is escaped. Three readers take turns: a fast one for
//! what nearly everybody writes (`scan`), `serde` for everything else, and a slow one that knows the
//! name of the field with a wrong type.

use std::borrow::Cow;
use std::fmt;

use reckon_event::{Consent, Kind, Timestamp, valid_name};
use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::scan::scan;

/// The fields of `POST /v1/events`, before any of them is believed. Unknown fields are ignored, so
/// that a newer client may talk to an older server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Event<'a> {
    /// What happened.
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    /// The token.
    #[serde(borrow)]
    pub imp: Text<'a>,
    /// The ad.
    #[serde(borrow)]
    pub ad_id: Text<'a>,
    /// The item of a feed.
    #[serde(borrow)]
    pub item_id: Text<'a>,
    /// The user.
    #[serde(borrow)]
    pub user_id: Text<'a>,
    /// When it happened, by the client's clock.
    #[serde(borrow)]
    pub occurred_at: Text<'a>,
    /// The same, by an older name.
    #[serde(borrow)]
    pub timestamp: Text<'a>,
    /// Type of the device.
    #[serde(borrow)]
    pub device_type: Text<'a>,
    /// Region of the user.
    #[serde(borrow)]
    pub region: Text<'a>,
    /// Where on the page.
    #[serde(borrow)]
    pub placement: Text<'a>,
    /// Position on the page.
    pub position: Option<u16>,
    /// Value of a conversion, seconds of a dwell.
    pub value: Option<f64>,
    /// The request that led to it.
    #[serde(borrow)]
    pub request_id: Text<'a>,
    /// Consent: a flag, or bits.
    pub consent: Said,
    /// The install of an SDK.
    #[serde(borrow)]
    pub install_id: Text<'a>,
    /// The session of an SDK.
    #[serde(borrow)]
    pub session_id: Text<'a>,
    /// The number within the session.
    pub seq: Option<u64>,
    /// The client's own id of the event.
    #[serde(borrow)]
    pub event_id: Text<'a>,
    /// The user's address, from authenticated sources.
    #[serde(borrow)]
    pub ip: Text<'a>,
    /// The user's agent, from authenticated sources.
    #[serde(borrow)]
    pub user_agent: Text<'a>,
}

/// A text, borrowed where it can be; `null` and absent are empty.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Text<'a>(pub(super) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }

            fn visit_unit<E>(self) -> Result<Text<'de>, E> {
                Ok(Text::default())
            }
        }

        // `any` lets a null through, which `str` would refuse.
        deserializer.deserialize_any(TextVisitor)
    }
}

/// What a request says of consent: `true`, `false`, or a number of bits below 256, of which 0 is
/// `false`; absent and `null` say nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Said(pub Consent);

impl<'de> Deserialize<'de> for Said {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ConsentVisitor;

        impl Visitor<'_> for ConsentVisitor {
            type Value = Said;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a number from 0 to 255")
            }

            fn visit_bool<E>(self, flag: bool) -> Result<Said, E> {
                Ok(Said(Consent::said(u8::from(flag))))
            }

            fn visit_u64<E: serde::de::Error>(self, bits: u64) -> Result<Said, E> {
                let bits = u8::try_from(bits).map_err(|_| E::custom("must be 0 to 255"))?;
                Ok(Said(Consent::said(bits)))
            }

            fn visit_unit<E>(self) -> Result<Said, E> {
                Ok(Said(Consent::UNSAID))
            }
        }

        deserializer.deserialize_any(ConsentVisitor)
    }
}

/// An event whose fields have all been looked at.
#[derive(Debug, Clone, Copy)]
pub struct Checked {
    /// What happened.
    pub kind: Kind,
    /// When, by the client's clock, if it says.
    pub occurred_at: Option<Timestamp>,
    /// Value in micros (conversion) or milliseconds (dwell).
    pub value: Option<i64>,
}

impl<'a> Event<'a> {
    /// Reads one event; the error names the field.
    pub fn parse(json: &'a [u8]) -> Result<Self, String> {
        if let Some(event) = scan(json) {
            return Ok(event);
        }
        serde_json::from_slice(json).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => describe(json),
            _ => format!("malformed JSON: {error}"),
        })
    }

    /// Looks at every field; the error names the field and the fix.
    pub fn check(&self) -> Result<Checked, String> {
        let kind = match &*self.kind {
            "impression" => Kind::Impression,
            "view" => Kind::View,
            "click" => Kind::Click,
            "conversion" => Kind::Conversion,
            "dwell" => Kind::Dwell,
            "share" => Kind::Share,
            "hide" => Kind::Hide,
            "" => return Err("type: missing".to_owned()),
            other => {
                let other: String = other.chars().take(32).collect();
                return Err(format!(
                    "type: {other:?} is none of impression, view, click, conversion, dwell, share, hide"
                ));
            }
        };
        self.check_names()?;
        self.check_subject(kind)?;
        let occurred_at = match (&*self.occurred_at, &*self.timestamp) {
            ("", "") => None,
            ("", text) => {
                Some(Timestamp::parse(text).map_err(|error| format!("timestamp: {error}"))?)
            }
            (text, _) => {
                Some(Timestamp::parse(text).map_err(|error| format!("occurred_at: {error}"))?)
            }
        };
        Ok(Checked { kind, occurred_at, value: self.check_value(kind)? })
    }

    fn check_names(&self) -> Result<(), String> {
        let names = [
            ("ad_id", &self.ad_id),
            ("item_id", &self.item_id),
            ("user_id", &self.user_id),
            ("device_type", &self.device_type),
            ("region", &self.region),
            ("placement", &self.placement),
            ("request_id", &self.request_id),
            ("install_id", &self.install_id),
            ("session_id", &self.session_id),
            ("event_id", &self.event_id),
        ];
        for (field, text) in names {
            if !text.is_empty() {
                valid_name(text).map_err(|error| format!("{field}: {error}"))?;
            }
        }
        if self.user_agent.len() > 1_024 {
            return Err("user_agent: must be at most 1024 bytes".to_owned());
        }
        Ok(())
    }

    fn check_subject(&self, kind: Kind) -> Result<(), String> {
        let named = !self.imp.is_empty() || !self.ad_id.is_empty() || !self.item_id.is_empty();
        if !named {
            return Err(format!("ad_id: a {} needs imp, ad_id or item_id", kind.name()));
        }
        if self.seq.is_some() && (self.install_id.is_empty() || self.session_id.is_empty()) {
            return Err("seq: needs install_id and session_id beside it".to_owned());
        }
        Ok(())
    }

    fn check_value(&self, kind: Kind) -> Result<Option<i64>, String> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let scale = if kind == Kind::Dwell { 1e3 } else { 1e6 };
        if !value.is_finite() || value.abs() > 1e12 {
            return Err("value: must be a number within 1e12".to_owned());
        }
        Ok(Some((value * scale).round() as i64))
    }
}

/// The slow reader: which field has the wrong type?
fn describe(json: &[u8]) -> String {
    let mut reader = serde_json::Deserializer::from_slice(json);
    match serde_path_to_error::deserialize::<_, Event<'_>>(&mut reader) {
        Err(error) if error.path().iter().next().is_some() => {
            format!("{}: {}", error.path(), strip_place(&error.inner().to_string()))
        }
        Err(error) => strip_place(&error.inner().to_string()).to_owned(),
        Ok(_) => "not an event".to_owned(),
    }
}

fn strip_place(message: &str) -> &str {
    message.split(" at line ").next().unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(json: &str, part: &str) {
        let error =
            Event::parse(json.as_bytes()).and_then(|event| event.check()).expect_err("refused");
        assert!(error.contains(part), "{json}: {error}");
    }

    #[test]
    fn a_good_event_is_taken_as_written() {
        let json = r#"{"type":"conversion","ad_id":"a\u0041","occurred_at":"2026-11-21T10:00:00Z","value":1.5,
                       "user_id":null,"consent":true,"later":{"x":[1]}}"#;
        let event = Event::parse(json.as_bytes()).expect("well formed");
        let checked = event.check().expect("good");
        assert_eq!((checked.kind, checked.value), (Kind::Conversion, Some(1_500_000)));
        assert_eq!((&*event.ad_id, &*event.user_id, event.consent.0), ("aA", "", Consent::GIVEN));
    }

    #[track_caller]
    fn says(consent: &str, said: Consent) {
        let json = format!(r#"{{"type":"click","ad_id":"a"{consent}}}"#);
        let event = Event::parse(json.as_bytes()).expect("well formed");
        assert_eq!(event.consent.0, said, "{consent}");
    }

    #[test]
    fn a_no_is_told_from_nothing() {
        says("", Consent::UNSAID);
        says(r#","consent":null"#, Consent::UNSAID);
        says(r#","consent":true"#, Consent::GIVEN);
        says(r#","consent":false"#, Consent::REFUSED);
        says(r#","consent":0"#, Consent::REFUSED);
        says(r#","consent":6"#, Consent(6));
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused(r#"{"ad_id":"a"}"#, "type: missing");
        refused(r#"{"type":"clik","ad_id":"a"}"#, "type: \"clik\"");
        refused(r#"{"type":"click"}"#, "ad_id: a click needs");
        refused(r#"{"type":"click","ad_id":7}"#, "ad_id: invalid type");
        refused(r#"{"type":"click","ad_id":"a","position":"top"}"#, "position: invalid type");
        refused(r#"{"type":"click","ad_id":"a","position":-1}"#, "position: invalid value");
        refused(
            r#"{"type":"click","ad_id":"a","occurred_at":"yesterday"}"#,
            "occurred_at: not an RFC 3339",
        );
        refused(
            r#"{"type":"click","ad_id":"a","timestamp":"1960-01-01T00:00:00Z"}"#,
            "timestamp: out of range",
        );
        refused(r#"{"type":"click","ad_id":"a","seq":1}"#, "seq: needs install_id");
        refused(r#"{"type":"click","ad_id":"a","value":1e99}"#, "value: must be");
        refused(r#"{"type":"click","ad_id":"a","consent":300}"#, "consent: must be 0 to 255");
        refused(
            &format!(r#"{{"type":"click","ad_id":"{}"}}"#, "x".repeat(129)),
            "ad_id: must be at most",
        );
        refused("{\"type\":\"click\",", "malformed JSON");
        refused("[1]", "invalid type");
    }
}
