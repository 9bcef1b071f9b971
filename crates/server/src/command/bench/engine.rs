//! Requests over many connections, driven by one thread that asks the kernel which are readable.
//!
//! The kernel's timer wakes a sleeper to a millisecond, which is longer than a click takes. While a
//! request is due soon the thread therefore looks at its sockets every tenth of a millisecond.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::due::Timetable;
use super::mint::Rendered;
use super::outcome::Tally;
use super::wire::{self, Head};
use crate::command::client::Address;

/// Answers may come this long after the last request.
const GRACE: Duration = Duration::from_secs(10);
/// Time between two looks while a request is due soon.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// A request is due soon.
const SOON: Duration = Duration::from_millis(2);
/// The longest wait without a look at the clock.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// A larger answer is none that is asked for here.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What was asked for.
    Good,
    /// An answer, but not all that was asked for.
    Degraded,
    /// Something else: what.
    Wrong(String),
}

/// A request under way.
struct InFlight {
    item: usize,
    written: usize,
    due: Duration,
}

/// One connection.
struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
    filled: usize,
    in_flight: Option<InFlight>,
}

/// What a look at a socket has shown.
enum Progress {
    Pending,
    Answered(Head),
}

/// Sends pre-rendered requests when they are due, and reads the answers.
pub struct Engine<'a> {
    address: &'a Address,
    requests: &'a Rendered,
    timetable: Timetable,
    end: Duration,
    poll: Poll,
    sockets: Vec<Socket>,
    idle: VecDeque<usize>,
    next: usize,
    /// How many requests there are to send.
    count: usize,
    started: Instant,
    tally: Tally,
}

impl<'a> Engine<'a> {
    /// So many of the requests as are due before `end`, and `count` at most; where there are fewer
    /// they come again from the first. Without a timetable none is sent later than `end` either.
    pub fn new(
        address: &'a Address,
        requests: &'a Rendered,
        count: usize,
        timetable: Timetable,
        end: Duration,
        connections: usize,
    ) -> Result<Self> {
        ensure!(requests.len() > 0, "there is nothing to send");
        let poll = Poll::new()?;
        let sockets: Result<Vec<Socket>> =
            (0..connections).map(|index| Socket::open(address, &poll, index)).collect();
        let due = timetable.count_before(end).and_then(|due| usize::try_from(due).ok());
        Ok(Engine {
            address,
            requests,
            timetable,
            end,
            poll,
            sockets: sockets?,
            idle: (0..connections).collect(),
            next: 0,
            count: due.map_or(count, |due| due.min(count)),
            started: Instant::now(),
            tally: Tally::default(),
        })
    }

    /// Runs to the end: what was seen, and how long it took.
    pub fn run(mut self, read: fn(&Head, &[u8]) -> Reading) -> Result<(Tally, Duration)> {
        let mut events = Events::with_capacity(self.sockets.len());
        self.started = Instant::now();
        while !self.is_over() {
            self.start_due()?;
            self.wait(&mut events)?;
            for event in &events {
                self.look(event.token().0, read)?;
            }
        }
        let elapsed = self.started.elapsed();
        let unanswered = self.sockets.len() - self.idle.len();
        for _ in 0..unanswered {
            self.tally.fail("no answer in time".to_owned());
        }
        Ok((self.tally, elapsed))
    }

    fn is_over(&self) -> bool {
        let now = self.started.elapsed();
        let nothing_in_flight = self.idle.len() == self.sockets.len();
        let nothing_to_send = self.next == self.count || (self.is_closed() && now >= self.end);
        (nothing_to_send && nothing_in_flight) || now >= self.end + GRACE
    }

    fn is_closed(&self) -> bool {
        self.timetable == Timetable::Closed
    }

