//! Finds how rows become what a kind of model takes ([`Encoding`]), from the rows that are learned from, and
//! encodes rows of a table so.
//!
//! Buckets of a number have equally many training rows. A category has its rank by frequency among
//! them, and the log odds of its clicks, drawn to those of all rows. Whoever learns must not see a row's own
//! click in those: while learning, they are of earlier lists alone ([`Ordered`]; "ordered target
//! statistics" of Prokhorenkova and others, NeurIPS 2018).

use std::collections::HashMap;

use reckon_bundle::encoding::{Buckets, Code, Codes, Half, Halves, KEYS_MAX, PAIRED_MAX};

use crate::split::for_each_batch;
use crate::{Order, Rows, Schema, Share, Table, TrainError};

pub use reckon_bundle::Encoding;

/// Buckets of a column.
const BUCKETS: usize = 32;
/// Rows from which quantiles are taken.
const SAMPLE_ROWS: usize = 200_000;
/// Keys of a field that are counted at a time; beyond them the rarest are let go.
const COUNTED_MAX: usize = 1 << 22;

/// How categories become numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeOptions {
    /// Categories of a field that have a rank, at most.
    pub ranks: usize,
    /// Rows that a category with a rank has, at least.
    pub rank_rows: u64,
    /// As if so many rows of each category had been clicked as all are; 0: log odds are no column.
    pub prior_rows: f64,
}

impl CodeOptions {
    /// The usual.
    pub const USUAL: CodeOptions = CodeOptions { ranks: 1_000, rank_rows: 10, prior_rows: 20.0 };
    /// Categories say nothing but what columns say of them: none has rows enough for a rank.
    pub const NONE: CodeOptions = CodeOptions { ranks: 0, rank_rows: u64::MAX, prior_rows: 0.0 };

    pub(super) fn check(&self) -> Result<(), TrainError> {
        if self.ranks > KEYS_MAX {
            return Err(TrainError::option("codes.ranks", "at most 4,194,304"));
        }
        if !(0.0..f64::INFINITY).contains(&self.prior_rows) {
            return Err(TrainError::option("codes.prior_rows", "at least 0, and finite"));
        }
        Ok(())
    }
}

/// An encoding, and the rows it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoder {
    /// How rows become a model's.
    encoding: Encoding,
    /// What rows look like.
    rows: Schema,
    /// What encoded rows look like.
    schema: Schema,
    options: CodeOptions,
}

impl Encoder {
    /// Rows as they are.
    pub fn plain(schema: &Schema) -> Self {
        Encoder::of(Encoding::Plain, schema)
    }

    /// This encoding, for rows of this schema.
    pub fn of(encoding: Encoding, schema: &Schema) -> Self {
        let encoded = encoded(&encoding, schema);
        Encoder { encoding, rows: schema.clone(), schema: encoded, options: CodeOptions::USUAL }
    }

    /// Buckets for every column, by the quantiles of a share.
    pub fn buckets(table: &Table, share: &Share) -> Result<Self, TrainError> {
        Ok(Encoder::of(Encoding::Buckets(buckets(table, share)?), table.schema()))
    }

    /// The same besides the numbers.
    pub fn both(table: &Table, share: &Share) -> Result<Self, TrainError> {
        Ok(Encoder::of(Encoding::Both(buckets(table, share)?), table.schema()))
    }

    /// Ranks and log odds of every field's keys, counted in a share.
    pub fn codes(table: &Table, share: &Share, options: CodeOptions) -> Result<Self, TrainError> {
        let counts = counts(table, share)?;
        let all = counts.iter().map(|counts| counts.codes(counts_max(table), &options)).collect();
        let halves = Halves::cut(all, table.schema().user_fields);
        Ok(Encoder { options, ..Encoder::of(Encoding::Codes(halves), table.schema()) })
    }

