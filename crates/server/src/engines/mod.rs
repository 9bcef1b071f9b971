//! The wiring: from a configuration to a running system. Each seam has a file here with one `match`:
//! engines are named there, and in their own files; nowhere else.

mod books;
mod features;
mod lake;
mod log;
mod rollup;
#[cfg(debug_assertions)]
mod sabotage;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use reckon_billing::{Spend, SpendView};
use reckon_books::Books;
use reckon_disk::Disk;
use reckon_event::{Erasures, Kind, Position, Record, Subscriber, TenantId, Timestamp, peek};
use reckon_eventlog::EventLog;
use reckon_feature::{FeatureSubscriber, PastsSubscriber};
use reckon_lake::{LakeOptions, LakeSubscriber};
use reckon_pipeline::{Pipeline, Running};
use reckon_predict::{Exploration, Predictor};
use reckon_rollout::{Learner, Models};
use reckon_rollup::RollupSubscriber;

use crate::app::App;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, Unsigned};
use crate::data_dir::{DataDir, remove};
use crate::edge::{Edge, Lists, Meters, Policy, Scorer, Spool, Thresholds};
use crate::erasure::ErasedPersons;
use crate::http::{Gate, body, keys};
use crate::mint::Minter;
use crate::persons::Persons;
use crate::secrets::{Secrets, write_private};

pub use books::{open_books, postgres, postgres_options, verify_books};
pub use features::plan;
pub use lake::lake_place;
pub use log::{Log, log_starts};
pub use rollup::open_rollup;

/// How much of the log is read at once when rows are read again.
const RECALL_BYTES: usize = 1 << 20;

/// A running system. Dropping it without [`System::stop`] is a crash, which loses nothing that was
/// acknowledged.
pub struct System {
    /// What handlers share.
    pub app: Arc<App>,
    /// The admin's key where this start has made it.
    pub fresh_admin_key: Option<String>,
    pipeline: Running,
    log: Log,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _lock: File,
}

/// Forgets everything that the log can make again. Checkpoints go last: as long as they are there, one
/// that was cut off is seen at the next start. Features on a cluster begin anew where there is no
/// checkpoint.
pub async fn clear_derived(config: &Config, dir: &DataDir, incarnation: u32) -> Result<()> {
    lake::clear_lake(config, dir, incarnation).await?;
    rollup::clear_rollup(config, dir)?;
    let spend = dir.spend();
    remove(spend.parent().context("the spend view has a folder")?)?;
    for folder in [dir.features(), dir.pasts(), dir.learner(), dir.count()] {
        remove(&folder)?;
    }
    Ok(())
}