    /// Sends what is due on connections that are free. What is due and finds none waits, and the
    /// wait is part of its latency.
    fn start_due(&mut self) -> Result<()> {
        while self.next < self.count && !self.idle.is_empty() {
            let now = self.started.elapsed();
            let due = self.timetable.due(self.next as u64).unwrap_or(now);
            if due > now || (self.is_closed() && now >= self.end) {
                break;
            }
            let index = self.idle.pop_front().expect("it is not empty");
            self.sockets[index].in_flight =
                Some(InFlight { item: self.next % self.requests.len(), written: 0, due });
            self.next += 1;
            self.tally.sent += 1;
            if let Err(error) = self.sockets[index].write(self.requests) {
                self.give_up(index, &error)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Events) -> Result<()> {
        let can_send = self.next < self.count && !self.idle.is_empty();
        let due = if can_send { self.timetable.due(self.next as u64) } else { None };
        let gap = due.map_or(WAIT_MAX, |due| due.saturating_sub(self.started.elapsed()));
        let timeout =
            if gap > SOON { gap.min(WAIT_MAX) - Duration::from_millis(1) } else { Duration::ZERO };
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        if timeout.is_zero() && events.is_empty() {
            std::thread::sleep(gap.min(LOOK_EVERY));
        }
        Ok(())
    }

    fn look(&mut self, index: usize, read: fn(&Head, &[u8]) -> Reading) -> Result<()> {
        let socket = &mut self.sockets[index];
        let progress = socket.write(self.requests).and_then(|()| socket.read());
        match progress {
            Ok(Progress::Pending) => Ok(()),
            Ok(Progress::Answered(head)) => {
                let body = &self.sockets[index].received[head.head_bytes..][..head.body_bytes];
                self.finish(index, head, read(&head, body));
                Ok(())
            }
            Err(error) => self.give_up(index, &error),
        }
    }

    fn finish(&mut self, index: usize, head: Head, reading: Reading) {
        let Some(request) = self.sockets[index].in_flight.take() else { return };
        self.tally.latency(self.started.elapsed() - request.due);
        self.tally.answer_bytes += (head.head_bytes + head.body_bytes) as u64;
        match reading {
            Reading::Good => self.tally.acknowledged += 1,
            Reading::Degraded => self.tally.degraded += 1,
            Reading::Wrong(what) => self.tally.fail(what),
        }
        self.idle.push_back(index);
    }

    /// Counts an error and opens another connection in the place of the broken one.
    fn give_up(&mut self, index: usize, error: &anyhow::Error) -> Result<()> {
        let was_in_flight = self.sockets[index].in_flight.is_some();
        self.sockets[index] = Socket::open(self.address, &self.poll, index)?;
        if was_in_flight {
            self.tally.fail(format!("{error:#}"));
            self.idle.push_back(index);
        }
        Ok(())
    }
}

impl Socket {
    fn open(address: &Address, poll: &Poll, index: usize) -> Result<Self> {
        let stream = wire::connect(address)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(
            &mut stream,
            Token(index),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        Ok(Socket { stream, received: vec![0; 4 << 10], filled: 0, in_flight: None })
    }

    /// Writes what is left of the request, as far as the kernel takes it.
    fn write(&mut self, requests: &Rendered) -> Result<()> {
        let Some(request) = &mut self.in_flight else { return Ok(()) };
        let bytes = requests.slice(request.item..request.item + 1);
        while request.written < bytes.len() {
            match self.stream.write(&bytes[request.written..]) {
                Ok(written) => request.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the request could not be sent"),
            }
        }
        Ok(())
    }

    /// Reads until the answer is whole, or there is nothing more for now. A whole answer needs no
    /// further look: nothing follows it before the next request, and new bytes wake the poll again.
    fn read(&mut self) -> Result<Progress> {
        loop {
            if self.filled == self.received.len() {
                ensure!(
                    self.filled < ANSWER_BYTES_MAX,
                    "the answer is longer than {ANSWER_BYTES_MAX} bytes"
                );
                self.received.resize(self.filled * 2, 0);
            }
            match self.stream.read(&mut self.received[self.filled..]) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Progress::Pending);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("no answer"),
            }
            if let Some(head) = wire::head(&self.received[..self.filled])?
                && self.filled >= head.head_bytes + head.body_bytes
            {
                self.filled = 0;
                return Ok(Progress::Answered(head));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers every request head on every connection with the same bytes; stops with its clients.
    fn server(
        answer: &'static [u8],
        connections: usize,
    ) -> (Address, std::thread::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let thread = std::thread::spawn(move || {
            let clients: Vec<_> = (0..connections)
                .map(|_| {
                    let (stream, _) = listener.accept().expect("a client");
                    std::thread::spawn(move || answer_all(stream, answer))
                })
                .collect();
            clients.into_iter().map(|client| client.join().expect("it ends")).sum()
        });
        (Address::parse(&format!("http://127.0.0.1:{port}")).expect("a URL"), thread)
    }

    fn answer_all(mut stream: std::net::TcpStream, answer: &[u8]) -> usize {
        stream.set_nodelay(true).expect("a socket");
        let mut answered = 0;
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while stream.read(&mut byte).expect("readable") == 1 {
            request.push(byte[0]);
            if request.ends_with(b"\r\n\r\n") {
                // In two parts, as a network would.
                stream.write_all(&answer[..5]).expect("room");
                stream.write_all(&answer[5..]).expect("room");
                request.clear();
                answered += 1;
            }
        }
        answered
    }

    fn read(head: &Head, body: &[u8]) -> Reading {
        match (head.status, body) {
            (302, b"ok") => Reading::Good,
            (200, b"less") => Reading::Degraded,
            (status, _) => Reading::Wrong(format!("answered {status}")),
        }
    }

    fn drive(answer: &'static [u8], rate: u64) -> (Tally, usize, Duration) {
        let (address, thread) = server(answer, 3);
        let requests = Rendered::of([b"GET /click?imp=a HTTP/1.1\r\n\r\n".as_slice(); 80]);
        let timetable = Timetable::of_rate(rate);
        let end = Duration::from_secs(5);
        let engine = Engine::new(&address, &requests, 200, timetable, end, 3).expect("connected");
        let (tally, elapsed) = engine.run(read).expect("driven");
        (tally, thread.join().expect("the server ends"), elapsed)
    }

    #[test]
    fn as_many_requests_are_sent_and_answered_as_are_due() {
        for rate in [0, 2_000] {
            let (tally, answered, elapsed) =
                drive(b"HTTP/1.1 302 Found\r\ncontent-length: 2\r\n\r\nok", rate);
            assert_eq!(
                (tally.sent, tally.acknowledged, tally.errors, answered),
                (200, 200, 0, 200)
            );
            assert_eq!(tally.latency.len(), 200);
            let last_due = Timetable::of_rate(rate).due(199).unwrap_or_default();
            assert!(elapsed >= last_due, "an open loop sends nothing before it is due");
        }
    }

    #[test]
    fn answers_are_read_whole() {
        let (tally, ..) = drive(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nless", 0);
        assert_eq!((tally.acknowledged, tally.degraded), (0, 200));
        assert_eq!(tally.answer_bytes, 200 * 42);
        let (tally, ..) = drive(b"HTTP/1.1 404 Not Found\r\n\r\n", 0);
        assert_eq!((tally.acknowledged, tally.errors), (0, 200));
        assert_eq!(tally.first_error.as_deref(), Some("answered 404"));
    }
}