    /// How rows become a model's.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The same, and each two fields as one more.
    pub fn paired(self) -> Result<Self, TrainError> {
        let fields = self.rows.fields.len();
        if !(2..=PAIRED_MAX).contains(&fields) {
            let problem = format!(
                "rows have {fields} fields, and pairs are of 2 to {PAIRED_MAX}: fit without pairs, or on other \
                 fields"
            );
            return Err(TrainError::option("pairs", problem));
        }
        Ok(Encoder::of(Encoding::Pairs(Box::new(self.encoding), fields), &self.rows))
    }

    /// What encoded rows look like.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Which encoded columns are categories, though they are numbers.
    pub fn categorical(&self) -> Vec<usize> {
        let users = self.rows.user_numeric;
        self.encoding.categorical((users, self.rows.numeric.len() - users))
    }

    /// Puts the encoded rows in place of what `out` holds.
    pub fn encode(&self, rows: &Rows, out: &mut Rows) {
        let mut numeric = std::mem::take(&mut out.numeric);
        let mut keys = std::mem::take(&mut out.keys);
        numeric.clear();
        keys.clear();
        let users = (self.rows.user_numeric, self.rows.user_fields);
        for row in rows.iter() {
            self.encoding.row(users, (row.numeric, row.keys), &mut numeric, &mut keys);
        }
        let (columns, fields) = (self.schema.numeric.len(), self.schema.fields.len());
        *out = Rows {
            columns,
            fields,
            numeric,
            keys,
            labels: rows.labels.clone(),
            weights: rows.weights.clone(),
            times: rows.times.clone(),
            groups: rows.groups.clone(),
            positions: rows.positions.clone(),
            truths: rows.truths.clone(),
        };
    }

    /// Encodes rows that are learned from.
    pub fn ordered(&self) -> Ordered<'_> {
        let mut fields = Vec::new();
        if let Encoding::Codes(codes) = &self.encoding {
            let places = self.categorical().into_iter().zip(codes.iter()).enumerate();
            for (field, (place, codes)) in places.filter(|(_, (_, codes))| codes.width() == 2) {
                let (odds, base) = (place + 1, codes.base());
                let (tally, waiting) = (Tally::of(COUNTED_MAX), Vec::new());
                fields.push(Running { field, odds, base, tally, waiting });
            }
        }
        Ordered { encoder: self, fields, list: None }
    }
}

/// What rows of this schema look like when they are encoded so.
fn encoded(encoding: &Encoding, schema: &Schema) -> Schema {
    let Schema { numeric, fields, user_numeric, user_fields } = schema;
    let (user_columns, own_columns) = numeric.split_at(*user_numeric);
    let (user_keys, own_keys) = fields.split_at(*user_fields);
    let user = encoding.names(Half::User, (user_columns, &[], user_keys));
    let own = encoding.names(Half::Own, (own_columns, user_keys, own_keys));
    Schema {
        user_numeric: user.0.len(),
        user_fields: user.1.len(),
        numeric: [user.0, own.0].concat(),
        fields: [user.1, own.1].concat(),
    }
}

/// Encodes rows that are learned from, in the order of the table: a row's log odds are of the lists before its
/// own. What else was clicked in the same list is not known when it is asked about; and since a list has
/// few clicks, the first rows of one would tell of the last.
pub struct Ordered<'a> {
    encoder: &'a Encoder,
    fields: Vec<Running>,
    /// The list of the last row.
    list: Option<u64>,
}

/// A field's counts so far.
struct Running {
    field: usize,
    /// The encoded column of its log odds.
    odds: usize,
    base: f32,
    tally: Tally,
    /// Keys of the list that has not ended, whether they were clicked, and what they weigh.
    waiting: Vec<(u64, bool, f32)>,
}