/// Opens everything in a data folder and starts counting.
pub async fn start(
    config: Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    clock: Arc<Clock>,
) -> Result<System> {
    std::fs::create_dir_all(&dir.0).with_context(|| format!("cannot make {}", dir.0.display()))?;
    let lock = dir.lock()?;
    dir.record_clock(&clock)?;
    std::fs::remove_dir_all(dir.scratch()).ok();
    std::fs::create_dir_all(dir.scratch())
        .with_context(|| format!("cannot make {}", dir.scratch().display()))?;
    let (books, accounts) = open_books(&config, dir).await?;
    let now = clock.now();
    let incarnation = books.lease("incarnation", now).await.context("books")?;
    let opened = Log::open(&config, dir, Arc::clone(&disk), incarnation)?;
    let log = opened.shared();
    let rollup = open_rollup(&config, dir, Arc::clone(&disk))?;
    #[cfg(debug_assertions)]
    let (log, rollup) = (sabotage::log(log), sabotage::rollup(rollup));
    let features = features::open_features(&config, dir, Arc::clone(&disk))?;
    let pasts = features::open_pasts(&config, dir, Arc::clone(&disk))?;
    let tenants = tenants(&*books).await?;
    let spent = SpendView::open(Arc::clone(&disk), &dir.spend(), &*rollup, &tenants)
        .with_context(|| format!("spend: {}", dir.spend().display()))?;
    if let Some(damage) = spent.damage {
        eprintln!("spend: {damage}: it is summed up again from the rollup");
    }
    let lake_place = lake_place(&config, dir)?;
    let lake = LakeSubscriber::open(lake_place.clone(), LakeOptions::new(incarnation.into()))
        .context("lake")?;
    let lake_handle = lake.handle();
    // Before anything is counted: what was erased is not to be built again.
    let erased = Arc::new(ErasedPersons::load(&*books).await?);
    let erasures = Arc::clone(&erased) as Arc<dyn Erasures>;
    let (learner, models) = open_learner(&config, dir, Arc::clone(&disk), &log)?;
    let mut subscribers: Vec<Box<dyn Subscriber>> = vec![
        Box::new(RollupSubscriber::new(Arc::clone(&rollup))),
        Box::new(FeatureSubscriber::new(Arc::clone(&features)).without(Arc::clone(&erasures))),
        Box::new(spent.view),
        Box::new(lake),
        Box::new(learner.without(Arc::clone(&erasures))),
    ];
    if let Some(pasts) = &pasts {
        subscribers.push(Box::new(PastsSubscriber::new(Arc::clone(pasts), erasures)));
    }
    let pipeline = start_pipeline(&config, dir, disk, &log, subscribers, incarnation)?;
    let fresh_admin_key = ensure_admin_key(&*books, dir, now).await?;
    let catalog = Arc::new(Catalog::default());
    crate::catalog_load::load(
        &catalog,
        books.load_catalog().await.context("books: cannot load the catalog")?,
    )?;
    let persons = Persons::load(&*books, config.feature.persons_max).await?;
    let mut predictor = Predictor::new(Arc::clone(&features), models)
        .with_age_max(config.feature.age_s_max.saturating_mul(Timestamp::SECOND));
    if let Some(champion) = features::open_champion(&config, pasts.as_deref())? {
        predictor = predictor.with_champion(champion);
    }
    if let Some(pasts) = pasts {
        predictor = predictor.with_columns(pasts);
    }
    let scorer = Scorer::new(predictor, exploration(&config), incarnation);
    let serving = (scorer, spent.spend, erased);
    let known = (catalog, persons);
    let edge = edge(&config, dir, clock, known, Arc::clone(&log), incarnation, serving)?;
    if config.rules.enabled {
        // Rules that cannot be read are told before anything is served.
        let file = Some(config.rules.file.as_str()).filter(|file| !file.is_empty());
        crate::rules::RulesFile::load(file.map(Path::new))?;
    }
    let app = Arc::new(App {
        gate: Gate::new(Arc::clone(&books), config.server.anonymous_requests_per_second),
        body_limits: body::Limits {
            bytes_max: config.server.body_bytes_max,
            bytes_decompressed_max: config.server.body_bytes_decompressed_max,
            timeout: Duration::from_millis(config.server.body_timeout_ms),
        },
        edge,
        accounts,
        books,
        lake_place,
        lake: lake_handle,
        audit_turn: crate::audit::Turn::default(),
        dir: dir.clone(),
        features,
        rollup,
        progress: Arc::clone(pipeline.progress()),
        log_troubles: {
            let log = opened.clone();
            Box::new(move || log.troubles())
        },
        stopping: tokio::sync::watch::Sender::new(false),
        config,
    });
    crate::beat::tell_rules(&app).await.context("rules")?;
    let mut tasks = vec![
        tokio::spawn(drain(Arc::clone(&app))),
        tokio::spawn(tidy(Arc::clone(&app))),
        tokio::spawn(crate::beat::run(Arc::clone(&app))),
        tokio::spawn(crate::retention::run(Arc::clone(&app))),
        tokio::spawn(crate::erasure::run(Arc::clone(&app))),
    ];
    if app.config.audit.hourly {
        tasks.push(tokio::spawn(crate::audit::hourly::run(Arc::clone(&app))));
    }
    Ok(System { app, fresh_admin_key, pipeline, log: opened, tasks, _lock: lock })
}

impl System {
    /// Closes the log and stops counting at a checkpoint. What is still in the spool is lost, and
    /// counted.
    pub async fn stop(self) -> Result<()> {
        for task in self.tasks {
            task.abort();
            task.await.ok();
        }
        self.app.edge.spool.abandon();
        let (pipeline, log) = (self.pipeline, self.log);
        let stopped = tokio::task::spawn_blocking(move || {
            log.close()?;
            pipeline.stop().context("counting")
        });
        drop(stopped.await.context("the counter's thread")??);
        self.app.books.close().await;
        Ok(())
    }
}

/// Everyone who has something in the catalog.
pub async fn tenants(books: &dyn Books) -> Result<Vec<TenantId>> {
    let catalog = books.load_catalog().await.context("books: cannot load the catalog")?;
    let tenants = catalog.campaigns.iter().map(|entry| entry.tenant).chain([TenantId::DEFAULT]);
    Ok(tenants.collect::<BTreeSet<_>>().into_iter().collect())
}

fn open_learner(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    log: &Arc<dyn EventLog>,
) -> Result<(Learner, Arc<Models>)> {
    let linear = reckon_rollout::LinearOptions { bits: config.model.bits, ..Default::default() };
    let options = reckon_rollout::Options {
        linear,
        window: config.model.attribution_s * Timestamp::SECOND,
        pending_bytes_max: config.model.pending_bytes_max,
        publish_epochs: config.model.publish_epochs,
    };
    let (learner, damage) = Learner::open(disk, &dir.learner(), options, recall(Arc::clone(log)))
        .with_context(|| format!("learner: {}", dir.learner().display()))?;
    if let Some(damage) = damage {
        eprintln!("learner: {damage}: the online model begins anew");
    }
    let models = learner.models();
    Ok((learner, models))
}

