//! HTTP/1.1 as far as a load generator needs it: bytes out; status, length and two headers in.

use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use memchr::memmem;

use crate::command::client::Address;

/// A longer head of an answer is none of Reckon's.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Silence after which a connection is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// The header `Reckon-Degraded` stands in it: nothing is acknowledged.
    pub degraded: bool,
    /// Length of the head itself.
    pub head_bytes: usize,
    /// Length of the body after it.
    pub body_bytes: usize,
}

/// Reads the head that `bytes` begin with; `None` until it is whole.
pub fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        if bytes.len() > HEAD_BYTES_MAX {
            bail!("the head of an answer is longer than {HEAD_BYTES_MAX} bytes");
        }
        return Ok(None);
    };
    let lines = &bytes[..end];
    let status = lines.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let mut head = Head {
        status: status.context("the answer is not HTTP/1.1")?,
        degraded: false,
        head_bytes: end + 4,
        body_bytes: 0,
    };
    for line in lines.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            head.body_bytes = length.context("Content-Length is not a number")?;
        } else if name.eq_ignore_ascii_case(b"reckon-degraded") {
            head.degraded = true;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            bail!("the answer comes in chunks, which is not expected here");
        }
    }
    Ok(Some(head))
}

/// A blocking connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    filled: usize,
}

/// Connects, without waiting for more to send.
pub fn connect(address: &Address) -> Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .with_context(|| format!("cannot connect to http://{}", address.authority))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Connection {
    /// Opens one.
    pub fn open(address: &Address) -> Result<Self> {
        let stream = connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Connection { stream, received: vec![0; 64 << 10], filled: 0 })
    }

    /// Sends head and body, and waits for the answer.
    pub fn exchange(&mut self, request_head: &[u8], body: &[u8]) -> Result<(Head, &[u8])> {
        self.send(request_head, body).context("the request could not be sent")?;
        self.filled = 0;
        let head = loop {
            self.receive()?;
            if let Some(head) = head(&self.received[..self.filled])? {
                break head;
            }
        };
        let whole = head.head_bytes + head.body_bytes;
        while self.filled < whole {
            self.receive()?;
        }
        Ok((head, &self.received[head.head_bytes..whole]))
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> std::io::Result<()> {
        let mut slices = [IoSlice::new(head), IoSlice::new(body)];
        let mut rest = &mut slices[..];
        while rest.iter().any(|slice| !slice.is_empty()) {
            match self.stream.write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        if self.filled == self.received.len() {
            self.received.resize(self.filled * 2, 0);
        }
        match self.stream.read(&mut self.received[self.filled..]) {
            Ok(0) => bail!("the server closed the connection"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("no answer"),
        }
        Ok(())
    }
}

/// The head of a `POST` of so many bytes; with a key where there is one.
pub fn post_head(
    address: &Address,
    key: Option<&str>,
    path: &str,
    content_type: &str,
    body_bytes: usize,
) -> Vec<u8> {
    let authorization =
        key.map_or_else(String::new, |key| format!("Authorization: Bearer {key}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Content-Type: {content_type}\r\n\
         Content-Length: {body_bytes}\r\n\r\n",
        address.authority
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_once_they_are_whole() {
        let bytes = b"HTTP/1.1 302 Found\r\nlocation: https://a.example/\r\nContent-Length: 12\r\n\r\nhello";
        let whole =
            Head { status: 302, degraded: false, head_bytes: bytes.len() - 5, body_bytes: 12 };
        for end in 0..bytes.len() - 5 {
            assert_eq!(head(&bytes[..end]).expect("a head"), None);
        }
        assert_eq!(head(bytes).expect("a head"), Some(whole));
    }

    #[test]
    fn what_is_not_acknowledged_is_seen() {
        let bytes = b"HTTP/1.1 302 Found\r\nreckon-degraded: unlogged\r\n\r\n";
        let read = head(bytes).expect("a head").expect("whole");
        assert!(read.degraded && read.body_bytes == 0);
    }

    #[test]
    fn what_is_not_expected_is_an_error() {
        assert!(head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert!(head(b"nonsense\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(head(&vec![b'a'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[test]
    fn a_connection_is_used_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for _ in 0..2 {
                let mut request = [0; 5];
                stream.read_exact(&mut request).expect("a request");
                let body = request.repeat(20_000);
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())
                    .expect("room");
                stream.write_all(&body).expect("room");
            }
        });
        let address = Address::parse(&format!("http://127.0.0.1:{port}")).expect("a URL");
        let mut connection = Connection::open(&address).expect("a connection");
        for text in ["first", "later"] {
            let (head, body) = connection
                .exchange(&text.as_bytes()[..2], &text.as_bytes()[2..])
                .expect("an answer");
            assert_eq!((head.status, body), (200, text.repeat(20_000).as_bytes()));
        }
        server.join().expect("the server ends");
    }
}
