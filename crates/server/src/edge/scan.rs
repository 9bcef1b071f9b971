//! The fast reader of an event: flat JSON as nearly every client writes it.
//!
//! It knows an object of texts without escapes, whole numbers and flags, and gives up on anything else:
//! then the careful reader decides, which also words the errors. So it need only be right where it
//! answers, and a test holds each of its answers against the other's.

use std::borrow::Cow;

use reckon_event::Consent;

use super::incoming::{Event, Said, Text};

/// Reads an event; `None` where the careful reader must.
pub fn scan(json: &[u8]) -> Option<Event<'_>> {
    let json = std::str::from_utf8(json).ok()?;
    let mut scanner = Scanner { json, at: 0 };
    let mut event = Event::default();
    let mut seen = 0;
    scanner.skip(b'{')?;
    if scanner.peek()? == b'}' {
        return None;
    }
    loop {
        let name = scanner.text()?;
        scanner.skip(b':')?;
        let value = scanner.value()?;
        let bit = event.set(name, value)?;
        // The careful reader knows what to say of a field that comes twice.
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
        match scanner.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    scanner.is_done().then_some(event)
}

/// A value that the fast reader knows.
#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
}

impl<'a> Event<'a> {
    /// Sets a field; gives its bit, 0 for one that is ignored.
    fn set(&mut self, name: &str, value: Value<'a>) -> Option<u32> {
        let texts: (&mut Text<'a>, u32) = match (name, &value) {
            ("type", _) => (&mut self.kind, 1),
            ("imp", _) => (&mut self.imp, 1 << 1),
            ("ad_id", _) => (&mut self.ad_id, 1 << 2),
            ("item_id", _) => (&mut self.item_id, 1 << 3),
            ("user_id", _) => (&mut self.user_id, 1 << 4),
            ("occurred_at", _) => (&mut self.occurred_at, 1 << 5),
            ("timestamp", _) => (&mut self.timestamp, 1 << 6),
            ("device_type", _) => (&mut self.device_type, 1 << 7),
            ("region", _) => (&mut self.region, 1 << 8),
            ("placement", _) => (&mut self.placement, 1 << 9),
            ("request_id", _) => (&mut self.request_id, 1 << 10),
            ("install_id", _) => (&mut self.install_id, 1 << 11),
            ("session_id", _) => (&mut self.session_id, 1 << 12),
            ("event_id", _) => (&mut self.event_id, 1 << 13),
            ("ip", _) => (&mut self.ip, 1 << 14),
            ("user_agent", _) => (&mut self.user_agent, 1 << 15),
            (_, Value::Text(_)) if !["position", "value", "consent", "seq"].contains(&name) => {
                return Some(0);
            }
            _ => return self.set_number(name, &value),
        };
        let Value::Text(text) = value else { return None };
        *texts.0 = Text::from(text);
        Some(texts.1)
    }

    fn set_number(&mut self, name: &str, value: &Value<'_>) -> Option<u32> {
        match (name, value) {
            ("position", Value::Number(number)) => {
                self.position = Some(u16::try_from(*number).ok()?);
                Some(1 << 16)
            }
            ("seq", Value::Number(number)) => {
                self.seq = Some(*number);
                Some(1 << 17)
            }
            ("consent", Value::Number(bits)) => {
                self.consent = Said(Consent::said(u8::try_from(*bits).ok()?));
                Some(1 << 18)
            }
            ("consent", Value::Flag(flag)) => {
                self.consent = Said(Consent::said(u8::from(*flag)));
                Some(1 << 18)
            }
            _ => None,
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Text(Cow::Borrowed(text))
    }
}

struct Scanner<'a> {
    json: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn skip_space(&mut self) {
        let bytes = self.json.as_bytes();
        while bytes.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.json.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn skip(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// A text without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.skip(b'"')?;
        let rest = &self.json.as_bytes()[self.at..];
        let end = plain_bytes(rest);
        if *rest.get(end)? != b'"' {
            return None;
        }
        let text = self.json.get(self.at..self.at + end)?;
        self.at += end + 1;
        Some(text)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => self.text().map(Value::Text),
            b'0'..=b'9' => self.number().map(Value::Number),
            b't' => self.word("true").map(|()| Value::Flag(true)),
            b'f' => self.word("false").map(|()| Value::Flag(false)),
            _ => None,
        }
    }

