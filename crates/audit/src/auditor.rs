//! One state of a lake as tables that SQL can ask.
//!
//! | table | rows |
//! |---|---|
//! | `records` | every record, as the lake has it: codes, first verdicts |
//! | `revisions` | verdicts that rules on closed minutes have changed |
//! | `events` | records with the verdict in force, by name |
//! | whatever is handed in | such as `metrics` and `ledger` |

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::datasource::TableProvider;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use reckon_event::{Kind, Verdict};
use reckon_lake::{LakePlace, Manifest, Table};

use crate::AuditError;
use crate::function::{leader, record_hash};
use crate::table::Answer;

/// The bounds of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditOptions {
    /// The most memory queries may take; sorts beyond it go to disk.
    pub memory_bytes_max: usize,
    /// The most rows an answer has.
    pub rows_max: usize,
    /// Threads of one query.
    pub threads: usize,
    /// Where sorts go that do not fit into memory; nowhere, where there is none: they fail then.
    pub scratch: Option<PathBuf>,
}

impl Default for AuditOptions {
    fn default() -> Self {
        AuditOptions { memory_bytes_max: 1 << 30, rows_max: 100_000, threads: 1, scratch: None }
    }
}

/// Reads one state of a lake.
pub struct Auditor {
    pub(crate) context: SessionContext,
    pub(crate) manifest: Manifest,
    options: AuditOptions,
}

const LAKE_URL: &str = "lake://lake/";

impl Auditor {
    /// Opens the newest state of a lake. Its files must stay for as long as it is used: in the process
    /// that writes the lake a lease sees to that.
    pub async fn open(place: &LakePlace, options: AuditOptions) -> Result<Self, AuditError> {
        let manifest = Manifest::latest(place).await?.ok_or(AuditError::NoLake)?;
        let mut config = SessionConfig::new()
            .with_target_partitions(options.threads.max(1))
            .with_information_schema(true);
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.schema_force_view_types = false;
        parquet.pushdown_filters = true;
        let scratch = match &options.scratch {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::Disabled,
        };
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.memory_bytes_max)))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(scratch))
            .build_arc()?;
        let context = SessionContext::new_with_config_rt(config, runtime);
        let root = url::Url::parse(LAKE_URL).expect("it is a URL");
        context.register_object_store(&root, place.objects().clone());
        context.register_udwf(leader());
        context.register_udf(record_hash());
        let auditor = Auditor { context, manifest, options };
        auditor.register_file_table(place, Table::Records, "records")?;
        auditor.register_file_table(place, Table::Revisions, "revisions")?;
        auditor.context.sql(&events_view()).await?;
        Ok(auditor)
    }

    /// The state that is read.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn register_file_table(
        &self,
        place: &LakePlace,
        table: Table,
        name: &str,
    ) -> Result<(), AuditError> {
        let files = self.manifest.files.iter().filter(|file| file.table == table);
        let urls: Vec<ListingTableUrl> = files
            .map(|file| ListingTableUrl::parse(format!("{LAKE_URL}{}", place.object(&file.path))))
            .collect::<Result<_, _>>()?;
        let schema = reckon_lake::schema(table);
        let provider: Arc<dyn TableProvider> = if urls.is_empty() {
            Arc::new(MemTable::try_new(schema, vec![Vec::new()])?)
        } else {
            let format = Arc::new(ParquetFormat::default());
            let options = ListingOptions::new(format).with_file_extension(".parquet");
            let config = ListingTableConfig::new_with_multi_paths(urls)
                .with_listing_options(options)
                .with_schema(schema);
            Arc::new(ListingTable::try_new(config)?)
        };
        self.context.register_table(name, provider)?;
        Ok(())
    }

    /// Makes rows a table of a name, such as `metrics` or `ledger`; one of that name before is gone.
    pub fn hand_in(&self, name: &str, batches: Vec<RecordBatch>) -> Result<(), AuditError> {
        let Some(first) = batches.first() else {
            return Err(AuditError::Question(format!("{name} needs a batch, even if it is empty")));
        };
        let table = MemTable::try_new(first.schema(), vec![batches])?;
        self.context.deregister_table(name)?;
        self.context.register_table(name, Arc::new(table))?;
        Ok(())
    }

    /// Answers a question in SQL. It reads only: whatever would change something is refused.
    pub async fn sql(&self, text: &str) -> Result<Answer, AuditError> {
        let reads_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let frame = self.context.sql_with_options(text, reads_only).await?;
        let frame = frame.limit(0, Some(self.options.rows_max + 1))?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        let mut answer = Answer { schema, batches, is_cut: false };
        if answer.row_count() > self.options.rows_max {
            answer.is_cut = true;
            answer.batches = first_rows(&answer.batches, self.options.rows_max);
        }
        Ok(answer)
    }

    /// At least one batch, which may have no rows: what is made a table of has columns.
    pub(crate) async fn collect(&self, text: &str) -> Result<Vec<RecordBatch>, AuditError> {
        let frame = self.context.sql(text).await?;
        let columns = Arc::clone(frame.schema().inner());
        let mut batches = frame.collect().await?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(columns));
        }
        Ok(batches)
    }
}

