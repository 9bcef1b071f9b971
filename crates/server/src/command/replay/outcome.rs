//! Telling what became of predicted rows, in the order of the file: an impression each, and a click
//! where there was one, in batches. A batch's rows are in flight until the model has learned of them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use reckon_event::Kind;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::batch::Place;
use super::learned::{Learning, Trained};
use super::predict::{Answered, Scored};
use super::row::Row;
use super::send::{Rejected, Sent, post_events};
use crate::command::client::Client;

/// Rows of one batch: so few that the server publishes what it has learned of them at once.
const BATCH_ROWS_MAX: usize = 128;
const STOPPED: &str = "a connection stopped";

/// When outcomes are told.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A token is used no sooner than this after it was given: a click at once is no person's.
    pub click_after: Duration,
    /// Events of one batch at most.
    pub batch_events: usize,
}

/// A row that was asked about.
pub struct Told {
    /// Where it stands.
    pub place: Place,
    /// The row.
    pub row: Row,
    /// Where its prediction will arrive.
    pub answer: oneshot::Receiver<Result<Answered>>,
    /// Its share of the rows in flight.
    pub room: OwnedSemaphorePermit,
}

/// A row with its answer.
struct Ready {
    place: Place,
    row: Row,
    answered: Answered,
    room: OwnedSemaphorePermit,
}

/// Tells the outcome of every row, and ends with the last of them or the first error.
pub async fn tell(mut client: Client, rows: Receiver<Told>, pace: Pace) -> Result<Sent> {
    let mut learning = Learning::begin(client.another()).await?;
    let mut queue = Queue { rows, head: None };
    let mut sent = Sent::default();
    while let Some(first) = queue.ready().await? {
        if let Answered::Scored(scored) = &first.answered {
            tokio::time::sleep_until(scored.at + pace.click_after).await;
        }
        let old_enough = Instant::now() - pace.click_after;
        let mut batch = Batch::default();
        batch.take(first, &mut sent);
        // A row is two events at most.
        while batch.room.len() < BATCH_ROWS_MAX
            && batch.events.len() + 2 <= pace.batch_events
            && let Some(next) = queue.ready_by(old_enough)?
        {
            batch.take(next, &mut sent);
        }
        batch.post(&mut client, &mut sent).await?;
        learning.wait(batch.told).await?;
    }
    sent.predictions.unlearned = learning.given_up;
    Ok(sent)
}

/// Rows in order, each of which waits for its answer.
struct Queue {
    rows: Receiver<Told>,
    head: Option<(Told, Option<Answered>)>,
}

impl Queue {
    /// The next row, once it is answered; `None` after the last one.
    async fn ready(&mut self) -> Result<Option<Ready>> {
        let (told, answered) = match self.head.take() {
            Some(head) => head,
            None => match self.rows.recv().await {
                Some(told) => (told, None),
                None => return Ok(None),
            },
        };
        let Told { place, row, answer, room } = told;
        let answered = match answered {
            Some(answered) => answered,
            None => answer.await.context(STOPPED)??,
        };
        Ok(Some(Ready { place, row, answered, room }))
    }

    /// The next row if it was answered by a time.
    fn ready_by(&mut self, time: Instant) -> Result<Option<Ready>> {
        let (mut told, answered) = match self.head.take() {
            Some(head) => head,
            None => match self.rows.try_recv() {
                Ok(told) => (told, None),
                Err(_) => return Ok(None),
            },
        };
        let answered = match answered {
            Some(answered) => Some(answered),
            None => match told.answer.try_recv() {
                Ok(answered) => Some(answered?),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Closed) => bail!(STOPPED),
            },
        };
        match answered {
            Some(answered) if is_by(&answered, time) => {
                let Told { place, row, room, .. } = told;
                Ok(Some(Ready { place, row, answered, room }))
            }
            answered => {
                self.head = Some((told, answered));
                Ok(None)
            }
        }
    }
}

fn is_by(answered: &Answered, time: Instant) -> bool {
    match answered {
        Answered::Scored(scored) => scored.at <= time,
        Answered::Refused(_) => true,
    }
}

/// One event on its way.
struct Event {
    place: Place,
    kind: Kind,
    /// Its token is new, so it must count.
    is_fresh: bool,
}

/// Events of rows in a row.
#[derive(Default)]
struct Batch {
    body: Vec<u8>,
    events: Vec<Event>,
    /// Given back when the batch is learned.
    room: Vec<OwnedSemaphorePermit>,
    /// What is to be learned of it.
    told: Trained,
}

