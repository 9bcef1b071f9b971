//! Tokens for the load: asked for at `/v1/ads/serve`, many at once, and rendered into the bytes that
//! will be sent, before any clock starts.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reckon_event::Timestamp;
use serde::Deserialize;

use super::wire::{Connection, post_head};
use crate::command::client::catalog::{self, Collection, Existing, register};
use crate::command::client::{Address, Client};

/// Tokens of one person.
const PERSON_COUNT: usize = 100;
/// Connections that ask side by side.
const CONNECTIONS: usize = 4;
/// A click sooner after minting may be held to be a machine's, which it is.
pub const AGE_MIN: Duration = Duration::from_millis(500);
/// A browser of a person.
pub const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";

/// How many tokens are wanted, where, and of what.
pub struct Minting {
    /// The server.
    pub to: Address,
    /// A key with the scopes `manage` and `predict`.
    pub key: Option<String>,
    /// How many.
    pub count: usize,
    /// Of which ads.
    pub shelf: Shelf,
    /// One person has half of them.
    pub has_hot_user: bool,
}

/// Ads that are shown together, at a placement of their own; their ids begin with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    placement: &'static str,
    /// How many; all of them are asked for at once.
    ads: usize,
}

impl Shelf {
    /// As many ads as one request can show.
    pub const WIDE: Shelf = Shelf { placement: "bench", ads: 100 };
    /// One ad, for all of the traffic.
    pub const HOT: Shelf = Shelf { placement: "bench-hot", ads: 1 };
    /// One ad that nobody clicks but who waits for the click to be counted.
    pub const PROBE: Shelf = Shelf { placement: "bench-probe", ads: 1 };

    /// The id of one of its ads.
    pub fn ad_id(self, number: usize) -> String {
        format!("{}-{number:02}", self.placement)
    }
}

/// An ad as it is served.
#[derive(Debug, Deserialize)]
pub struct Shown<'a> {
    /// The ad.
    pub ad_id: &'a str,
    /// The token.
    pub impression: &'a str,
    /// Where a click goes.
    pub click_url: &'a str,
}

#[derive(Deserialize)]
struct Served<'a> {
    #[serde(borrow)]
    ads: Vec<Shown<'a>>,
}