fn first_rows(batches: &[RecordBatch], rows: usize) -> Vec<RecordBatch> {
    let mut left = rows;
    let mut kept = Vec::new();
    for batch in batches {
        let taken = left.min(batch.num_rows());
        left -= taken;
        kept.push(batch.slice(0, taken));
    }
    kept.retain(|batch| batch.num_rows() > 0);
    kept
}

/// `CASE column WHEN code THEN 'name' ... END`.
fn names(column: &str, names: impl Iterator<Item = (u8, &'static str)>) -> String {
    let cases = names.map(|(code, name)| format!("WHEN {code} THEN '{name}'"));
    format!("CASE {column} {} END", cases.collect::<Vec<_>>().join(" "))
}

/// The name of a verdict's code.
pub(crate) fn verdict_name(column: &str) -> String {
    names(column, Verdict::all().map(|verdict| (verdict.code(), verdict.name())))
}

fn kind_name(column: &str) -> String {
    let kinds = (0..=u8::MAX).filter_map(Kind::from_code);
    names(column, kinds.map(|kind| (kind.code(), kind.name())))
}

/// The last revision of each record.
pub(crate) const LAST_REVISIONS: &str = "SELECT log_partition, log_offset, verdict, rules_version, \
    epoch FROM (SELECT *, row_number() OVER (PARTITION BY log_partition, log_offset ORDER BY epoch \
    DESC, ordinal DESC) AS nth FROM revisions) WHERE nth = 1";

/// Records by name, with the verdict in force.
fn events_view() -> String {
    let schema = reckon_lake::schema(Table::Records);
    let plain = schema.fields().iter().map(|field| field.name().as_str());
    let plain: Vec<String> = plain
        .filter(|name| !["kind", "verdict", "outcome"].contains(name))
        .map(|name| format!("r.{name}"))
        .collect();
    let in_force = "coalesce(v.verdict, r.verdict)";
    format!(
        "CREATE VIEW events AS SELECT {kind} AS kind, {verdict} AS verdict, \
         {first} AS first_verdict, {outcome} AS outcome, r.kind AS kind_code, \
         {in_force} AS verdict_code, r.verdict AS first_verdict_code, r.outcome AS outcome_code, \
         v.rules_version AS revised_by, {plain} FROM records r LEFT JOIN ({LAST_REVISIONS}) v \
         ON r.log_partition = v.log_partition AND r.log_offset = v.log_offset",
        kind = kind_name("r.kind"),
        verdict = verdict_name(in_force),
        first = verdict_name("r.verdict"),
        outcome = verdict_name("r.outcome"),
        plain = plain.join(", "),
    )
}