/// Reads the rows that still wait for their label from the log again.
fn recall(log: Arc<dyn EventLog>) -> reckon_rollout::Recall {
    Box::new(move |ranges, take| {
        for (partition, range) in ranges {
            let mut from = range.start.max(log.range(*partition).start);
            while from < range.end {
                let chunk = log.read(*partition, from, RECALL_BYTES)?;
                if chunk.entries.is_empty() {
                    break;
                }
                for entry in chunk.entries.iter().take_while(|entry| entry.offset < range.end) {
                    let bytes = &chunk.bytes[entry.bytes.clone()];
                    if peek(bytes)?.kind_code == Kind::Prediction.code() {
                        let position = Position { partition: *partition, offset: entry.offset };
                        take(position, &Record::decode(bytes)?.0);
                    }
                }
                from = chunk.next;
            }
        }
        Ok(())
    })
}

fn exploration(config: &Config) -> Exploration {
    Exploration {
        draws: config.explore.draws,
        floor: config.explore.floor,
        width: config.explore.width,
    }
}

fn start_pipeline(
    config: &Config,
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    log: &Arc<dyn EventLog>,
    subscribers: Vec<Box<dyn Subscriber>>,
    generation: u32,
) -> Result<Running> {
    let options = reckon_pipeline::Options {
        policy: count_policy(config),
        epoch_interval: Duration::from_millis(config.counter.epoch_ms),
        epoch_records_max: config.counter.epoch_records_max,
        checkpoint_epochs: config.counter.checkpoint_epochs,
        ..Default::default()
    };
    let pipeline =
        Pipeline::open(Arc::clone(log), disk, &dir.count(), options, generation, subscribers)
            .with_context(|| format!("counting: {}", dir.count().display()))?;
    pipeline.spawn().context("cannot start the counter's thread")
}

/// How long counting remembers.
pub fn count_policy(config: &Config) -> reckon_count::Policy {
    reckon_count::Policy {
        minted_horizon: config.minted_horizon_us(),
        opaque_horizon: config.counter.opaque_horizon_s * Timestamp::SECOND,
        unsigned_window: config.click.unsigned_window_s * Timestamp::SECOND,
        ..Default::default()
    }
}

/// The key of the first start: made once, kept alone in its file.
async fn ensure_admin_key(
    books: &dyn Books,
    dir: &DataDir,
    now: Timestamp,
) -> Result<Option<String>> {
    if dir.admin_key().exists() {
        return Ok(None);
    }
    let secret =
        keys::create_admin_key(books, now).await.context("books: cannot make the admin key")?;
    write_private(&dir.admin_key(), &format!("{secret}\n"))?;
    Ok(Some(secret))
}

fn edge(
    config: &Config,
    dir: &DataDir,
    clock: Arc<Clock>,
    (catalog, persons): (Arc<Catalog>, Persons),
    log: Arc<dyn EventLog>,
    incarnation: u32,
    (scorer, spend, erased): (Scorer, Spend, Arc<ErasedPersons>),
) -> Result<Edge> {
    let meters = Arc::new(Meters::default());
    Ok(Edge {
        clock,
        secrets: Secrets::load(&dir.secrets())?,
        catalog,
        persons,
        minter: Minter::new(incarnation),
        lists: ArcSwap::from_pointee(Lists::load(&config.rules)?),
        log,
        spend,
        spool: Arc::new(Spool::new(config.click.spool_events_max, Arc::clone(&meters))),
        scorer,
        erased,
        policy: policy(config),
        meters,
    })
}

fn policy(config: &Config) -> Policy {
    let too_fast_ms = if config.rules.enabled { config.rules.too_fast_ms } else { 0 };
    Policy {
        thresholds: Thresholds {
            too_fast_us: too_fast_ms * 1_000,
            token_age_us_max: config.token.expiry_s * Timestamp::SECOND,
            token_age_batch_us_max: config.token.expiry_batch_s * Timestamp::SECOND,
        },
        unsigned_counts: config.click.unsigned == Unsigned::Count,
        wait_max: Duration::from_millis(config.click.wait_ms_max),
        future_skew_us: config.events.future_skew_s * Timestamp::SECOND,
        age_us_max: config.events.age_s_max.saturating_mul(Timestamp::SECOND),
        batch_events_max: config.server.batch_events_max,
        expiry_us: config.token.expiry_s.max(config.token.expiry_batch_s) * Timestamp::SECOND,
        rules_version: u32::try_from(too_fast_ms).unwrap_or(u32::MAX),
    }
}

async fn drain(app: Arc<App>) {
    app.edge.spool.drain(app.log()).await;
}

/// What must be forgotten now and then: quiet addresses, old answers.
async fn tidy(app: Arc<App>) {
    let mut every = tokio::time::interval(Duration::from_secs(60));
    loop {
        every.tick().await;
        app.gate.sweep();
        if let Err(error) = app.books.expire(app.edge.clock.now()).await {
            eprintln!("books: cannot expire old answers: {error}");
        }
    }
}
