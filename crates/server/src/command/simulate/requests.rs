//! What goes over the wire for each act.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use axum::http::{HeaderName, Method, StatusCode, header};
use reckon_market::{Act, REGIONS, Scanner, Step, Visit};

use super::traffic::{ServedAd, Shown};
use crate::command::client::{Call, Retry};

/// The type of a body of one event a line.
pub const NDJSON: &str = "application/x-ndjson";
/// An agent that declares itself.
const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
/// Where a client's address stands when a proxy has passed the request on.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request by a URL, and the answer it must get.
pub struct Request {
    /// The request.
    pub call: Call,
    /// The status it must be answered with.
    pub status: StatusCode,
    /// It goes to `/click`.
    pub is_click: bool,
}

/// Says from where and with what a person asks.
pub fn from_person(call: Call, visit: &Visit) -> Call {
    call.header(header::USER_AGENT, visit.device.agent())
        .header(FORWARDED_FOR, visit.address().to_string())
}

/// An act by a pixel or a redirect.
pub fn by_url(shown: &Shown, step: &Step) -> Request {
    let ad = &shown.ads[step.shown];
    let url = match step.act {
        Act::Impression => path_of(&ad.impression_url).to_owned(),
        Act::View => path_of(&ad.view_url).to_owned(),
        Act::Click | Act::Scan(_) => path_of(&ad.click_url).to_owned(),
        Act::Forged => path_of(&ad.click_url).replace(&ad.impression, &forge(&ad.impression)),
        Act::Unsigned => format!("/click?adId={}", ad.ad_id),
        Act::UnknownAd => format!("/click?adId={}", nobody(shown, step)),
        Act::Order { .. } => unreachable!("an order is no URL"),
    };
    // Each is an event of its own: what may have been taken must not be sent again.
    let call = Call::get(url).retry(Retry::Never);
    let call = match step.act {
        Act::Scan(scanner) => by_scanner(call, scanner, &shown.visit),
        _ => from_person(call, &shown.visit),
    };
    let is_pixel = matches!(step.act, Act::Impression | Act::View);
    let status = match step.act {
        _ if is_pixel => StatusCode::OK,
        Act::UnknownAd => StatusCode::NOT_FOUND,
        _ => StatusCode::FOUND,
    };
    Request { call, status, is_click: !is_pixel }
}

fn by_scanner(call: Call, scanner: Scanner, visit: &Visit) -> Call {
    let from_elsewhere = |call: Call, agent: &str, host: u8| {
        let address = Ipv4Addr::new(203, 0, 113, host);
        call.header(header::USER_AGENT, agent).header(FORWARDED_FOR, address.to_string())
    };
    match scanner {
        Scanner::Head => {
            let call = Call { method: Method::HEAD, ..call };
            from_elsewhere(call, visit.device.agent(), 1)
        }
        Scanner::Prefetch => {
            from_person(call, visit).header(HeaderName::from_static("sec-purpose"), "prefetch")
        }
        Scanner::Robot => from_elsewhere(call, ROBOT, 2),
    }
}

/// A token that no longer opens: one character in its middle is another one.
fn forge(token: &str) -> String {
    let middle = token.len() / 2;
    let other = if token[middle..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &token[..middle], &token[middle + 1..])
}

/// An ad that nobody registered.
fn nobody(shown: &Shown, step: &Step) -> String {
    format!("nobody-{}-{}", shown.visit.number, step.shown)
}

/// Path and query of a URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..])
}

/// An app's batch.
pub fn batch(shown: &Shown, steps: &[Step], write_key: &str) -> Call {
    let mut body = String::with_capacity(400 * steps.len());
    for (number, step) in steps.iter().enumerate() {
        event(&mut body, shown, number, step);
    }
    let path = format!("/v1/events?write_key={write_key}");
    from_person(Call::post(path, NDJSON, body), &shown.visit)
}

/// One line of a batch. All texts are our own or the server's, and nothing in them is to be escaped.
fn event(body: &mut String, shown: &Shown, number: usize, step: &Step) {
    let ad: &ServedAd = &shown.ads[step.shown];
    let kind = match step.act {
        Act::Impression => "impression",
        Act::View => "view",
        _ => "click",
    };
    let subject = match step.act {
        Act::Forged => format!("\"imp\":\"{}\",\"ad_id\":\"{}\"", forge(&ad.impression), ad.ad_id),
        Act::Unsigned => format!("\"ad_id\":\"{}\"", ad.ad_id),
        Act::UnknownAd => format!("\"ad_id\":\"{}\"", nobody(shown, step)),
        _ => format!("\"imp\":\"{}\"", ad.impression),
    };
    writeln!(
        body,
        "{{\"type\":\"{kind}\",{subject},\"user_id\":\"{}\",\"event_id\":\"{}-{number}\",\
         \"occurred_at\":\"{:.6}\",\"position\":{},\"device_type\":\"{}\",\"region\":\"{}\"}}",
        shown.user_id,
        shown.visit.number,
        shown.time_of(step),
        ad.position,
        shown.visit.device.name(),
        REGIONS[shown.visit.region],
    )
    .expect("a string takes everything");
}

/// An order as a shop's server tells it, with the shop's own number of it.
pub fn order(shown: &Shown, index: usize, cents: u32) -> String {
    let ad = &shown.ads[index];
    // The token tells two runs of one market apart; its end is as good as random.
    let run = &ad.impression[ad.impression.len().saturating_sub(12)..];
    format!(
        "{{\"type\":\"conversion\",\"ad_id\":\"{}\",\"user_id\":\"{}\",\"value\":{}.{:02},\
         \"event_id\":\"order-{}-{index}-{run}\",\"device_type\":\"{}\",\"region\":\"{}\"}}\n",
        ad.ad_id,
        shown.user_id,
        cents / 100,
        cents % 100,
        shown.visit.number,
        shown.visit.device.name(),
        REGIONS[shown.visit.region],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forged_token_is_another_one_of_the_same_length() {
        for token in ["xxAxx", "xxBxx", "AAAA"] {
            let forged = forge(token);
            assert_eq!(forged.len(), token.len());
            let differing = forged.bytes().zip(token.bytes()).filter(|(a, b)| a != b).count();
            assert_eq!(differing, 1, "{forged}");
        }
    }

    #[test]
    fn a_url_is_asked_for_by_path_and_query() {
        assert_eq!(path_of("http://h:80/click?imp=x"), "/click?imp=x");
        assert_eq!(path_of("/click?adId=x"), "/click?adId=x");
        assert_eq!(path_of("http://h"), "/");
    }
}