impl Ordered<'_> {
    /// Puts the encoded rows in place of what `out` holds; they come behind all rows before.
    pub fn encode(&mut self, rows: &Rows, out: &mut Rows) {
        self.encoder.encode(rows, out);
        let prior = self.encoder.options.prior_rows;
        let encoded = out.numeric.chunks_exact_mut(out.columns.max(1));
        for (row, encoded) in rows.iter().zip(encoded) {
            if self.list.replace(row.group) != Some(row.group) {
                self.fields.iter_mut().for_each(Running::end_list);
            }
            for running in &mut self.fields {
                let key = row.keys[running.field];
                if key != 0 {
                    encoded[running.odds] = running.odds(key, prior);
                    running.wait(key, row.label, row.weight);
                }
            }
        }
    }
}

impl Running {
    fn odds(&self, key: u64, prior_rows: f64) -> f32 {
        self.tally.count(key).odds(self.base, prior_rows)
    }

    fn wait(&mut self, key: u64, label: bool, weight: f32) {
        // Memory is bounded: what is longer than this is a log without lists.
        if self.waiting.len() == COUNTED_MAX {
            self.end_list();
        }
        self.waiting.push((key, label, weight));
    }

    /// From here on its rows are earlier ones.
    fn end_list(&mut self) {
        for (key, label, weight) in self.waiting.drain(..) {
            self.tally.add(key, label, weight);
        }
    }
}

/// Rows of a key, and clicks among them.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rows: f64,
    clicks: f64,
}

impl Count {
    fn add(&mut self, label: bool, weight: f32) {
        self.rows += f64::from(weight);
        self.clicks += if label { f64::from(weight) } else { 0.0 };
    }

    fn odds(self, base: f32, prior_rows: f64) -> f32 {
        let base = 1.0 / (1.0 + (-f64::from(base)).exp());
        let rate = (self.clicks + prior_rows * base) / (self.rows + prior_rows);
        let rate = rate.clamp(1e-6, 1.0 - 1e-6);
        (rate / (1.0 - rate)).ln() as f32
    }
}

/// Counts of so many keys at most: when they are more, the rarest are let go of, and begin anew.
#[derive(Debug)]
struct Tally {
    counts: HashMap<u64, Count>,
    keys_max: usize,
    /// Keys of no more rows were let go of.
    let_go: f64,
}

impl Tally {
    fn of(keys_max: usize) -> Self {
        Tally { counts: HashMap::new(), keys_max, let_go: 0.0 }
    }

    fn add(&mut self, key: u64, label: bool, weight: f32) {
        self.counts.entry(key).or_default().add(label, weight);
        while self.counts.len() > self.keys_max {
            self.let_go += 1.0;
            let least = self.let_go;
            self.counts.retain(|_, count| count.rows > least);
        }
    }

    /// None of a key that is not there.
    fn count(&self, key: u64) -> Count {
        self.counts.get(&key).copied().unwrap_or_default()
    }
}

/// The keys of a field.
struct Counts {
    keys: Tally,
    all: Count,
}

impl Default for Counts {
    fn default() -> Self {
        Counts { keys: Tally::of(COUNTED_MAX), all: Count::default() }
    }
}

impl Counts {
    fn see(&mut self, key: u64, label: bool, weight: f32) {
        self.all.add(label, weight);
        if key != 0 {
            self.keys.add(key, label, weight);
        }
    }

    /// The most frequent keys; of equals the lower first.
    fn codes(&self, keys_max: usize, options: &CodeOptions) -> Codes {
        let mut keys: Vec<_> = self.keys.counts.iter().map(|(&key, &count)| (key, count)).collect();
        keys.sort_unstable_by(|left, right| {
            right.1.rows.total_cmp(&left.1.rows).then(left.0.cmp(&right.0))
        });
        keys.truncate(keys_max);
        let has_odds = options.prior_rows > 0.0;
        let prior = if has_odds { options.prior_rows } else { 1.0 };
        let base = self.all.odds(0.0, 1.0);
        let code = |(rank, (key, count)): (usize, (u64, Count))| {
            let has_rank = rank < options.ranks && count.rows >= options.rank_rows as f64;
            let rank = if has_rank { rank as f32 } else { f32::NAN };
            Code { key, rank, odds: count.odds(base, prior) }
        };
        let codes = keys.into_iter().enumerate().map(code);
        // Without log odds, a key that has no rank says nothing.
        let told = codes.filter(|code| has_odds || !code.rank.is_nan()).collect();
        Codes::new(told, if has_odds { base } else { f32::NAN })
    }
}

