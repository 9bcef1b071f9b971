//! Somebody disputes an invoice. The recount by SQL must come to the same figures as the pipeline, to
//! the last click, and where something went wrong it must say what, where, and what mends it.

use crate::counted::{Fault, HORIZONS, World, count, memory};
use reckon_audit::{
    Cause, Coverage, Mend, RecountRange, Report, late_knowledge, metrics_table, rollup_figures,
};
use reckon_disk::TempDir;
use reckon_event::{Pseudonym, TenantId, Timestamp, Verdict};
use reckon_lake::{
    Erasure, ErasureRequest, LakeOptions, LakePlace, LakeSubscriber, Manifest, Table,
};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn reconcile(world: &World) -> Report {
    run(async {
        let auditor = world.auditor().await;
        let rules = (&HORIZONS, world.rules.as_slice());
        auditor
            .reconcile(&world.place, &world.range(), rules, &world.figures, Coverage::All)
            .await
            .expect("it can be compared")
    })
}

#[test]
fn everything_is_equal_to_the_last_click() {
    for seed in [1, 2] {
        let world = count(seed, 6_000, Fault::None, memory());
        let report = reconcile(&world);
        assert!(report.is_equal(), "seed {seed}:\n{report}");
        assert!(report.records > 5_000 && report.redelivered > 50, "{report}");
        assert!(report.figures > 1_000 && report.groups > 20, "{report}");
        assert!(report.duplicates_beyond_horizon > 0, "a horizon has passed: {report}");
        for verdict in [Verdict::Duplicate, Verdict::Conflict, Verdict::Expired] {
            let all = world.figures.iter().filter(|(key, _)| key.verdict == verdict);
            assert!(all.count() > 20, "{verdict} occurs");
        }
        let by_rules = [21, 22, 23, 24].map(|code| Verdict::from_code(code).expect("a verdict"));
        for verdict in by_rules {
            let all = world.figures.iter().filter(|(key, _)| key.verdict == verdict);
            assert!(all.count() > 3, "{verdict} occurs");
        }
        println!("seed {seed}: {report}");
    }
}

#[test]
fn a_range_in_which_nothing_happened_is_recounted_as_well() {
    let world = count(3, 1_000, Fault::None, memory());
    let all = world.range();
    let day = 24 * Timestamp::HOUR;
    let quiet = RecountRange { from: all.from.plus(-2 * day), to: all.from.plus(-day), ..all };
    let recount =
        run(async { world.auditor().await.recount(&quiet, &HORIZONS, &world.rules).await });
    assert!(recount.expect("it can be recounted").figures.is_empty());
}

#[test]
fn the_rollup_itself_is_held_against_it() {
    let world = count(3, 4_000, Fault::None, memory());
    let range = world.range();
    let tenants = [TenantId(1), TenantId(2)];
    let found = rollup_figures(&*world.store, &tenants, range.from, range.to).expect("it answers");
    let report = run(async {
        let auditor = world.auditor().await;
        let rules = (&HORIZONS, world.rules.as_slice());
        auditor.reconcile(&world.place, &range, rules, &found, Coverage::Metrics).await
    })
    .expect("it can be compared");
    assert!(report.is_equal() && report.figures > 500, "{report}");
}

#[test]
fn a_lost_and_a_doubled_delta_are_named_by_their_epoch() {
    let epoch = 13;
    for (fault, cause) in [
        (Fault::LostDelta(epoch), Cause::LostDelta { epoch }),
        (Fault::DoubledDelta(epoch), Cause::DoubledDelta { epoch }),
    ] {
        let world = count(4, 4_000, fault, memory());
        let report = reconcile(&world);
        assert!(!report.differences.is_empty(), "{fault:?}");
        assert!(report.group_differences.is_empty(), "the records are right: {report}");
        for one in &report.differences {
            assert_eq!((one.cause, one.mend), (cause, Mend::RebuildPane), "{report}");
            assert_eq!(one.in_lake, one.recounted, "{report}");
        }
        let json = serde_json::to_string(&report).expect("it is JSON");
        assert!(json.contains("rebuild_pane"), "{json}");
    }
}

#[test]
fn a_wrong_verdict_is_named_by_its_record() {
    let world = count(5, 4_000, Fault::WrongVerdict(13), memory());
    let report = reconcile(&world);
    assert!(!report.record_differences.is_empty(), "{report}");
    let first = &report.record_differences[0];
    assert!(report.record_differences.iter().any(|one| one.epoch == 13), "{first:?}");
    assert_eq!((first.recounted.as_str(), first.in_lake.as_str()), ("counted", "duplicate"));
    assert!(report.differences.iter().any(|one| one.cause == Cause::WrongVerdict), "{report}");
    assert!(report.differences.iter().any(|one| one.mend == Mend::JudgeAgain), "{report}");
    let again = world.judged_again();
    let mended = reconcile(&again);
    assert!(mended.is_equal() && mended.records == report.records, "{mended}");
    assert_ne!(again.figures, world.figures);
}

#[test]
fn a_damaged_figure_is_no_epochs_fault() {
    let mut world = count(6, 3_000, Fault::None, memory());
    let figure = world.figures.values_mut().next().expect("a figure");
    figure.count += 1_000_003;
    let report = reconcile(&world);
    assert_eq!(report.differences.len(), 1, "{report}");
    assert_eq!(report.differences[0].cause, Cause::DamagedRollup);
}

