//! Click curves of real lists, by rank: as they were logged, and what is left of them when the place is
//! taken out of a model.
//!
//! Nobody knows the truth here. What can be seen: how much of the fall by rank a treatment thinks is the
//! place, and how much is that better results stand higher.

use std::path::Path;

use reckon_model::sigmoid;
use reckon_train::data::{Format, import};
use reckon_train::fit::{FitOptions, Learner};
use reckon_train::split::for_each_batch;
use reckon_train::{
    Fitted, Order, Parts, Position, RowRef, Schema, Share, Silent, Table, TableWriter, fit,
};

use crate::Done;

/// Columns that are the place, or say it: with them a model would know what it is not to know.
const PLACES: [&str; 6] =
    ["position", "place", "place rate", "places from last", "is below last", "last places"];
const RANKS: [u16; 13] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20, 25];

/// Imports a log, fits each treatment, and prints the curves of its last fifth.
pub fn curves(name: &str, log: &Path, learner: &Learner, folder: &Path) -> Done<()> {
    let format = Format::named(name).ok_or("no such log")?;
    let whole = import(&format, log, &folder.join("whole"), &mut Silent)?;
    let table = without_places(&whole, &folder.join("rows"))?;
    let parts = Parts::usual(&table)?;
    let test = Share::all(parts.test.clone());
    let mut logged = Curve::default();
    for_each_batch(&table, &Share::all(0..table.len()), Order::Logged, |batch| {
        batch.iter().for_each(|row| logged.take(row.position, f64::from(u8::from(row.label))));
        Ok(())
    })?;
    let mut held_out = Curve::default();
    for_each_batch(&table, &test, Order::Logged, |batch| {
        batch.iter().for_each(|row| held_out.take(row.position, f64::from(u8::from(row.label))));
        Ok(())
    })?;
    let mut fits: Vec<(Position, Fitted, Curve)> = Vec::new();
    for position in [Position::Ignored, Position::Feature, Position::Tower, Position::WEIGHTS] {
        let options = FitOptions { position, ..FitOptions::of(learner.clone()) };
        let fitted = fit(&table, &parts, &options, &mut Silent)?;
        let (mut liked, mut logits) = (Curve::default(), Vec::new());
        for_each_batch(&table, &test, Order::Logged, |batch| {
            logits.clear();
            fitted.calibrated(batch, &mut logits)?;
            let answers = batch.iter().zip(&logits);
            answers.for_each(|(row, &logit)| liked.take(row.position, f64::from(sigmoid(logit))));
            Ok(())
        })?;
        fits.push((position, fitted, liked));
    }
    println!(
        "{name}: {} rows, {} clicks; a model of its columns without those that say the place ({} left out)",
        table.len(),
        logged.total(),
        whole.schema().numeric.len() + whole.schema().fields.len()
            - table.schema().numeric.len()
            - table.schema().fields.len(),
    );
    println!(
        "{:>4} {:>7} {:>9} {:>9} | clicks expected at place 1 of what stood there: {:>8} {:>8} {:>8} {:>8} | looked at: {:>6} {:>8}",
        "rank",
        "rows",
        "clicked",
        "last 5th",
        "ignored",
        "feature",
        "tower",
        "weights",
        "tower",
        "weights"
    );
    for rank in RANKS.into_iter().filter(|&rank| held_out.rows(rank) > 0.0) {
        let liked: Vec<String> =
            fits.iter().map(|(_, _, liked)| format!("{:>8.4}", liked.mean(rank))).collect();
        println!(
            "{rank:>4} {:>7} {:>9.4} {:>9.4} | {:>48} {} | {:>10} {:>6.3} {:>8.3}",
            logged.rows(rank),
            logged.mean(rank),
            held_out.mean(rank),
            "",
            liked.join(" "),
            "",
            fits[2].1.examination.chance(rank),
            fits[3].1.examination.chance(rank),
        );
    }
    let fall = |curve: &Curve| curve.mean(10) / curve.mean(1);
    let falls: Vec<String> =
        fits.iter().map(|(at, _, liked)| format!("{} {:.3}", at.name(), fall(liked))).collect();
    println!("     rank 10 over rank 1: logged {:.3}; {}", fall(&logged), falls.join(", "));
    println!();
    Ok(())
}

/// Sums and rows by place.
#[derive(Default)]
struct Curve {
    places: Vec<(f64, f64)>,
}

impl Curve {
    fn take(&mut self, place: u16, value: f64) {
        let place = usize::from(place);
        if self.places.len() <= place {
            self.places.resize(place + 1, (0.0, 0.0));
        }
        self.places[place].0 += value;
        self.places[place].1 += 1.0;
    }

    fn at(&self, place: u16) -> (f64, f64) {
        self.places.get(usize::from(place)).copied().unwrap_or_default()
    }

    fn rows(&self, place: u16) -> f64 {
        self.at(place).1
    }

    fn mean(&self, place: u16) -> f64 {
        let (sum, rows) = self.at(place);
        sum / rows
    }

    fn total(&self) -> f64 {
        self.places.iter().map(|place| place.0).sum()
    }
}

fn without_places(table: &Table, path: &Path) -> Done<Table> {
    let schema = table.schema();
    let kept = |names: &[String]| -> Vec<usize> {
        let keeps = |&at: &usize| !PLACES.contains(&names[at].as_str());
        (0..names.len()).filter(keeps).collect()
    };
    let (numbers, fields) = (kept(&schema.numeric), kept(&schema.fields));
    let names = |kept: &[usize], names: &[String]| -> Vec<String> {
        kept.iter().map(|&at| names[at].clone()).collect()
    };
    let of_user = |kept: &[usize], user: usize| kept.iter().filter(|&&at| at < user).count();
    let left = Schema {
        numeric: names(&numbers, &schema.numeric),
        fields: names(&fields, &schema.fields),
        user_numeric: of_user(&numbers, schema.user_numeric),
        user_fields: of_user(&fields, schema.user_fields),
    };
    let mut writer = TableWriter::create(path, &left)?;
    let (mut numeric, mut keys) = (Vec::new(), Vec::new());
    for_each_batch(table, &Share::all(0..table.len()), Order::Logged, |batch| {
        for row in batch.iter() {
            numeric.clear();
            numeric.extend(numbers.iter().map(|&at| row.numeric[at]));
            keys.clear();
            keys.extend(fields.iter().map(|&at| row.keys[at]));
            writer.push(RowRef { numeric: &numeric, keys: &keys, ..row })?;
        }
        Ok(())
    })?;
    Ok(writer.finish()?)
}
