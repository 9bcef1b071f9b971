//! The two functions that SQL has not, and the recount needs.
//!
//! `leader(now, stamp, width, mark)` over a partition in its order: the first row leads; a row that
//! comes `width` or more after the stamp of the one that leads takes the lead. Gives the mark of the
//! row that leads. "Once a window" is not a window in SQL's sense, since each one begins where the
//! last has ended; a recursive query would say it one row at a time.
//!
//! `record_hash(appender, sequence, verdict)`: XXH3, to be summed up in any order.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt64Type};
use datafusion::common::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    ColumnarValue, LimitEffect, PartitionEvaluator, ScalarUDF, Signature, Volatility, WindowUDF,
    WindowUDFImpl, create_udf,
};
use datafusion::physical_expr::PhysicalExpr;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Leader {
    signature: Signature,
}

/// The window function `leader`.
pub(crate) fn leader() -> WindowUDF {
    let types = vec![DataType::Int64, DataType::Int64, DataType::Int64, DataType::UInt64];
    WindowUDF::from(Leader { signature: Signature::exact(types, Volatility::Immutable) })
}

impl WindowUDFImpl for Leader {
    fn name(&self) -> &'static str {
        "leader"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(LeaderEvaluator))
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::UInt64, false)))
    }

    fn limit_effect(&self, _: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::Unknown
    }
}

#[derive(Debug)]
struct LeaderEvaluator;

impl PartitionEvaluator for LeaderEvaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        let [now, stamp, width] =
            [0, 1, 2].map(|at| values[at].as_primitive::<Int64Type>().values());
        let marks = values[3].as_primitive::<UInt64Type>().values();
        let mut leading: Option<usize> = None;
        let leaders: UInt64Array = (0..rows)
            .map(|row| {
                let leads = leading.filter(|&at| now[row] - stamp[at] < width[row]);
                let leads = *leading.insert(leads.unwrap_or(row));
                Some(marks[leads])
            })
            .collect();
        Ok(Arc::new(leaders))
    }
}

/// The scalar function `record_hash`.
pub(crate) fn record_hash() -> ScalarUDF {
    let types = vec![DataType::UInt64, DataType::UInt64, DataType::UInt64];
    let hash = |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let [appenders, sequences, verdicts] =
            [0, 1, 2].map(|at| arrays[at].as_primitive::<UInt64Type>());
        let hashes: UInt64Array = (0..appenders.len())
            .map(|row| {
                let (appender, sequence) = (appenders.value(row), sequences.value(row));
                Some(hash_record(appender, sequence, verdicts.value(row)))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(hashes)))
    };
    create_udf("record_hash", types, DataType::UInt64, Volatility::Immutable, Arc::new(hash))
}

/// What `record_hash` gives for one record.
pub(crate) fn hash_record(appender: u64, sequence: u64, verdict: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&appender.to_le_bytes());
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    bytes[16..].copy_from_slice(&verdict.to_le_bytes());
    xxh3_64(&bytes)
}
