//! Writes: an epoch's entities on all nodes, and then the mark.
//!
//! ```text
//! check     the mark is where it was, and no node has less than the mark says
//! write     every entity's next version, computed here from the one that the mark names
//! witness   each master's witness; wait until replicas have all of it
//! publish   the mark; wait until its replicas have it
//! ```
//!
//! Nothing of an epoch is read before its mark. An attempt that ends anywhere is made again from the
//! start: an entity that has this epoch's version already is left alone, or made again from the
//! version before where another counter has written it. Counters are computed here and not in Lua, by
//! the code that all engines share; a version goes in only where still stands what it was computed
//! from, so that whoever deletes an entity in between is not undone.
//!
//! A marked epoch is on as many replicas as there are, up to the number asked for, so a master that
//! dies takes nothing marked with it. Where more is lost than that, a witness or the mark itself is
//! older than it was: the store then begins anew under another birth. It does not mend: what the lost
//! node had is known to nobody but the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reckon_event::{Applied, Epoch};
use redis::{Cmd, Value};

use super::link::{Command, Fault, Script};
use super::mark::{Mark, list, text, witness_key};
use super::plan::{Plan, Steps, by_entity, lost, moved, plan};
use super::row::{Row, entity_key, seconds_to_live};
use super::slots::{Master, slot_of};
use super::{Error, Shared};
use crate::{Entity, Update};

/// Entities that are read, computed and written together.
const ENTITIES_MAX: usize = 4_096;
/// How often an entity may change between being read and being written.
const ROUNDS_MAX: usize = 16;
/// How often the store is looked at anew because somebody else has moved it.
const LOOKS_MAX: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// How one try at an epoch ended.
enum Outcome {
    Done(Applied),
    /// Somebody else has moved the mark: look again.
    Moved,
    /// Something is gone, and the mark is at this epoch.
    Lost(String, u64),
}

/// Whoever writes; one at a time in a process.
#[derive(Default)]
pub struct Writer {
    /// The mark, where nothing has gone wrong since it was read or published.
    mark: Option<Mark>,
}

impl Writer {
    /// Reads how far the store has come, and makes sure that replicas know it too. What is found lost
    /// is told, and the store begins anew.
    pub async fn open(
        &mut self,
        shared: &Shared,
        checkpoint: u64,
    ) -> Result<Option<String>, Error> {
        let mark = load(shared).await?;
        let lost = match mark.epoch {
            0 => None,
            epoch if epoch < checkpoint => Some(format!(
                "it has come to epoch {epoch}, and counting goes on behind epoch {checkpoint}"
            )),
            _ => lost_by_witness(shared, &mark).await?,
        };
        if lost.is_some() {
            begin(shared, mark.point(), 0).await?;
        }
        self.reload(shared).await?;
        Ok(lost)
    }