    /// A whole number of at most 18 digits, without a leading zero.
    fn number(&mut self) -> Option<u64> {
        let rest = &self.json.as_bytes()[self.at..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let is_whole = !matches!(rest.get(digits), Some(b'.' | b'e' | b'E'));
        if !is_whole || digits > 18 || digits > 1 && rest[0] == b'0' {
            return None;
        }
        self.at += digits;
        Some(rest[..digits].iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')))
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.json.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }
}

/// How many bytes come before the first quote, backslash or control byte: eight at a time, by the
/// "has a byte less than n" and "has a zero byte" tests on words (Warren, Hacker's Delight, 6-1).
fn plain_bytes(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES * 0x80;
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let found = quote | backslash | control;
        if found != 0 {
            // The lowest mark is exact: borrows only go upwards.
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\') || *byte < 0x20;
    at + bytes[at..].iter().position(is_special).unwrap_or(bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whatever the fast reader answers, the careful one answers too.
    fn agree(json: &str) -> bool {
        let Some(event) = scan(json.as_bytes()) else { return false };
        let careful = serde_json::from_str::<Event<'_>>(json)
            .unwrap_or_else(|error| panic!("{json}: the fast reader took what is wrong: {error}"));
        assert_eq!(format!("{event:?}"), format!("{careful:?}"), "{json}");
        true
    }

    #[test]
    fn events_as_clients_write_them_are_read() {
        for json in [
            r#"{"type":"click","imp":"v1.abc","occurred_at":"2026-11-21T10:00:00Z"}"#,
            r#" { "type" : "view" , "ad_id":"a","position":3,"seq":18,"consent":true,"later":"x" } "#,
            r#"{"type":"dwell","item_id":"caf\u00e9-not-this-one"}"#,
            "{\"type\":\"click\",\"ad_id\":\"caf\u{e9}\",\"consent\":255}",
        ] {
            assert_eq!(agree(json), !json.contains('\\'), "{json}");
        }
    }

    #[test]
    fn whatever_is_odd_is_left_to_the_careful_reader() {
        for json in [
            "",
            "{",
            "{}",
            "[1]",
            r#"{"type":"click"} x"#,
            r#"{"type":"click",}"#,
            r#"{"type":"click","type":"view"}"#,
            r#"{"position":65536}"#,
            r#"{"position":01}"#,
            r#"{"seq":1.5}"#,
            r#"{"seq":-1}"#,
            r#"{"seq":1e3}"#,
            r#"{"consent":256}"#,
            r#"{"ad_id":null}"#,
            r#"{"ad_id":7}"#,
            r#"{"later":{"x":1}}"#,
            r#"{"seq":"1"}"#,
            r#"{"consent":"yes"}"#,
            "{\"ad_id\":\"a\u{1}b\"}",
            r#"{"seq":1234567890123456789}"#,
            r#"{"value":3}"#,
            r#"{"consent":truely}"#,
            r#"{"ad_id":"a"#,
        ] {
            assert!(scan(json.as_bytes()).is_none(), "{json}");
        }
        assert!(scan(b"{\"ad_id\":\"\xff\"}").is_none(), "not UTF-8");
    }

    #[test]
    fn plain_bytes_end_at_the_first_special_one() {
        for length in 0..40 {
            for at in 0..=length {
                for special in [b'"', b'\\', 0, 0x1f] {
                    let mut bytes = [0x20_u8, 0x7f, 0x80, 0xff, b'!', b'#', b'[', b']'].repeat(6)
                        [..length]
                        .to_vec();
                    if at < length {
                        bytes[at] = special;
                    }
                    assert_eq!(plain_bytes(&bytes), at, "{bytes:?}");
                }
            }
        }
    }

    fn piece() -> impl Strategy<Value = String> {
        prop_oneof![
            r#""(type|imp|ad_id|position|seq|consent|value|x)""#,
            r#""[a-z0-9\u{e9}\\"]{0,20}""#,
            "[0-9]{1,20}",
            "(true|false|null|\\{|\\}|\\[|:|,|,|:| |\\.|-|e)",
        ]
    }

    proptest! {
        #[test]
        fn no_text_is_read_in_two_ways(pieces in prop::collection::vec(piece(), 0..12)) {
            agree(&format!("{{{}}}", pieces.concat()));
            agree(&pieces.concat());
        }

        #[test]
        fn no_object_is_read_in_two_ways(
            fields in prop::collection::vec(
                ("(type|imp|ad_id|position|seq|consent|value|later|user_agent)",
                 prop_oneof![r#""[ -~\u{e9}]{0,20}""#, "[0-9]{1,6}", Just("true".to_owned())]),
                0..6,
            ),
        ) {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            agree(&format!("{{{}}}", fields.join(",")));
        }
    }
}
