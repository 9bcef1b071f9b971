//! The beat: what the log must be told so that time passes in it.
//!
//! Counting knows no clock. Where no event comes, a minute would never close; so the server appends
//! ticks to every partition: one a second while something happens or has happened lately, one a minute
//! after that. It also tells the log of new rules, and, where somebody wants all figures judged now,
//! that they be settled.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use reckon_event::{Control, Kind, Record, Slot, Timestamp};
use reckon_eventlog::{EventLog, Outcome};
use reckon_pipeline::{Reached, Snapshot};

use crate::app::App;
use crate::edge::{Changed, Lists};
use crate::freshness::Watch;
use crate::rules::RulesFile;

/// Between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// Between two beats where the clock is scaled: a minute of it must not pass between two.
const BEAT_SCALED: Duration = Duration::from_millis(50);
/// So many beats without an event are beaten every second; from then on one in [`QUIET_BEATS`].
const LIVELY_BEATS: u32 = 180;
const QUIET_BEATS: u32 = 60;
/// How long somebody waits for figures to be settled.
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// Beats until the application ends.
pub async fn run(app: Arc<App>) {
    let every = if app.edge.clock.factor() == 1 { BEAT } else { BEAT_SCALED };
    let mut interval = tokio::time::interval(every);
    let mut watch = RulesWatch::new(&app);
    let mut freshness = Watch::default();
    let (mut told, mut quiet) = (Vec::new(), 0_u32);
    loop {
        interval.tick().await;
        freshness.look(&app);
        let ends = ends(app.log());
        quiet = if ends == told { quiet.saturating_add(1) } else { 0 };
        if quiet < LIVELY_BEATS || quiet.is_multiple_of(QUIET_BEATS) {
            tick(&app).await;
        }
        told = self::ends(app.log());
        if let Err(error) = watch.look(&app).await {
            eprintln!("{error:#}");
        }
    }
}

/// Tells every partition what time it is.
pub async fn tick(app: &App) {
    // A log that cannot take it is told of elsewhere, and the next beat comes soon.
    tell(app, &Control::Tick).await.ok();
}

/// Has everything judged that has come so far, and waits until it is: figures of closed minutes then
/// change by later events alone.
pub async fn settle(app: &Arc<App>) -> Result<Arc<Snapshot>> {
    tell(app, &Control::Settle).await?;
    let (cut, waiting) = (ends(app.log()), Arc::clone(app));
    let wait = move || waiting.progress.wait_until(&cut, SETTLE_MAX);
    match tokio::task::spawn_blocking(wait).await? {
        Reached::Yes => Ok(app.progress.snapshot()),
        Reached::TimedOut => bail!("counting is too far behind to settle; try again"),
        Reached::Ended => bail!("counting has stopped"),
    }
}

/// Appends one copy to each partition; done when all of them are durable.
async fn tell(app: &App, control: &Control<'_>) -> Result<()> {
    let mut payload = Vec::new();
    control.encode(&mut payload);
    let log = app.log();
    let received = app.edge.clock.now();
    let mut receipts = Vec::new();
    for partition in 0..log.partitions() {
        let bytes = record(log, partition, received, &payload);
        receipts.push(log.append(partition, &bytes, 1));
    }
    for receipt in receipts {
        let outcome = receipt.await;
        if !matches!(outcome, Outcome::Durable(_)) {
            bail!("the log did not take a control record: {outcome:?}");
        }
    }
    Ok(())
}

fn record(log: &dyn EventLog, partition: u16, received: Timestamp, payload: &[u8]) -> Vec<u8> {
    let slot = Slot::new(log.slots(partition).start).expect("every partition has slots");
    let mut bytes = Vec::new();
    Record { payload, ..Record::new(Kind::Control, slot, received) }.encode(&mut bytes);
    bytes
}

/// The offset behind the last record of each partition.
pub fn ends(log: &dyn EventLog) -> Vec<u64> {
    (0..log.partitions()).map(|partition| log.range(partition).end).collect()
}

/// The files of rules and lists, and when they were changed last.
struct RulesWatch {
    rules: Option<SystemTime>,
    lists: Changed,
}

impl RulesWatch {
    fn new(app: &App) -> Self {
        RulesWatch { rules: changed(app), lists: Changed::look(&app.config.rules) }
    }

    /// Takes over what has changed. A file that cannot be read changes nothing.
    async fn look(&mut self, app: &Arc<App>) -> Result<()> {
        let lists = Changed::look(&app.config.rules);
        if lists != self.lists {
            self.lists = lists;
            let app = Arc::clone(app);
            let load = move || {
                Lists::load(&app.config.rules).map(|lists| app.edge.lists.store(Arc::new(lists)))
            };
            tokio::task::spawn_blocking(load).await??;
        }
        let rules = changed(app);
        if rules != self.rules {
            self.rules = rules;
            tell_rules(app).await?;
        }
        Ok(())
    }
}

/// Tells the log of the configured rules where they differ from those it has.
pub async fn tell_rules(app: &App) -> Result<()> {
    let rules = &app.config.rules;
    let file = Some(rules.file.as_str()).filter(|file| !file.is_empty()).map(Path::new);
    let wanted = if rules.enabled { RulesFile::load(file)? } else { RulesFile::none() };
    let known = Arc::clone(&app.progress.snapshot().rules);
    if let Some(set) = wanted.swap(&known, app.edge.clock.now()) {
        let control = Control::Rules { version: set.version, from: set.from, rules: &set.encode() };
        tell(app, &control).await?;
    }
    Ok(())
}

fn changed(app: &App) -> Option<SystemTime> {
    std::fs::metadata(&app.config.rules.file).and_then(|file| file.modified()).ok()
}