    /// Takes an epoch.
    pub async fn apply(
        &mut self,
        shared: &Shared,
        epoch: &Epoch,
        update: &Update,
    ) -> Result<Applied, Error> {
        let steps = by_entity(&shared.options.prefix, update);
        for _ in 0..LOOKS_MAX {
            // Wherever this stops short, the mark is read anew the next time.
            let mark = match self.mark.take() {
                Some(mark) => mark,
                None => load(shared).await?,
            };
            match attempt(shared, &mark, epoch, update, &steps).await {
                Ok((Outcome::Done(applied), mark)) => {
                    shared.know(&mark);
                    self.mark = Some(mark);
                    return Ok(applied);
                }
                Ok((Outcome::Moved, _)) => {}
                Ok((Outcome::Lost(what, at), mark)) => {
                    if begin(shared, (mark.birth, at), epoch.generation).await? {
                        shared.losses.lock().push(what);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let address = shared.writer.address();
        Err(Error::redis("apply")(Fault::Restless { address, what: "the mark" }))
    }

    /// Lets go of entities, on the replicas too.
    pub async fn forget(&mut self, shared: &Shared, entities: &[Entity]) -> Result<(), Error> {
        let deletions = entities.iter().map(|entity| {
            let key = entity_key(&shared.options.prefix, entity);
            Command::plain(slot_of(&key), command("DEL", &key))
        });
        let deletions: Vec<_> = deletions.collect();
        shared.writer.send(&deletions).await.map_err(Error::redis("forget"))?;
        replicate(shared, None, ping).await.map(drop)
    }

    /// Waits until replicas have all there is.
    pub async fn persist(&mut self, shared: &Shared) -> Result<(), Error> {
        replicate(shared, None, ping).await.map(drop)
    }

    /// Begins the store anew, whatever it has.
    pub async fn begin_anew(&mut self, shared: &Shared) -> Result<(), Error> {
        self.mark = None;
        let mark = load(shared).await?;
        begin(shared, mark.point(), 0).await?;
        self.reload(shared).await
    }

    async fn reload(&mut self, shared: &Shared) -> Result<(), Error> {
        let mark = load(shared).await?;
        shared.know(&mark);
        self.mark = Some(mark);
        Ok(())
    }
}

/// One try at an epoch; with how it ended comes the mark as it then is.
async fn attempt(
    shared: &Shared,
    mark: &Mark,
    epoch: &Epoch,
    update: &Update,
    steps: &[Steps],
) -> Result<(Outcome, Mark), Error> {
    let mut mark = mark.clone();
    if mark.birth == 0 {
        begin(shared, mark.point(), epoch.generation).await?;
        mark = load(shared).await?;
    }
    if epoch.generation < mark.generation {
        return Err(Error::Fenced(mark.generation));
    }
    if epoch.generation > mark.generation {
        if !claim(shared, &mark, epoch.generation).await? {
            return Ok((Outcome::Moved, mark));
        }
        mark.generation = epoch.generation;
    }
    if epoch.number <= mark.epoch {
        return Ok((Outcome::Done(Applied::Again), mark));
    }
    // A store that has nothing yet begins wherever it is fed from.
    if mark.epoch != 0 && epoch.number != mark.epoch + 1 {
        return Err(Error::Gap { has: mark.epoch, got: epoch.number });
    }
    if let Some(ended) = check(shared, &mark).await? {
        return Ok((ended, mark));
    }
    if let Some(ended) = write(shared, &mark, epoch, steps).await? {
        return Ok((ended, mark));
    }
    publish(shared, mark, epoch, update).await
}

/// The mark, which replicas have as well by then.
async fn load(shared: &Shared) -> Result<Mark, Error> {
    replicate(shared, None, ping).await?;
    let query = [Command::plain(shared.mark_slot, Mark::query(&shared.mark_key))];
    let values = shared.writer.send(&query).await.map_err(Error::redis("open"))?;
    let mark = Mark::parse(&values[0]);
    mark.map_err(|field| shared.damaged("open", &shared.mark_key, field))
}

async fn lost_by_witness(shared: &Shared, mark: &Mark) -> Result<Option<String>, Error> {
    let queries: Vec<_> = mark.witnesses.iter().map(|&slot| witness_query(shared, slot)).collect();
    let values = shared.writer.send(&queries).await.map_err(Error::redis("open"))?;
    Ok(lost(mark, &values))
}

fn witness_query(shared: &Shared, slot: u16) -> Command {
    Command::plain(slot, command("GET", &witness_key(&shared.options.prefix, slot)))
}

/// Whether everything is as it was left.
async fn check(shared: &Shared, mark: &Mark) -> Result<Option<Outcome>, Error> {
    let mut queries = vec![Command::plain(shared.mark_slot, Mark::query(&shared.mark_key))];
    queries.extend(mark.witnesses.iter().map(|&slot| witness_query(shared, slot)));
    let values = shared.writer.send(&queries).await.map_err(Error::redis("apply"))?;
    let found = Mark::parse(&values[0]);
    let found = found.map_err(|field| shared.damaged("apply", &shared.mark_key, field))?;
    if found.point() < mark.point() {
        let (birth, epoch) = found.point();
        let what = format!(
            "the mark has gone back to epoch {epoch} of run {birth}, and was at epoch {} of run {}",
            mark.epoch, mark.birth
        );
        let at = if birth == mark.birth { epoch } else { 0 };
        return Ok(Some(Outcome::Lost(what, at)));
    }
    if found.point() > mark.point() || found.generation > mark.generation {
        return Ok(Some(Outcome::Moved));
    }
    Ok(lost(mark, &values[1..]).map(|what| Outcome::Lost(what, mark.epoch)))
}

/// Every entity's next version; something only where it could not be finished.
async fn write(
    shared: &Shared,
    mark: &Mark,
    epoch: &Epoch,
    steps: &[Steps],
) -> Result<Option<Outcome>, Error> {
    for chunk in steps.chunks(ENTITIES_MAX) {
        let mut waiting: Vec<&Steps> = chunk.iter().collect();
        for round in 0.. {
            match write_some(shared, mark, epoch, &mut waiting).await? {
                Some(ended) => return Ok(Some(ended)),
                None if waiting.is_empty() => break,
                None if round < ROUNDS_MAX => {}
                None => {
                    let address = shared.writer.address();
                    let fault = Fault::Restless { address, what: "an entity" };
                    return Err(Error::redis("apply")(fault));
                }
            }
        }
    }
    Ok(None)
}

/// One round: those that have changed in between are left in `waiting`.
async fn write_some(
    shared: &Shared,
    mark: &Mark,
    epoch: &Epoch,
    waiting: &mut Vec<&Steps>,
) -> Result<Option<Outcome>, Error> {
    let queries: Vec<_> = waiting
        .iter()
        .map(|steps| Command::plain(slot_of(&steps.key), Row::query(&steps.key)))
        .collect();
    let found = shared.writer.send(&queries).await.map_err(Error::redis("apply"))?;
    let (mut commands, mut written) = (Vec::new(), Vec::new());
    for (steps, value) in waiting.drain(..).zip(&found) {
        let row = Row::parse(value).map_err(|field| shared.damaged("apply", &steps.key, field))?;
        match plan(row, mark, epoch, steps) {
            Plan::Nothing => {}
            Plan::Fenced(generation) => return Err(Error::Fenced(generation)),
            Plan::Lost(what) => return Ok(Some(Outcome::Lost(what, mark.epoch))),
            Plan::Write { row, read } => {
                commands.push(put(shared, &steps.key, &row, &read));
                written.push(steps);
            }
        }
    }
    let answers = shared.writer.send(&commands).await.map_err(Error::redis("apply"))?;
    for (steps, answer) in written.into_iter().zip(&answers) {
        match told(shared, answer)? {
            Told::Done => {}
            Told::Changed => waiting.push(steps),
            Told::Moved => return Ok(Some(Outcome::Moved)),
        }
    }
    Ok(None)
}

fn put(shared: &Shared, key: &str, row: &Row, read: &str) -> Command {
    let script = &shared.scripts.write;
    let mut call = script.call(key);
    call.arg(row.birth).arg(row.now.epoch).arg(row.generation).arg(read);
    call.arg(seconds_to_live(key, shared.options.seconds_to_live));
    row.put(&mut call);
    Command::script(slot_of(key), call, script)
}

/// Makes what was written readable.
async fn publish(
    shared: &Shared,
    mark: Mark,
    epoch: &Epoch,
    update: &Update,
) -> Result<(Outcome, Mark), Error> {
    let told_of = format!("{}.{}", mark.birth, epoch.number);
    let witness = |master: &Master| {
        let mut set = command("SET", &witness_key(&shared.options.prefix, master.slot));
        set.arg(&told_of);
        set
    };
    let masters = replicate(shared, None, witness).await?;
    let next = Mark {
        epoch: epoch.number,
        cut: moved(&mark.cut, update).into(),
        witnesses: masters.iter().map(|master| master.slot).collect(),
        ..mark.clone()
    };
    let script = &shared.scripts.publish;
    let mut call = script.call(&shared.mark_key);
    call.arg(next.birth).arg(next.epoch).arg(next.generation).arg(mark.epoch);
    call.arg(list(&next.cut)).arg(list(&next.witnesses));
    match run(shared, call, script).await? {
        Told::Done => {}
        Told::Changed | Told::Moved => return Ok((Outcome::Moved, mark)),
    }
    replicate(shared, Some(shared.mark_slot), ping).await?;
    Ok((Outcome::Done(Applied::Fresh), next))
}

async fn claim(shared: &Shared, mark: &Mark, generation: u32) -> Result<bool, Error> {
    let script = &shared.scripts.claim;
    let mut call = script.call(&shared.mark_key);
    call.arg(mark.birth).arg(generation);
    Ok(matches!(run(shared, call, script).await?, Told::Done))
}

/// Begins the store anew where the mark is still at this run and epoch, or gone; tells whether it was.
async fn begin(
    shared: &Shared,
    (birth, epoch): (u64, u64),
    generation: u32,
) -> Result<bool, Error> {
    let script = &shared.scripts.begin;
    let mut call = script.call(&shared.mark_key);
    call.arg(birth).arg(epoch).arg(generation);
    Ok(matches!(run(shared, call, script).await?, Told::Done))
}

async fn run(shared: &Shared, call: Cmd, script: &Arc<Script>) -> Result<Told, Error> {
    let call = [Command::script(shared.mark_slot, call, script)];
    let answers = shared.writer.send(&call).await.map_err(Error::redis("apply"))?;
    told(shared, &answers[0])
}

/// What a script has answered.
enum Told {
    Done,
    Changed,
    Moved,
}

fn told(shared: &Shared, answer: &Value) -> Result<Told, Error> {
    match text(answer) {
        Some("done") => Ok(Told::Done),
        Some("changed") => Ok(Told::Changed),
        Some("moved") => Ok(Told::Moved),
        other => match other.and_then(|text| text.strip_prefix("fenced ")?.parse().ok()) {
            Some(generation) => Err(Error::Fenced(generation)),
            None => {
                let what = format!("a script answers {answer:?}");
                Err(Error::redis("apply")(shared.writer.foreign(what)))
            }
        },
    }
}

/// Waits until replicas have all that their masters have now: every master's, or the one's that serves
/// a slot. Tells which masters there are.
async fn replicate(
    shared: &Shared,
    slot: Option<u16>,
    lead: impl Fn(&Master) -> Cmd + Send + Sync,
) -> Result<Vec<Master>, Error> {
    let options = &shared.options;
    let mut last = None;
    for _ in 0..shared.options.attempts_max() {
        match shared.writer.look().await {
            Ok(slots) => {
                let only = slot.map(|slot| slots.owner(slot));
                let masters = slots.masters.iter().zip(0..);
                let masters: Vec<_> = masters
                    .filter(|&(_, at)| only.is_none_or(|owner| owner == Some(at)))
                    .map(|(master, _)| master.clone())
                    .collect();
                let (copies, wait) = (options.replicas, options.replica_wait);
                match shared.writer.replicate(&masters, copies, wait, &lead).await {
                    Ok(thin) => {
                        shared.thin.fetch_add(u64::from(thin > 0), Ordering::Relaxed);
                        return Ok(masters);
                    }
                    Err(fault) => last = Some(fault),
                }
            }
            Err(fault) => last = Some(fault),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::redis("replicate")(last.expect("every attempt has failed")))
}

fn ping(_: &Master) -> Cmd {
    redis::cmd("PING")
}

fn command(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}