/// How an ad becomes bytes: appended to the buffer.
pub type Render = fn(&Shown<'_>, &mut Vec<u8>);

/// One item a token, in one piece of memory.
#[derive(Debug, Default)]
pub struct Rendered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rendered {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// All items, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Some items in a row.
    pub fn slice(&self, items: Range<usize>) -> &[u8] {
        let start = |item: usize| if item == 0 { 0 } else { self.ends[item - 1] };
        &self.bytes[start(items.start)..start(items.end)]
    }

    /// These items.
    pub fn of<T: AsRef<[u8]>>(items: impl IntoIterator<Item = T>) -> Self {
        let mut rendered = Rendered::default();
        for item in items {
            rendered.bytes.extend_from_slice(item.as_ref());
            rendered.ends.push(rendered.bytes.len());
        }
        rendered
    }

    fn push(&mut self, shown: &Shown<'_>, render: Render) {
        render(shown, &mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The items of all parts in a random order, the same for the same parts: in real traffic the
    /// ads of one person do not come in a row.
    fn mix(parts: &[Rendered], count: usize) -> Self {
        let mut order: Vec<(u32, u32)> = Vec::with_capacity(count);
        for (part, rendered) in (0..).zip(parts) {
            order.extend((0..).take(rendered.len()).map(|item: u32| (part, item)));
        }
        order.shuffle(&mut StdRng::seed_from_u64(1));
        order.truncate(count);
        let mut mixed = Rendered::default();
        mixed.bytes.reserve_exact(parts.iter().map(|part| part.bytes.len()).sum());
        for (part, item) in order {
            let item = item as usize;
            mixed.bytes.extend_from_slice(parts[part as usize].slice(item..item + 1));
            mixed.ends.push(mixed.bytes.len());
        }
        mixed
    }
}

impl Minting {
    /// Of many ads, for people who are all alike.
    pub const fn new(to: Address, key: Option<String>, count: usize) -> Self {
        Minting { to, key, count, shelf: Shelf::WIDE, has_hot_user: false }
    }

    /// Mints all of them. Every token is old enough to be clicked when this returns.
    pub fn run(&self, render: Render) -> Result<Rendered> {
        crate::command::runtime(1)?.block_on(self.register())?;
        let style = ProgressStyle::with_template(
            "minting {bar:40} {human_pos}/{human_len} {per_sec} ETA {eta}",
        )?;
        let progress = ProgressBar::new(self.count as u64).with_style(style);
        let next = AtomicUsize::new(0);
        let parts: Result<Vec<Rendered>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|_| scope.spawn(|| self.ask(&next, render, &progress)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("minting does not panic"))
                .collect()
        });
        progress.finish_and_clear();
        let rendered = Rendered::mix(&parts?, self.count);
        std::thread::sleep(AGE_MIN);
        Ok(rendered)
    }

    async fn register(&self) -> Result<()> {
        let mut client =
            Client::new(&format!("http://{}", self.to.authority), self.key.as_deref())?;
        let Shelf { placement, ads } = self.shelf;
        let mut campaign = catalog::campaign(placement, "bench", 1_000);
        campaign["targeting"] = serde_json::json!({"placements": [placement]});
        let ad = |number: usize| {
            let destination = format!("https://bench.example/{number:02}");
            catalog::ad(&self.shelf.ad_id(number), placement, &destination)
        };
        let ads: Vec<_> = (0..ads).map(ad).collect();
        let advertiser = catalog::advertiser("bench");
        register(&mut client, Collection::Advertisers, &[advertiser], Existing::Keep).await?;
        register(&mut client, Collection::Campaigns, &[campaign], Existing::Keep).await?;
        register(&mut client, Collection::Ads, &ads, Existing::Keep).await
    }

    /// Who asks in the request of this number.
    fn user(&self, number: usize) -> String {
        match self.has_hot_user && number.is_multiple_of(2) {
            true => "user-hot".to_owned(),
            false => format!("user-{}", number * self.shelf.ads / PERSON_COUNT),
        }
    }

    /// One connection's share: requests for a user each, until all of them are asked for.
    fn ask(&self, next: &AtomicUsize, render: Render, progress: &ProgressBar) -> Result<Rendered> {
        let Shelf { placement, ads } = self.shelf;
        let requests = self.count.div_ceil(ads);
        let mut connection = Connection::open(&self.to)?;
        let mut rendered = Rendered::default();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return Ok(rendered);
            }
            let user = self.user(number);
            let body = format!(
                "{{\"placement\":\"{placement}\",\"user_id\":\"{user}\",\"count\":{ads},\
                 \"context\":{{\"region\":\"DE\",\"device_type\":\"mobile\"}}}}"
            );
            let head = post_head(
                &self.to,
                self.key.as_deref(),
                "/v1/ads/serve",
                "application/json",
                body.len(),
            );
            let (head, answer) = connection.exchange(&head, body.as_bytes())?;
            if head.status != 200 {
                let advice = if head.status == 401 { "; set RECKON_API_KEY" } else { "" };
                bail!(
                    "POST /v1/ads/serve: {}{advice}: {}",
                    head.status,
                    String::from_utf8_lossy(answer)
                );
            }
            let served: Served<'_> = serde_json::from_slice(answer)
                .context("POST /v1/ads/serve: the answer is of another shape")?;
            if served.ads.len() < ads {
                bail!("POST /v1/ads/serve gave {} ads of {ads}", served.ads.len());
            }
            served.ads.iter().for_each(|shown| rendered.push(shown, render));
            progress.inc(ads as u64);
        }
    }
}

/// Path and query of a URL.
fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..])
}

/// Path and query of the click, a line each.
pub fn render_path(shown: &Shown<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(path_of(shown.click_url).as_bytes());
    out.push(b'\n');
}

