//! A small HTTP/1.1 client for the commands that talk to a running Reckon.
//!
//! One client is one connection and one request at a time, so what is sent over it arrives in order.
//! It comes back after 429 and 503 as late as the server asks for, and later each time; what else it
//! may send again is the caller's to say, because only the caller knows whether that is harmless.

pub mod catalog;
pub mod figures;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// How often one request is sent at most.
const ATTEMPTS_MAX: u32 = 10;
/// From the first byte sent to the last one received.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The longest pause between two attempts of our own choosing.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Where a server listens: `http://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Host and port as they stand in the header `Host`.
    pub authority: String,
}

impl Address {
    /// Reads a URL; the error says what is taken.
    pub fn parse(text: &str) -> Result<Self> {
        let url = url::Url::parse(text)
            .with_context(|| format!("{text:?} is not a URL such as http://127.0.0.1:8080"))?;
        if url.scheme() != "http" {
            bail!(
                "{text}: only http:// is spoken here; for a remote server use a tunnel that ends on this machine"
            );
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() {
            bail!("{text}: give scheme, host and port only");
        }
        let host = url.host_str().with_context(|| format!("{text}: there is no host"))?;
        let port = url.port_or_known_default().expect("http has a default port");
        let authority = format!("{host}:{port}");
        Ok(Address { host: host.trim_matches(['[', ']']).to_owned(), port, authority })
    }
}

/// What may be sent once more when the answer did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing: each request is an event of its own.
    Never,
    /// What was refused with 429 or 503, of which the server has kept nothing.
    Refused,
    /// That, and what was lost with its connection: sending it twice does no harm.
    Always,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers beyond host, length and authorization.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: Bytes,
    /// What may be sent again.
    pub retry: Retry,
}

impl Call {
    /// `GET` of a path.
    pub fn get(path: impl Into<String>) -> Self {
        Call {
            method: Method::GET,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            retry: Retry::Always,
        }
    }

    /// `POST` of a body of this type; sent again only where it was refused.
    pub fn post(path: impl Into<String>, content_type: &str, body: impl Into<Bytes>) -> Self {
        Call { method: Method::POST, body: body.into(), retry: Retry::Refused, ..Call::get(path) }
            .header(header::CONTENT_TYPE, content_type)
    }

    /// `POST` of a JSON value.
    pub fn post_json(path: impl Into<String>, body: &Value) -> Self {
        Self::post(path, "application/json", body.to_string())
    }