fn counts_max(table: &Table) -> usize {
    KEYS_MAX / table.schema().fields.len().max(1)
}

fn counts(table: &Table, share: &Share) -> Result<Vec<Counts>, TrainError> {
    let mut counts: Vec<Counts> = Vec::new();
    counts.resize_with(table.schema().fields.len(), Counts::default);
    for_each_batch(table, share, Order::Logged, |batch| {
        for row in batch.iter() {
            for (counts, &key) in counts.iter_mut().zip(row.keys) {
                counts.see(key, row.label, row.weight);
            }
        }
        Ok(())
    })?;
    Ok(counts)
}

/// Buckets of every column.
fn buckets(table: &Table, share: &Share) -> Result<Halves<Buckets>, TrainError> {
    let schema = table.schema();
    let sample = sample(table, share, SAMPLE_ROWS)?;
    let column = |(at, name): (usize, &String)| {
        let values = sample.numeric.iter().skip(at).step_by(sample.columns.max(1));
        Buckets::new(name, edges(values.copied().collect()))
    };
    let all = schema.numeric.iter().enumerate().map(column).collect();
    Ok(Halves::cut(all, schema.user_numeric))
}

/// The first rows of a share in an order that depends on nothing but the table.
pub(super) fn sample(table: &Table, share: &Share, count: usize) -> Result<Rows, TrainError> {
    let mut rows = Rows::new(table.schema());
    table.read(share, Order::Shuffled(0x5a3))?.next(&mut rows, count)?;
    Ok(rows)
}

