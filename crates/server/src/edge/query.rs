//! The query of `/click` and the pixels: a few short parameters, decoded without a copy where nothing
//! is escaped.

use std::borrow::Cow;

/// The parameters the edge knows; others are ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query<'a> {
    /// The ad as the page names it.
    pub ad_id: Cow<'a, str>,
    /// The token.
    pub token: Cow<'a, str>,
    /// The position as the page tells it.
    pub position: u16,
    /// Where on the page.
    pub placement: Cow<'a, str>,
    /// Region of the user, as the ad request told it.
    pub region: Cow<'a, str>,
    /// Device type, as the ad request told it.
    pub device: Cow<'a, str>,
}

impl<'a> Query<'a> {
    /// Reads a query string. The first of two parameters of one name is taken.
    pub fn parse(text: &'a str) -> Self {
        let mut query = Query::default();
        for pair in text.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "adId" | "ad_id" => &mut query.ad_id,
                "imp" => &mut query.token,
                "pl" => &mut query.placement,
                "rg" => &mut query.region,
                "dv" => &mut query.device,
                "pos" => {
                    query.position = value.parse().unwrap_or(0);
                    continue;
                }
                _ => continue,
            };
            if place.is_empty() {
                *place = decode(value);
            }
        }
        query
    }
}

/// One parameter of a query string, decoded.
pub fn parameter<'a>(text: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let pairs = text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

/// Undoes percent-encoding; `+` is a space. What is not UTF-8 afterwards is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'%', b'+', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        (bytes, _) = match (first, rest) {
            (b'+', _) => (rest, out.push(b' ')),
            (b'%', [high, low, rest @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (rest, out.push(hex(*high) * 16 + hex(*low)))
            }
            _ => (rest, out.push(*first)),
        };
    }
    Cow::Owned(
        String::from_utf8(out)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_the_first_wins() {
        let query = Query::parse("adId=a%20b&imp=T&pos=3&adId=c&pl=top+left&x=1&%zz");
        assert_eq!((&*query.ad_id, &*query.token, query.position), ("a b", "T", 3));
        assert_eq!(query.placement, "top left");
        assert_eq!(Query::parse("pos=70000").position, 0);
        assert_eq!(Query::parse("adId=%e4%bd%a0%").ad_id, "\u{4f60}%");
        assert_eq!(parameter("a=1&key=k%2B", "key").as_deref(), Some("k+"));
    }
}