    /// With one more header.
    pub fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With another rule of what may be sent again.
    pub const fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("the answer is not JSON")
    }

    /// True where the answer acknowledges nothing.
    pub fn is_degraded(&self) -> bool {
        self.headers.contains_key("reckon-degraded")
    }

    /// Itself where the status is of the 2xx; else an error that says what to do.
    pub fn success(self, what: &str) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let advice = match self.status {
            StatusCode::UNAUTHORIZED => {
                " (set RECKON_API_KEY; `reckon serve` keeps one in DIR/admin.key)"
            }
            StatusCode::FORBIDDEN => " (RECKON_API_KEY holds a key without the scope this needs)",
            _ => "",
        };
        Err(anyhow!(
            "{what}: the server answered {}: {}{advice}",
            self.status.as_u16(),
            self.detail()
        ))
    }

    /// What a problem says of itself.
    fn detail(&self) -> String {
        let problem: Option<Value> = serde_json::from_slice(&self.body).ok();
        match problem.as_ref().and_then(|problem| problem["detail"].as_str()) {
            Some(detail) => detail.to_owned(),
            None => String::from_utf8_lossy(&self.body).chars().take(300).collect(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
    }
}

/// One attempt's outcome.
enum Attempt {
    Answered(Answer),
    /// No connection could be made, or it was closed just before: nothing was sent.
    NotConnected(anyhow::Error),
    /// The connection broke after the request had been sent: it may have been taken.
    Lost(anyhow::Error),
}

/// A connection to one server, made when it is first needed and again after it broke.
pub struct Client {
    address: Arc<Address>,
    authorization: Option<HeaderValue>,
    connection: Option<SendRequest<Full<Bytes>>>,
    has_connected: bool,
}

impl Client {
    /// A client of the server at this URL; `key` goes with every request.
    pub fn new(url: &str, key: Option<&str>) -> Result<Self> {
        let bearer = |key: &str| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.trim()))?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        };
        let authorization =
            key.map(bearer).transpose().context("RECKON_API_KEY cannot stand in a header")?;
        let address = Arc::new(Address::parse(url)?);
        Ok(Client { address, authorization, connection: None, has_connected: false })
    }

    /// Another connection to the same server with the same key.
    pub fn another(&self) -> Self {
        Client {
            address: Arc::clone(&self.address),
            authorization: self.authorization.clone(),
            connection: None,
            has_connected: self.has_connected,
        }
    }

    /// Where it sends to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `GET` of a path: the JSON of a good answer.
    pub async fn get(&mut self, path: &str) -> Result<Value> {
        let answer = self.send(&Call::get(path)).await?;
        answer.success(&format!("GET {path}"))?.json()
    }

    /// Sends until there is an answer that is to be kept. An error means that there was none; after
    /// one, a call whose retry is not [`Retry::Always`] may or may not have been taken.
    pub async fn send(&mut self, call: &Call) -> Result<Answer> {
        let mut attempt = 0;
        loop {
            let asked = match self.attempt(call).await {
                Attempt::Answered(answer) if !must_wait(&answer, call.retry) => return Ok(answer),
                Attempt::Answered(answer) if attempt + 1 == ATTEMPTS_MAX => return Ok(answer),
                Attempt::Answered(answer) => answer.retry_after(),
                // Whoever was there a moment ago may be starting again; whoever never was is not there.
                Attempt::NotConnected(error) if !self.has_connected => return Err(error),
                Attempt::NotConnected(error) if attempt + 1 == ATTEMPTS_MAX => return Err(error),
                Attempt::Lost(error)
                    if call.retry != Retry::Always || attempt + 1 == ATTEMPTS_MAX =>
                {
                    return Err(error);
                }
                Attempt::NotConnected(_) | Attempt::Lost(_) => None,
            };
            tokio::time::sleep(pause(attempt, asked, rand::random())).await;
            attempt += 1;
        }
    }

    async fn attempt(&mut self, call: &Call) -> Attempt {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            match self.connect().await {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => return Attempt::NotConnected(error),
            }
            self.has_connected = true;
        }
        let connection = self.connection.as_mut().expect("it was made above");
        let request = match request_of(call, &self.address, self.authorization.as_ref()) {
            Ok(request) => request,
            Err(error) => return Attempt::Lost(error),
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange(connection, request)).await;
        match answer.map_err(|_elapsed| anyhow!("no answer within {ANSWER_TIMEOUT:?}")).flatten() {
            Ok(answer) => Attempt::Answered(answer),
            Err(error) => {
                self.connection = None;
                let was_sent = !error.downcast_ref().is_some_and(hyper::Error::is_canceled);
                let what = format!("{} {} at {}", call.method, call.path, self.address.authority);
                let error = error.context(what);
                if was_sent { Attempt::Lost(error) } else { Attempt::NotConnected(error) }
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let Address { host, port, authority } = &*self.address;
        let advice =
            || format!("cannot connect to http://{authority}; is `reckon serve` running there?");
        let stream = TcpStream::connect((host.as_str(), *port)).await.with_context(advice)?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.with_context(advice)?;
        // Its errors are told by the requests that fail because of them.
        tokio::spawn(connection);
        Ok(sender)
    }
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer> {
    connection.ready().await?;
    let (head, body) = connection.send_request(request).await?.into_parts();
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = collected.map_err(|error| anyhow!("the answer did not arrive: {error}"))?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn request_of(
    call: &Call,
    address: &Address,
    authorization: Option<&HeaderValue>,
) -> Result<Request<Full<Bytes>>> {
    let mut request = Request::builder()
        .method(&call.method)
        .uri(&call.path)
        .header(header::HOST, &address.authority);
    for (name, value) in &call.headers {
        request = request.header(name, value);
    }
    if let Some(value) = authorization {
        request = request.header(header::AUTHORIZATION, value);
    }
    request
        .body(Full::new(call.body.clone()))
        .with_context(|| format!("{} {}", call.method, call.path))
}

fn must_wait(answer: &Answer, retry: Retry) -> bool {
    let refused =
        matches!(answer.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    refused && retry != Retry::Never
}

/// The pause after an attempt (from 0): doubled each time and capped, at least what the server asked
/// for, and up to half as long again, so that clients do not come back all at once. `chance` is in
/// `0..1`.
fn pause(attempt: u32, asked: Option<Duration>, chance: f64) -> Duration {
    let doubled = Duration::from_millis(50).saturating_mul(1 << attempt.min(16)).min(PAUSE_MAX);
    doubled.max(asked.unwrap_or_default()).mul_f64(1.0 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(&str, u16, &str)>) {
        let read = Address::parse(text).ok();
        let read =
            read.as_ref().map(|read| (read.host.as_str(), read.port, read.authority.as_str()));
        assert_eq!(read, expect, "{text}");
    }

    #[test]
    fn addresses_are_scheme_host_and_port() {
        check("http://127.0.0.1:8080", Some(("127.0.0.1", 8080, "127.0.0.1:8080")));
        check("http://[::1]:81/", Some(("::1", 81, "[::1]:81")));
        check("http://ads.example", Some(("ads.example", 80, "ads.example:80")));
        check("https://ads.example", None);
        check("http://ads.example/v1", None);
        check("127.0.0.1:8080", None);
    }

    #[test]
    fn pauses_grow_to_a_cap_and_honour_the_server() {
        let millis = |attempt, asked: Option<u64>, chance| {
            pause(attempt, asked.map(Duration::from_secs), chance).as_millis()
        };
        assert_eq!([0, 1, 2, 30].map(|attempt| millis(attempt, None, 0.0)), [50, 100, 200, 5_000]);
        assert_eq!(millis(0, Some(3), 0.0), 3_000);
        assert_eq!(millis(0, None, 0.5), 62);
        assert!(millis(30, Some(60), 0.999) < 90_000);
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &'static str) -> Answer {
        let pairs = headers
            .iter()
            .map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let status = StatusCode::from_u16(status).expect("a status");
        Answer { status, headers: pairs.collect(), body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn only_refusals_are_waited_for_and_only_where_that_is_allowed() {
        let busy = answer(503, &[("retry-after", "2")], "");
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(2)));
        assert!(must_wait(&busy, Retry::Refused) && !must_wait(&busy, Retry::Never));
        assert!(must_wait(&answer(429, &[], ""), Retry::Always));
        assert!(!must_wait(&answer(500, &[], ""), Retry::Always));
    }

    #[test]
    fn errors_say_what_to_do() {
        let error =
            answer(401, &[], r#"{"detail":"the API key is not known"}"#).success("POST /v1/ads");
        let error = error.expect_err("401 is no success").to_string();
        assert!(error.contains("not known") && error.contains("RECKON_API_KEY"), "{error}");
        assert!(answer(302, &[("reckon-degraded", "unlogged")], "").is_degraded());
    }
}