/// The request of the click.
pub fn render_click(shown: &Shown<'_>, out: &mut Vec<u8>) {
    let host = shown.click_url.split("://").nth(1).and_then(|rest| rest.split('/').next());
    for part in
        ["GET ", path_of(shown.click_url), " HTTP/1.1\r\nHost: ", host.unwrap_or("localhost")]
    {
        out.extend_from_slice(part.as_bytes());
    }
    for part in ["\r\nUser-Agent: ", USER_AGENT, "\r\n\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The click as an event, a line each. It carries what a client would send beside the token.
pub fn render_event(shown: &Shown<'_>, out: &mut Vec<u8>) {
    render_with(shown, "", out);
}

/// The same, with more fields at the end: each begins with a comma.
pub fn render_with(shown: &Shown<'_>, fields: &str, out: &mut Vec<u8>) {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_seconds(i64::try_from(now.as_secs()).unwrap_or(0));
    let line = format!(
        "{{\"type\":\"click\",\"imp\":\"{}\",\"ad_id\":\"{}\",\"occurred_at\":\"{now}\",\
         \"device_type\":\"mobile\",\"region\":\"DE\",\"placement\":\"bench\"{fields}}}\n",
        shown.impression, shown.ad_id
    );
    out.extend_from_slice(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(token: &str) -> Shown<'_> {
        Shown {
            ad_id: "bench-07",
            impression: token,
            click_url: "http://h:80/click?adId=bench-07&imp=T",
        }
    }

    #[test]
    fn parts_are_mixed_and_nothing_is_lost() {
        let render: Render =
            |shown, out| out.extend_from_slice(format!("<{}>", shown.impression).as_bytes());
        let mut parts = [Rendered::default(), Rendered::default()];
        let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for (number, name) in names.iter().enumerate() {
            parts[number % 2].push(&shown(name), render);
        }
        let mixed = Rendered::mix(&parts, 100);
        let mut items: Vec<&[u8]> =
            (0..mixed.len()).map(|item| mixed.slice(item..item + 1)).collect();
        assert_eq!(items.concat(), mixed.bytes());
        assert_ne!(items[..3], [b"<0>".as_slice(), b"<2>", b"<4>"]);
        items.sort_unstable();
        items.dedup();
        assert_eq!(items.len(), 100);
        assert_eq!(Rendered::mix(&parts, 30).len(), 30);
    }

    #[test]
    fn requests_are_whole() {
        let mut out = Vec::new();
        render_click(&shown("T"), &mut out);
        let text = String::from_utf8(out).expect("text");
        assert!(text.starts_with(
            "GET /click?adId=bench-07&imp=T HTTP/1.1\r\nHost: h:80\r\nUser-Agent: Moz"
        ));
        assert!(text.ends_with("\r\n\r\n"));
    }

    #[test]
    fn one_person_has_half_where_that_is_wanted() {
        let address = Address::parse("http://h:80").expect("a URL");
        let mut minting = Minting::new(address, None, 400);
        assert_eq!([0, 1, 2, 3].map(|n| minting.user(n)), ["user-0", "user-1", "user-2", "user-3"]);
        minting.has_hot_user = true;
        assert_eq!(
            [0, 1, 2, 3].map(|n| minting.user(n)),
            ["user-hot", "user-1", "user-hot", "user-3"]
        );
        minting = Minting { shelf: Shelf::HOT, has_hot_user: false, ..minting };
        let users = [0, 99, 100, 199].map(|n| minting.user(n));
        assert_eq!(users, ["user-0", "user-0", "user-1", "user-1"], "as many tokens each");
    }

    #[test]
    fn events_are_ones_the_server_takes() {
        let mut out = Vec::new();
        render_event(&shown("T"), &mut out);
        let event: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!((event["imp"].as_str(), event["type"].as_str()), (Some("T"), Some("click")));
        assert!(Timestamp::parse(event["occurred_at"].as_str().expect("a time")).is_ok());
    }
}
