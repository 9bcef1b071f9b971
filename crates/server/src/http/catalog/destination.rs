//! Where a click may lead: the check of a destination when it is registered.
//!
//! The URL comes back as it was registered, byte by byte; only what cannot stand in a `Location`
//! header is encoded: a host in Unicode becomes punycode, other characters are percent-encoded.

use reckon_books::URL_BYTES_MAX;
use url::Url;

/// Checks a destination and brings it into ASCII; the error says what would be taken.
pub fn destination(text: &str) -> Result<String, String> {
    if text.len() > URL_BYTES_MAX {
        return Err(format!("must be at most {URL_BYTES_MAX} bytes"));
    }
    if text.chars().any(|char| char.is_control() || char.is_whitespace() || char == '\\') {
        return Err("must hold no spaces, control characters or backslashes".to_owned());
    }
    let (scheme, rest) =
        text.split_once("://").ok_or("must be absolute, such as https://shop.example/path")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("must begin with http:// or https://".to_owned());
    }
    if rest.starts_with(['/', '?', '#', ':']) {
        return Err("must name a host".to_owned());
    }
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() || authority(rest).0.contains('@') {
        return Err("must not hold a user name or password".to_owned());
    }
    let ascii = if text.is_ascii() { text.to_owned() } else { in_ascii(scheme, rest, &url) };
    if ascii.len() > URL_BYTES_MAX {
        return Err(format!("must be at most {URL_BYTES_MAX} bytes once it is percent-encoded"));
    }
    Ok(ascii)
}

/// Splits what follows `://` behind host and port.
fn authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

fn in_ascii(scheme: &str, rest: &str, url: &Url) -> String {
    let (authority, tail) = authority(rest);
    let mut ascii = format!("{scheme}://");
    if authority.is_ascii() {
        ascii.push_str(authority);
    } else {
        ascii.push_str(url.host_str().unwrap_or_default());
        if let Some(port) = url.port() {
            ascii.push_str(&format!(":{port}"));
        }
    }
    for byte in tail.bytes() {
        if byte.is_ascii() {
            ascii.push(char::from(byte));
        } else {
            ascii.push_str(&format!("%{byte:02X}"));
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn kept(text: &str) {
        assert_eq!(destination(text).as_deref(), Ok(text));
    }

    #[track_caller]
    fn refused(text: &str, part: &str) {
        let problem = destination(text).expect_err(text);
        assert!(problem.contains(part), "{text}: {problem}");
    }

    #[test]
    fn what_can_stand_in_a_header_stays_as_registered() {
        kept("https://shop.example");
        kept("HTTPS://Shop.Example:443/a/../b?x=%20&y={z}#top");
        kept("http://[2001:db8::1]:8080/?q=a+b");
        kept("http://127.0.0.1/%C3%A4");
    }

    #[test]
    fn the_rest_is_encoded_and_nothing_else() {
        let taken = destination("https://b\u{fc}cher.example:8443/a/../\u{e4}?q=\u{20ac}#\u{f6}");
        let expect = "https://xn--bcher-kva.example:8443/a/../%C3%A4?q=%E2%82%AC#%C3%B6";
        assert_eq!(taken.as_deref(), Ok(expect));
        let host_kept = destination("https://Shop.Example/\u{e4}");
        assert_eq!(host_kept.as_deref(), Ok("https://Shop.Example/%C3%A4"));
    }

    #[test]
    fn only_absolute_web_addresses_are_taken() {
        refused("", "absolute");
        refused("shop.example/a", "absolute");
        refused("//shop.example", "absolute");
        refused("javascript:alert(1)", "absolute");
        refused("javascript://shop.example/%0aalert(1)", "http:// or https://");
        refused("ftp://shop.example/", "http:// or https://");
        refused("https:///path", "host");
        refused("https://", "not a URL");
        refused("https://user:secret@shop.example/", "password");
        refused("https://@shop.example/", "password");
        refused("https://shop.example/a b", "spaces");
        refused("https://shop.example/\r\nSet-Cookie: a=b", "control");
        refused("https:\\\\shop.example", "backslashes");
        refused("https://shop.example:99999/", "not a URL");
        refused(&format!("https://shop.example/{}", "x".repeat(2_048)), "2048 bytes");
        refused(&format!("https://shop.example/{}", "\u{e4}".repeat(900)), "percent-encoded");
    }
}
