//! Rows of a small market whose true probabilities are known.

use std::path::Path;

use reckon_model::{Random, sigmoid};
use reckon_train::{RowRef, Schema, Table, TableWriter};

/// What a market is like.
#[derive(Clone, Copy)]
pub struct Market {
    pub rows: usize,
    pub list: usize,
    pub seed: u64,
    /// The probability that a place is looked at falls by this power of it; 0: all alike.
    pub bias: f64,
    /// People, and ads: the fewer, the more rows tell of each pair.
    pub users: u64,
    pub ads: u64,
}

/// What a click depends on: two numbers, one bent, and a pair of categories. Half of all that is
/// missing says something too.
pub fn truth(numeric: &[f32], keys: &[u64]) -> f32 {
    let bent = if numeric[1].is_nan() { 0.8 } else { (numeric[1] * 2.0).sin() };
    let pair = if (keys[0] % 7 + keys[1] % 5).is_multiple_of(3) { 1.2 } else { -0.3 };
    numeric[0] * 0.8 + bent + pair + (keys[1] % 11) as f32 * 0.1 - 2.5
}

pub fn schema() -> Schema {
    Schema {
        numeric: ["straight", "bent", "noise"].map(str::to_owned).to_vec(),
        fields: ["user", "ad"].map(str::to_owned).to_vec(),
        user_numeric: 1,
        user_fields: 1,
    }
}

/// Writes its table; rows of a list come at one moment.
pub fn write(market: Market, path: &Path) -> Table {
    let mut writer = TableWriter::create(path, &schema()).expect("a table begins");
    let mut random = Random::new(market.seed);
    for row in 0..market.rows {
        let (group, place) = (row / market.list, row % market.list);
        let bent = if random.below(10) == 0 { f32::NAN } else { random.normal() };
        let numeric = [random.normal(), bent, random.normal()];
        let keys = [1 + random.below(market.users), 1_000 + random.below(market.ads)];
        let truth = sigmoid(truth(&numeric, &keys));
        let seen = ((place + 1) as f64).powf(-market.bias);
        let row = RowRef {
            numeric: &numeric,
            keys: &keys,
            label: random.uniform() < f64::from(truth) * seen,
            weight: 1.0,
            time: group as i64,
            group: group as u64,
            position: place as u16 + 1,
            truth,
        };
        writer.push(row).expect("a row is written");
    }
    writer.finish().expect("a table is finished")
}