#[test]
fn a_corrupt_file_is_named_before_anything_is_believed() {
    let folder = TempDir::new("audit");
    let place = LakePlace::folder(folder.path()).expect("a folder");
    let world = count(7, 3_000, Fault::None, place);
    let manifest = run(Manifest::latest(&world.place)).expect("it reads").expect("a lake");
    let file = manifest.files.iter().find(|file| file.table == Table::Records).expect("a file");
    let path = folder.path().join(&file.path);
    let mut bytes = std::fs::read(&path).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).expect("it writes");
    let report = reconcile(&world);
    assert!(!report.is_equal());
    assert_eq!(report.damage.iter().map(|one| &one.path).collect::<Vec<_>>(), [&file.path]);
}

#[test]
fn what_came_after_a_period_was_frozen_is_told_as_rows() {
    let world = count(8, 4_000, Fault::None, memory());
    let (early, late) = run(async {
        let auditor = world.auditor().await;
        let range = world.range();
        let cut = reckon_audit::RecountRange { cut: world.epochs / 2, ..range.clone() };
        let early = auditor.recount(&cut, &HORIZONS, &world.rules).await.expect("recounted");
        (early, auditor.recount(&range, &HORIZONS, &world.rules).await.expect("recounted"))
    });
    let knowledge = late_knowledge(&late.figures, &early.figures);
    assert!(knowledge.len() > 200, "{} rows", knowledge.len());
    let mut sum = early.figures;
    for (key, figure) in &knowledge {
        let entry = sum.entry(*key).or_default();
        entry.count += figure.count;
        for (&currency, &spend) in &figure.spend {
            entry.add(0, currency, spend);
        }
    }
    sum.retain(|_, figure| !figure.is_zero());
    assert_eq!(sum, world.figures, "frozen and late make the whole");
}

#[test]
fn a_figure_is_explained_by_its_records() {
    let world = count(9, 4_000, Fault::None, memory());
    let rapid = Verdict::from_code(22).expect("a verdict");
    let key = world.figures.keys().find(|key| key.verdict == rapid).expect("some are rapid");
    let explained = run(async {
        let auditor = world.auditor().await;
        auditor.explain(key.tenant, key.ad, key.at()).await.expect("explained")
    });
    for (key, figure) in world.figures.iter().filter(|(other, _)| {
        (other.tenant, other.ad, other.minute) == (key.tenant, key.ad, key.minute)
    }) {
        let is_behind =
            |kind: &str, verdict: &str| kind == key.kind.name() && verdict == key.verdict.name();
        let records = explained.records.iter().filter(|r| is_behind(&r.kind, &r.verdict));
        assert_eq!(records.count() as i64, figure.count, "{key:?}");
    }
    let revised = explained.records.iter().filter(|record| record.verdict == rapid.name());
    for record in revised {
        let last = record.revisions.last().expect("rules have changed it");
        assert_eq!((last.after.as_str(), record.first_verdict.as_str()), (rapid.name(), "counted"));
        assert!(last.rules_version > 0);
    }
}

#[test]
fn an_erased_person_changes_no_figure() {
    let world = count(11, 4_000, Fault::None, memory());
    let lake = LakeSubscriber::open(world.place.clone(), LakeOptions::new(2)).expect("it opens");
    for (at, person) in [(1, Pseudonym(9)), (2, Pseudonym(3 << 64))] {
        let mut request = ErasureRequest::new(person, Pseudonym(77 + at), [at as u8; 32]);
        let erased = loop {
            match lake.handle().erase(vec![request.clone()]).expect("it is erased") {
                Erasure::Done(erased) => break erased,
                Erasure::Traced(mut traced) => {
                    request.known.merge(traced.remove(&0).expect("the only one"));
                }
            }
        };
        assert!(erased.persons[0].found > 100 && !erased.files.is_empty(), "{erased:?}");
    }
    drop(lake);
    let report = reconcile(&world);
    assert!(report.is_equal() && report.figures > 500, "{report}");
}

#[test]
fn sql_reads_and_only_reads() {
    let world = count(10, 2_000, Fault::None, memory());
    run(async {
        let auditor = world.auditor().await;
        let count = |answer: &reckon_audit::Answer| {
            String::from_utf8(answer.to_csv().expect("CSV")).expect("UTF-8")
        };
        let all = auditor.sql("SELECT count(*) AS n FROM events WHERE verdict IS NOT NULL").await;
        let figures: i64 = world.figures.values().map(|figure| figure.count).sum();
        let adjustments =
            "SELECT count(*) AS n FROM events WHERE kind = 'adjustment' AND verdict IS NOT NULL";
        let aside = count(&auditor.sql(adjustments).await.expect("it answers"));
        let aside: i64 = aside.lines().nth(1).expect("a row").parse().expect("a number");
        assert_eq!(count(&all.expect("it answers")), format!("n\n{}\n", figures + aside));
        let table = metrics_table(&world.figures).expect("rows");
        auditor.hand_in("metrics", vec![table]).expect("a table");
        let sum = auditor.sql("SELECT CAST(sum(count) AS BIGINT) AS n FROM metrics").await;
        assert_eq!(count(&sum.expect("it answers")), format!("n\n{figures}\n"));
        let json =
            auditor.sql("SELECT verdict, count(*) AS n FROM events GROUP BY 1 ORDER BY 2 DESC");
        let json = json.await.expect("it answers").to_json().expect("JSON");
        assert!(String::from_utf8(json).expect("UTF-8").contains("\"counted\""));
        for text in [
            "CREATE TABLE t (a INT)",
            "DROP VIEW events",
            "INSERT INTO records SELECT * FROM records",
            "COPY (SELECT 1) TO '/tmp/x.csv'",
            "SET datafusion.execution.batch_size = 1",
        ] {
            assert!(auditor.sql(text).await.is_err(), "{text}");
        }
    });
}
