//! Stands before a server and fails as networks and servers do, by a plan.
//!
//! It takes one request a connection, reads all of it, asks the plan what becomes of it, and does that.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What becomes of a request.
#[derive(Clone)]
pub enum Fault {
    /// It goes on, and so does its answer.
    None,
    /// It is refused before the server sees it: 503 SlowDown.
    SlowDown,
    /// It is refused as if another put of the name were under way: 409, as Amazon's S3 does.
    Conflict,
    /// It is done, and answered as if it were not: 500.
    FailsAfter,
    /// The connection is cut before the server sees it.
    CutBefore,
    /// It is done, and the connection is cut before the answer.
    CutAfter,
    /// The connection is cut within the answer.
    CutWithin,
    /// It is done twice; the answer is the second.
    Twice,
    /// It is done, and there is no answer for as long as anybody waits.
    Silent,
    /// An object that is there is said to be made, as by a server that knows no conditions.
    Unconditional,
    /// Half of it goes on, then this is done, then the connection is cut.
    Within(Arc<dyn Fn() + Send + Sync>),
}

impl Fault {
    const fn name(&self) -> &'static str {
        match self {
            Fault::None => "none",
            Fault::SlowDown => "slow down",
            Fault::Conflict => "conflict",
            Fault::FailsAfter => "fails after",
            Fault::CutBefore => "cut before",
            Fault::CutAfter => "cut after",
            Fault::CutWithin => "cut within",
            Fault::Twice => "twice",
            Fault::Silent => "silent",
            Fault::Unconditional => "unconditional",
            Fault::Within(_) => "within",
        }
    }
}

/// A request as it came.
pub struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        let head = self.head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        [head.as_bytes(), &self.body].concat()
    }
}

type Plan = Box<dyn FnMut(&Request) -> Fault + Send>;

struct Shared {
    upstream: String,
    plan: Mutex<Plan>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    is_over: AtomicBool,
}

/// A proxy on loopback; gone when dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Before a server whose address is `http://HOST:PORT`.
    pub fn before(endpoint: &str, plan: impl FnMut(&Request) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has one");
        let shared = Arc::new(Shared {
            upstream: endpoint.trim_start_matches("http://").to_owned(),
            plan: Mutex::new(Box::new(plan)),
            counts: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &theirs));
        Proxy { address, shared, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Goes on by another plan.
    pub fn set_plan(&self, plan: impl FnMut(&Request) -> Fault + Send + 'static) {
        *self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(plan);
    }

    /// How many requests met with which fate.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // One more connection, so that the thread looks.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the proxy's thread does not panic");
        }
    }
}

fn serve(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        let (Ok(stream), shared) = (stream, Arc::clone(shared)) else { continue };
        // Whoever is cut off notices; there is nobody else to tell.
        std::thread::spawn(move || drop(answer(stream, &shared)));
    }
}

fn answer(mut client: TcpStream, shared: &Shared) -> Result<()> {
    let Some(request) = read_request(&mut client)? else { return Ok(()) };
    let fault = (shared.plan.lock().unwrap_or_else(PoisonError::into_inner))(&request);
    let mut counts = shared.counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(fault.name()).or_default() += 1;
    drop(counts);
    let upstream = |request: &Request| forward(&shared.upstream, &request.bytes());
    match fault {
        Fault::None => client.write_all(&upstream(&request)?),
        Fault::SlowDown => client.write_all(&refusal("503 Service Unavailable", "SlowDown")),
        Fault::Conflict => client.write_all(&refusal("409 Conflict", "ConditionalRequestConflict")),
        Fault::FailsAfter => {
            upstream(&request)?;
            client.write_all(&refusal("500 Internal Server Error", "InternalError"))
        }
        Fault::CutBefore => Ok(()),
        Fault::CutAfter => upstream(&request).map(drop),
        Fault::CutWithin => {
            let answer = upstream(&request)?;
            client.write_all(&answer[..answer.len() - answer.len() / 3])
        }
        Fault::Twice => {
            upstream(&request)?;
            client.write_all(&upstream(&request)?)
        }
        Fault::Silent => {
            upstream(&request)?;
            // Until the other side has had enough.
            client.read(&mut [0]).map(drop)
        }
        Fault::Unconditional => {
            let answer = upstream(&request)?;
            let is_refused = answer.starts_with(b"HTTP/1.1 412");
            client.write_all(if is_refused { MADE } else { &answer })
        }
        Fault::Within(doing) => {
            let bytes = request.bytes();
            let mut server = TcpStream::connect(&shared.upstream)?;
            server.write_all(&bytes[..bytes.len() - request.body.len() / 2 - 1])?;
            doing();
            server.shutdown(Shutdown::Both)
        }
    }
}

const MADE: &[u8] =
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n";

fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>");
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/xml\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn forward(upstream: &str, request: &[u8]) -> Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(request)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    Ok(answer)
}

fn read_request(client: &mut TcpStream) -> Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        match client.read(&mut part)? {
            0 => return Ok(None),
            read => bytes.extend_from_slice(&part[..read]),
        }
    };
    let mut body = bytes.split_off(end);
    let head =
        String::from_utf8(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let missing = length.unwrap_or(0_usize).saturating_sub(body.len());
    let start = body.len();
    body.resize(start + missing, 0);
    client.read_exact(&mut body[start..])?;
    Ok(Some(Request { head, body }))
}