impl Batch {
    fn take(&mut self, ready: Ready, sent: &mut Sent) {
        let Ready { place, row, answered, room } = ready;
        match answered {
            Answered::Refused(reason) => sent.rejected.note(place, reason),
            Answered::Scored(scored) => {
                sent.predictions.note(&scored, row.clicked);
                self.push(place, Kind::Impression, &row, &scored);
                if row.clicked {
                    self.push(place, Kind::Click, &row, &scored);
                }
                self.room.push(room);
            }
        }
    }

    fn push(&mut self, place: Place, kind: Kind, row: &Row, scored: &Scored) {
        self.body.extend_from_slice(row.event(kind, &scored.token).as_bytes());
        self.body.push(b'\n');
        self.events.push(Event { place, kind, is_fresh: !scored.is_repeated });
    }

    async fn post(&mut self, client: &mut Client, sent: &mut Sent) -> Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let answer = post_events(client, Bytes::from(std::mem::take(&mut self.body))).await?;
        sent.accepted += answer.accepted;
        let mut rejected = answer.rejected.into_iter().peekable();
        for (index, event) in self.events.iter().enumerate() {
            match rejected.next_if(|one| one.index == index) {
                Some(Rejected { reason, .. }) => sent.rejected.note(event.place, reason),
                None => event.expect(sent, &mut self.told),
            }
        }
        Ok(())
    }
}

impl Event {
    /// Adds what the counts must grow by, and what is to be learned. An event whose token an earlier
    /// run was given is a duplicate, unless that run was broken off before it.
    fn expect(&self, sent: &mut Sent, told: &mut Trained) {
        match self.kind {
            Kind::Click => {
                sent.clicks += 1;
                told.clicks += u64::from(self.is_fresh);
            }
            _ => {
                sent.impressions += i64::from(self.is_fresh);
                told.rows += u64::from(self.is_fresh);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::{Semaphore, mpsc};

    fn scored(at: Instant) -> Answered {
        let token = "T".to_owned();
        Answered::Scored(Scored {
            probability: 0.5,
            token,
            is_degraded: false,
            is_repeated: false,
            at,
        })
    }

    struct Fixture {
        queue: Queue,
        replies: Vec<oneshot::Sender<Result<Answered>>>,
    }

    async fn fixture(rows: u64) -> Fixture {
        let (sender, receiver) = mpsc::channel(16);
        let room = Arc::new(Semaphore::new(16));
        let mut replies = Vec::new();
        for line in 1..=rows {
            let (reply, answer) = oneshot::channel();
            let room = Arc::clone(&room).acquire_owned().await.expect("room");
            let told = Told { place: Place { file: 0, line }, row: Row::default(), answer, room };
            assert!(sender.send(told).await.is_ok());
            replies.push(reply);
        }
        Fixture { queue: Queue { rows: receiver, head: None }, replies }
    }

    #[tokio::test]
    async fn rows_come_in_order_whatever_order_they_are_answered_in() {
        let Fixture { mut queue, replies } = fixture(3).await;
        let now = Instant::now();
        for reply in replies.into_iter().rev() {
            reply.send(Ok(scored(now))).expect("it waits");
        }
        let mut lines = Vec::new();
        while let Some(ready) = queue.ready().await.expect("no error") {
            lines.push(ready.place.line);
        }
        assert_eq!(lines, [1, 2, 3]);
    }

    #[tokio::test]
    async fn nobody_is_taken_before_its_time_or_lost_for_it() {
        let Fixture { mut queue, mut replies } = fixture(3).await;
        let now = Instant::now();
        let line = |ready: Option<Ready>| ready.map(|ready| ready.place.line);
        assert_eq!(line(queue.ready_by(now).expect("no error")), None, "not answered");
        replies.remove(0).send(Ok(scored(now))).expect("it waits");
        assert_eq!(line(queue.ready_by(now - Duration::from_secs(1)).expect("no error")), None);
        assert_eq!(line(queue.ready_by(now).expect("no error")), Some(1));
        replies.remove(0).send(Ok(Answered::Refused("x".to_owned()))).expect("it waits");
        assert_eq!(line(queue.ready_by(now).expect("no error")), Some(2), "nothing to wait for");
        replies.remove(0).send(Ok(scored(now))).expect("it waits");
        assert_eq!(line(queue.ready_by(now - Duration::from_secs(1)).expect("no error")), None);
        assert_eq!(line(queue.ready().await.expect("no error")), Some(3));
        assert_eq!(line(queue.ready_by(now).expect("no error")), None, "there are no more");
    }

    #[tokio::test]
    async fn a_broken_connection_is_told() {
        let Fixture { mut queue, replies } = fixture(2).await;
        drop(replies);
        assert!(queue.ready().await.is_err());
        assert!(queue.ready_by(Instant::now()).is_err());
    }
}