/// Edges of buckets with equally many values; a value that fills several buckets has one.
fn edges(mut values: Vec<f32>) -> Vec<f32> {
    values.retain(|value| value.is_finite());
    values.sort_unstable_by(f32::total_cmp);
    let at = |bucket: usize| values.get(bucket * values.len() / BUCKETS).copied();
    let mut edges: Vec<_> = (1..BUCKETS).filter_map(at).collect();
    edges.dedup();
    // What is not above the least value parts nothing.
    edges.retain(|edge| values.first().is_some_and(|least| edge > least));
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_part_values_evenly_and_equal_ones_not() {
        let even = edges((0..3_200).map(|value| value as f32).collect());
        assert_eq!(even.len(), BUCKETS - 1);
        assert_eq!(even[0], 100.0);
        assert_eq!(edges(vec![0.0; 50]), Vec::<f32>::new());
        let mostly: Vec<f32> = (0..100).map(|value| if value < 90 { 0.0 } else { 1.0 }).collect();
        assert_eq!(edges(mostly), [1.0]);
        assert_eq!(edges(vec![f32::NAN; 3]), Vec::<f32>::new());
    }

    #[test]
    fn missing_numbers_and_equal_buckets() {
        let buckets = Buckets::new("price", vec![-1.5, 0.0, 3.25e-20]);
        let keys = [-2.0, -1.5, -0.1, 1.0, f32::NAN].map(|number| buckets.key(number));
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(
            distinct.len(),
            4,
            "-1.5 and -0.1 share a bucket, missing has its own: {keys:?}"
        );
        assert_eq!(keys[1], keys[2]);
    }

    /// 200 rows of three keys in turn, in lists of so many.
    fn rows(list: usize, clicked: impl Fn(usize) -> bool) -> Rows {
        let mut rows = Rows { fields: 1, ..Rows::default() };
        for at in 0..200 {
            rows.keys.push(1 + at as u64 % 3);
            rows.labels.push(clicked(at));
            rows.weights.push(1.0);
            rows.times.push(at as i64);
            rows.groups.push((at / list) as u64);
            rows.positions.push(0);
            rows.truths.push(f32::NAN);
        }
        rows
    }

    fn ordered(rows: &Rows) -> Vec<f32> {
        let mut counts = Counts::default();
        rows.iter().for_each(|row| counts.see(row.keys[0], row.label, row.weight));
        let codes = counts.codes(100, &CodeOptions::USUAL);
        assert_eq!((codes.len(), codes.width()), (3, 2));
        let schema = Schema { fields: vec!["ad".to_owned()], ..Schema::default() };
        // The same base on both sides: what is compared is what keys bring.
        let codes = Codes::new(codes.iter().collect(), -1.0);
        let encoder = Encoder::of(Encoding::Codes(Halves::cut(vec![codes], 0)), &schema);
        // In batches that tear lists.
        let (mut ordered, mut out, mut odds) = (encoder.ordered(), Rows::default(), Vec::new());
        for start in (0..rows.len()).step_by(7) {
            let mut batch = Rows { fields: 1, ..Rows::default() };
            batch.extend(rows, start..rows.len().min(start + 7));
            ordered.encode(&batch, &mut out);
            odds.extend(out.numeric.iter().skip(1).step_by(2));
        }
        odds
    }

    #[test]
    fn a_click_moves_the_log_odds_of_its_key_in_later_lists_and_no_others() {
        for (list, expected) in [(1, 39), (5, 39), (20, 34), (200, 0)] {
            let before = ordered(&rows(list, |at| at % 5 == 0));
            let after = ordered(&rows(list, |at| at % 5 == 0 || at == 82));
            let mut moved = 0;
            for at in 0..200 {
                let is_later = at / list > 82 / list && at % 3 == 82 % 3;
                assert_eq!(before[at] != after[at], is_later, "row {at} of lists of {list}");
                moved += usize::from(is_later);
            }
            assert_eq!(moved, expected, "lists of {list}");
        }
    }

    #[test]
    fn the_rarest_keys_are_let_go_of_and_begin_anew() {
        let mut tally = Tally::of(100);
        for round in 0..20 {
            (0..10).for_each(|key| tally.add(key, round % 2 == 0, 1.0));
            (0..60).for_each(|at| tally.add(1_000 + round * 60 + at, true, 1.0));
            assert!(tally.counts.len() <= 100, "{} keys", tally.counts.len());
        }
        for key in 0..10 {
            let Count { rows, clicks } = tally.count(key);
            assert!(rows > 10.0 && clicks <= rows / 2.0 + 1.0, "{key}: {rows} rows, {clicks}");
        }
        assert_eq!(tally.count(1_000).rows, 0.0, "one of the first round is gone");
        assert!(tally.let_go > 0.0, "nothing was let go of");
    }

    #[test]
    fn rare_keys_have_no_rank_and_clicked_ones_higher_log_odds() {
        let mut counts = Counts::default();
        for at in 0..1_000u64 {
            let key = if at < 995 { 1 + at % 4 } else { at };
            counts.see(key, key == 2 && at % 2 == 1, 1.0);
        }
        let codes = counts.codes(1_000, &CodeOptions::USUAL);
        assert!((1..5).all(|key| codes.rank(key) < 4.0), "the frequent ones");
        assert!(codes.rank(997).is_nan() && codes.len() == 9, "a rare one has its log odds alone");
        let odds = |key| codes.iter().find(|code| code.key == key).expect("known").odds;
        assert!(odds(2) > codes.base() && odds(3) < odds(997), "{} {}", odds(2), odds(3));
        let ranks = CodeOptions { prior_rows: 0.0, ..CodeOptions::USUAL };
        let ranks = counts.codes(1_000, &ranks);
        assert_eq!((ranks.len(), ranks.width()), (4, 1));
    }
}
