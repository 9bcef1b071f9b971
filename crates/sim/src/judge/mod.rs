//! The judge: at the end of a history everything that is kept is compared with the truth.

mod lake;
mod rollup;

use std::collections::BTreeMap;
use std::path::Path;

use reckon_count::naive::{Line, Sum};
use reckon_event::{Kind, Timestamp, Verdict};

use crate::feeds::lock;
use crate::machine::LOG_DIR;
use crate::truth::{Told, Truth};
use crate::world::{COUNTER_DIR, ROLLUP_DIR, Running, World, words_of};

/// A record with the verdict in force for it.
pub(crate) type InForce<'a> = (&'a Told, Option<Verdict>);

/// Compares a house that has nothing left to do.
pub(crate) fn compare(world: &mut World<'_>, running: &Running) -> Result<(), String> {
    let log = world.log()?;
    let mut truth = lock(&world.truth);
    let mut tally = lock(&world.tally);
    let snapshot = running.pipeline.progress().snapshot();
    let in_force = truth.settle(snapshot.watermark);
    check_lines(&truth, &in_force)?;
    if running.pipeline.totals() != truth.recount.totals {
        let found = words_of(&running.pipeline.totals());
        let expected = words_of(&truth.recount.totals);
        return Err(format!("the counter's totals are {found} instead of {expected}"));
    }
    if snapshot.lag() != 0
        || snapshot.unjudged.server.is_some()
        || snapshot.unjudged.client.is_some()
    {
        return Err(format!("something is left to do: {snapshot:?}"));
    }
    tally.verdicts.merge(&truth.recount.totals);
    tally.compared.log_records += compare_log(&truth, &*log)?;
    let rows: Vec<InForce<'_>> = truth.told.iter().zip(in_force).collect();
    tally.compared.rollup_rows += rollup::compare(&running.rollup, &rows, snapshot.epoch)?;
    let (records, revisions) = lake::compare(&world.lake_place(), &rows)?;
    tally.compared.lake_records += records;
    tally.compared.lake_revisions += revisions;
    Ok(())
}

/// The recount's own sums are those of the verdicts it gave.
fn check_lines(truth: &Truth, in_force: &[Option<Verdict>]) -> Result<(), String> {
    let mut lines: BTreeMap<Line, Sum> = BTreeMap::new();
    for (told, verdict) in truth.told.iter().zip(in_force) {
        let record = told.record();
        let Some(verdict) = verdict.filter(|_| record.kind != Kind::Adjustment) else { continue };
        let minute = record.happened.0.div_euclid(Timestamp::MINUTE);
        let line = Line { ad_key: record.ad_key, minute, kind: record.kind, verdict };
        let sum = lines.entry(line).or_default();
        sum.count += 1;
        if record.kind == Kind::Click && verdict == Verdict::Counted {
            sum.spend += record.price;
        }
    }
    if lines == truth.recount.lines {
        Ok(())
    } else {
        Err("the naive recount does not agree with itself".to_owned())
    }
}

/// The log still has what it had, byte by byte, but for what it let go of.
fn compare_log(truth: &Truth, log: &dyn reckon_eventlog::EventLog) -> Result<u64, String> {
    let mut compared = 0;
    for partition in 0..log.partitions() {
        let range = log.range(partition);
        let mut from = range.start;
        while from < range.end {
            let chunk = log.read(partition, from, 1 << 16).map_err(|error| error.to_string())?;
            for entry in &chunk.entries {
                let position = reckon_event::Position { partition, offset: entry.offset };
                let told = truth.places.get(&position).map(|&at| &truth.told[at].bytes);
                if told.map(Vec::as_slice) != Some(&chunk.bytes[entry.bytes.clone()]) {
                    return Err(format!("{position:?} of the log is not what it was"));
                }
                compared += 1;
            }
            if chunk.next != from + chunk.entries.len() as u64 {
                return Err(format!("the log skips from {partition}/{from} to {}", chunk.next));
            }
            from = chunk.next;
        }
    }
    Ok(compared)
}

/// Checks every file of a house that is not open.
pub(crate) fn verify(world: &World<'_>) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let (disk, log_disk) = (&world.machine.disk.disk, &world.machine.log_disk.disk);
    let log = reckon_eventlog::verify(log_disk, Path::new(LOG_DIR)).map_err(|e| words(&e))?;
    let counter = reckon_pipeline::verify(disk, Path::new(COUNTER_DIR)).map_err(|e| words(&e))?;
    let rollup =
        reckon_rollup::files::verify(disk, Path::new(ROLLUP_DIR)).map_err(|e| words(&e))?;
    let lake = reckon_lake::verify(&world.lake_place()).map_err(|e| words(&e))?;
    let damage = (&log.findings, &counter.damage, &rollup.damages, &lake.damage);
    if log.is_sound()
        && counter.damage.is_empty()
        && rollup.damages.is_empty()
        && lake.damage.is_empty()
        && counter.checkpoints > 0
        && lake.files > 0
    {
        return Ok(());
    }
    Err(format!("damage: {damage:?}"))
}
