//! Rows in the text format of Vowpal Wabbit, hashed as they are read.
//!
//! ```text
//! line      = label [ " " weight ] [ " " tag ] { "|" [ namespace ] { " " feature } }
//! label     = "1" (clicked) | "-1" (not clicked)
//! feature   = name [ ":" number ]          without a number it is 1
//! tag       = a word that touches the first "|", or begins with "'"; it is not read
//! ```
//!
//! Names and namespaces hold no space, colon or bar. A feature is its name within its namespace. Empty
//! lines are left out. Other parts of the format (initial predictions, weights of namespaces, other
//! labels) are refused, so that no file is learned as something else than it says.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use reckon_event::Feature;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Rows side by side in memory.
#[derive(Debug, Default)]
pub struct Rows {
    features: Vec<Feature>,
    /// Where each row ends in `features`, its label and its weight.
    rows: Vec<(usize, bool, f32)>,
}

impl Rows {
    /// Reads a file; an error names the line.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        let mut rows = Rows::default();
        for (number, line) in (1..).zip(BufReader::with_capacity(1 << 20, file).lines()) {
            let line = line.with_context(|| format!("cannot read {name}, line {number}"))?;
            if !line.trim().is_empty() {
                rows.add(&line).with_context(|| format!("{name}, line {number}"))?;
            }
        }
        ensure!(!rows.rows.is_empty(), "{name} has no rows");
        Ok(rows)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Features of all rows.
    pub fn features(&self) -> usize {
        self.features.len()
    }

    /// Features of some rows.
    pub fn features_of(&self, rows: Range<usize>) -> usize {
        self.start(rows.end) - self.start(rows.start)
    }

    /// A row.
    pub fn row(&self, index: usize) -> &[Feature] {
        &self.features[self.start(index)..self.start(index + 1)]
    }

    /// Where a row begins in `features`.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |last| self.rows[last].0)
    }

    /// Whether it was clicked.
    pub fn label(&self, index: usize) -> bool {
        self.rows[index].1
    }

    /// How many rows it stands for.
    pub fn weight(&self, index: usize) -> f32 {
        self.rows[index].2
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let (head, namespaces) = line.split_once('|').context("a row has a bar, |")?;
        let (label, weight) = read_head(head)?;
        for namespace in namespaces.split('|') {
            self.add_namespace(namespace)?;
        }
        self.rows.push((self.features.len(), label, weight));
        Ok(())
    }

    fn add_namespace(&mut self, text: &str) -> Result<()> {
        let (name, features) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        ensure!(!name.contains(':'), "namespace `{name}`: weights of namespaces are not read");
        let seed = xxh3_64(name.as_bytes());
        for feature in features.split_ascii_whitespace() {
            let (name, value) = match feature.split_once(':') {
                None => (feature, 1.0),
                Some((name, number)) => (name, read_number(number)?),
            };
            let hash = xxh3_64_with_seed(name.as_bytes(), seed) as u32;
            self.features.push(Feature { hash, value });
        }
        Ok(())
    }
}

/// Label and weight; a tag is left out.
fn read_head(head: &str) -> Result<(bool, f32)> {
    let touches = !head.ends_with([' ', '\t']);
    let mut words: Vec<_> = head.split_ascii_whitespace().collect();
    if words.len() > 1 && (touches || words.last().is_some_and(|word| word.starts_with('\''))) {
        words.pop();
    }
    let weight = match words.get(1) {
        None => 1.0,
        Some(word) => read_number(word)?,
    };
    ensure!(weight >= 0.0, "the weight is 0 or more, not {weight}");
    match words.as_slice() {
        ["1" | "+1" | "1.0"] | ["1" | "+1" | "1.0", _] => Ok((true, weight)),
        ["-1" | "-1.0"] | ["-1" | "-1.0", _] => Ok((false, weight)),
        _ => bail!("a row begins with the label 1 or -1, and a weight if it has one; not `{head}`"),
    }
}

fn read_number(text: &str) -> Result<f32> {
    let number: f32 = text.parse().with_context(|| format!("`{text}` is not a number"))?;
    ensure!(number.is_finite(), "`{text}` is not a finite number");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(bool, f32, Vec<f32>)> {
        let mut rows = Rows::default();
        rows.add(line)?;
        let values = rows.row(0).iter().map(|feature| feature.value).collect();
        Ok((rows.label(0), rows.weight(0), values))
    }

    #[test]
    fn rows_are_read() {
        let check = |line, expected| assert_eq!(read(line).expect(line), expected, "{line}");
        check("1 |u ann |a shoes", (true, 1.0, vec![1.0, 1.0]));
        check("-1 |f a:2 b:-0.5 c", (false, 1.0, vec![2.0, -0.5, 1.0]));
        check("1 0.25 |f a", (true, 0.25, vec![1.0]));
        check("1 2 'row-7 |f a", (true, 2.0, vec![1.0]));
        check("1 2 row-7|f a", (true, 2.0, vec![1.0]));
        check("-1 row-7|f a", (false, 1.0, vec![1.0]));
        check("1 | a b", (true, 1.0, vec![1.0, 1.0]));
        check("1 |f", (true, 1.0, vec![]));
    }

    #[test]
    fn other_things_are_refused() {
        let lines = ["0 |f a", "2 |f a", "1 -1 |f a", "1 1 0.5 |f a", "1 |f:2 a", "1 |f a:x", "1"];
        for line in lines.into_iter().chain(["1 |f a:inf", "|f a", "1 nan |f a"]) {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_name_is_its_own_in_each_namespace() {
        let mut rows = Rows::default();
        rows.add("1 |a x |b x").expect("a row");
        rows.add("-1 |b x:3 |a x").expect("a row");
        let hashes = |row: usize| rows.row(row).iter().map(|one| one.hash).collect::<Vec<_>>();
        let (first, second) = (hashes(0), hashes(1));
        assert_ne!(first[0], first[1]);
        assert_eq!((first[0], first[1]), (second[1], second[0]));
        assert_eq!((rows.len(), rows.features()), (2, 4));
    }
}
