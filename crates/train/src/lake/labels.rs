//! What became of served rows: their counted impressions and clicks, by the verdicts in force.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use reckon_event::{Kind, Timestamp, Verdict};
use reckon_lake::{LakeError, LakeFile, LakeReader};

/// One row's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    /// When its first counted impression happened.
    pub shown: Timestamp,
    /// Where that was.
    pub position: u16,
    /// When its first counted click happened; the end of time where there was none.
    clicked: Timestamp,
}

const NEVER: Timestamp = Timestamp::MAX;

impl Label {
    const UNKNOWN: Label = Label { shown: NEVER, position: 0, clicked: NEVER };

    /// How long after the impression the click came, where it came within the window. One that is
    /// told to have happened before its impression came at once: two clocks told the two.
    pub fn delay(&self, window_us: i64) -> Option<i64> {
        let delay = (self.clicked != NEVER).then(|| self.clicked.since(self.shown).max(0));
        delay.filter(|delay| *delay <= window_us)
    }
}

/// Labels by prediction.
pub(super) struct Labels {
    by_prediction: HashMap<u64, Label>,
}

/// Where a record stands in the log.
type Place = (u16, u64);

impl Labels {
    /// Reads the labels that some files hold.
    pub fn read(
        lake: &LakeReader,
        files: &[&LakeFile],
        revisions: &[&LakeFile],
    ) -> Result<Self, LakeError> {
        let in_force = in_force(lake, files, revisions)?;
        let mut labels = Labels { by_prediction: HashMap::new() };
        let columns = [
            "kind",
            "verdict",
            "prediction_id",
            "happened",
            "page_position",
            "log_partition",
            "log_offset",
        ];
        for file in files {
            for rows in lake.rows(file, &columns)? {
                labels.take(&rows?, &in_force);
            }
        }
        Ok(labels)
    }

    fn take(&mut self, rows: &RecordBatch, in_force: &HashMap<Place, u8>) {
        let kinds = rows.column(0).as_primitive::<UInt8Type>();
        let verdicts = rows.column(1).as_primitive::<UInt8Type>();
        let predictions = rows.column(2).as_primitive::<UInt64Type>();
        let happened = rows.column(3).as_primitive::<TimestampMicrosecondType>();
        let positions = rows.column(4).as_primitive::<UInt16Type>();
        let partitions = rows.column(5).as_primitive::<UInt16Type>();
        let offsets = rows.column(6).as_primitive::<UInt64Type>();
        for row in 0..rows.num_rows() {
            // A record without a verdict is a repeated append, or counts for nothing.
            if predictions.is_null(row) || predictions.value(row) == 0 || verdicts.is_null(row) {
                continue;
            }
            let place = (partitions.value(row), offsets.value(row));
            let verdict = in_force.get(&place).copied().unwrap_or_else(|| verdicts.value(row));
            if verdict != Verdict::Counted.code() {
                continue;
            }
            let at = Timestamp(happened.value(row));
            let prediction = predictions.value(row);
            match Kind::from_code(kinds.value(row)) {
                Some(Kind::Impression) => self.shown_at(prediction, at, positions.value(row)),
                Some(Kind::Click) => {
                    let label = self.by_prediction.entry(prediction).or_insert(Label::UNKNOWN);
                    label.clicked = label.clicked.min(at);
                }
                _ => {}
            }
        }
    }

    fn shown_at(&mut self, prediction: u64, at: Timestamp, position: u16) {
        let label = self.by_prediction.entry(prediction).or_insert(Label::UNKNOWN);
        if (at, position) < (label.shown, label.position) || label.shown == NEVER {
            (label.shown, label.position) = (at, position);
        }
    }

    /// The label of a row that was shown.
    pub fn of(&self, prediction: u64) -> Option<Label> {
        self.by_prediction.get(&prediction).copied().filter(|label| label.shown != NEVER)
    }

    /// All rows that were shown.
    pub fn shown(&self) -> impl Iterator<Item = &Label> {
        self.by_prediction.values().filter(|label| label.shown != NEVER)
    }
}

/// The last verdict of every record that was judged again and happened when the files' did.
fn in_force(
    lake: &LakeReader,
    files: &[&LakeFile],
    revisions: &[&LakeFile],
) -> Result<HashMap<Place, u8>, LakeError> {
    let (Some(first), Some(last)) = (
        files.iter().map(|file| file.happened.first).min(),
        files.iter().map(|file| file.happened.last).max(),
    ) else {
        return Ok(HashMap::new());
    };
    let mut newest: HashMap<Place, (u64, u32, u8)> = HashMap::new();
    let columns = ["epoch", "ordinal", "log_partition", "log_offset", "verdict"];
    let meets = |file: &&&LakeFile| {
        file.happened.meets(Timestamp(first), Timestamp(last.saturating_add(1)))
    };
    for file in revisions.iter().filter(meets) {
        for rows in lake.rows(file, &columns)? {
            let rows = rows?;
            let epochs = rows.column(0).as_primitive::<UInt64Type>();
            let ordinals = rows.column(1).as_primitive::<UInt32Type>();
            let partitions = rows.column(2).as_primitive::<UInt16Type>();
            let offsets = rows.column(3).as_primitive::<UInt64Type>();
            let verdicts = rows.column(4).as_primitive::<UInt8Type>();
            for row in 0..rows.num_rows() {
                let place = (partitions.value(row), offsets.value(row));
                let found = (epochs.value(row), ordinals.value(row), verdicts.value(row));
                let known = newest.entry(place).or_insert(found);
                *known = (*known).max(found);
            }
        }
    }
    Ok(newest.into_iter().map(|(place, (_, _, verdict))| (place, verdict)).collect())
}
