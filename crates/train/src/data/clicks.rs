//! Logs of single impressions with a header: Avazu's, and ZOZO's Open Bandit.

use std::collections::HashMap;
use std::path::Path;

use reckon_event::Timestamp;

use super::history::Ordered;
use super::lines::{Dialect, Lines};
use super::output::{Moment, Output};
use super::{cross, key};
use crate::{Progress, Schema, Table, TrainError};

/// Avazu's categories; `id`, `click` and `hour` are told apart.
const AVAZU: [&str; 21] = [
    "C1",
    "banner_pos",
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
    "device_type",
    "device_conn_type",
    "C14",
    "C15",
    "C16",
    "C17",
    "C18",
    "C19",
    "C20",
    "C21",
];
/// What is told apart of Avazu's: the person, as far as a log without names knows one.
const PERSON: [&str; 2] = ["device_ip", "device_model"];

/// Avazu: the hour is all that is known of the time, so lines are apart by their order within it.
pub(super) fn avazu(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let mut lines = Lines::open(log, Dialect::Csv, &[])?;
    let (label, hour) = (lines.column("click")?, lines.column("hour")?);
    let places = AVAZU.iter().map(|name| lines.column(name)).collect::<Result<Vec<_>, _>>()?;
    let person = PERSON.map(|name| AVAZU.iter().position(|field| *field == name));
    let fields: Vec<_> = AVAZU.iter().copied().chain(["person", "hour of day"]).collect();
    let schema = Schema {
        numeric: Ordered::names(fields.iter().copied()),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
        ..Schema::default()
    };
    let mut output = Output::create(table, &schema, progress)?;
    let mut ordered = Ordered::new(fields.len());
    let (mut numeric, mut keys) = (Vec::new(), Vec::new());
    let (mut last, mut within) = (i64::MIN, 0);
    while lines.advance()? {
        let clicked = lines.label(label)?;
        let start = avazu_hour(lines.text(hour));
        let start = start.ok_or_else(|| lines.error(hour, "an hour as YYMMDDHH"))?;
        within = if start == last { within + 1 } else { 0 };
        last = start;
        keys.clear();
        keys.extend(places.iter().zip(AVAZU).map(|(&place, field)| key(field, lines.text(place))));
        let of_person = person.iter().flatten().map(|&place| keys[place]).reduce(cross);
        keys.push(of_person.unwrap_or(0));
        keys.push(key("hour of day", &lines.text(hour)[6..]));
        numeric.clear();
        ordered.append(&keys, &mut numeric);
        output.push_single(
            &numeric,
            &keys,
            clicked,
            Moment { time: start + within, position: 0 },
        )?;
        ordered.count(&keys, clicked);
    }
    output.finish()
}

/// The beginning of `YYMMDDHH` in milliseconds.
fn avazu_hour(text: &str) -> Option<i64> {
    if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (day, hour) = text.split_at(6);
    let (year, month) = (&day[..2], &day[2..4]);
    milliseconds(&format!("20{year}-{month}-{}T{hour}:00:00Z", &day[4..]))
}

/// The moment of an RFC 3339 text, in milliseconds.
pub(super) fn milliseconds(text: &str) -> Option<i64> {
    Timestamp::parse(text).ok().map(|at| at.0.div_euclid(1_000))
}

const ITEM_NUMBER: &str = "item_feature_0";
const ITEM_FIELDS: [&str; 3] = ["item_feature_1", "item_feature_2", "item_feature_3"];
const USER_FIELDS: [&str; 4] =
    ["user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3"];

/// What is known of ZOZO's items.
struct Item {
    number: f32,
    keys: [u64; ITEM_FIELDS.len()],
}

/// Open Bandit: impressions of one item each, at one of three places.
pub(super) fn open_bandit(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let items = open_bandit_items(&log.with_file_name("item_context.csv"))?;
    let mut lines = Lines::open(log, Dialect::Csv, &[])?;
    let [time, item, position, label] =
        ["timestamp", "item_id", "position", "click"].map(|name| lines.column(name));
    let (time, item, position, label) = (time?, item?, position?, label?);
    let users = USER_FIELDS.iter().map(|name| lines.column(name)).collect::<Result<Vec<_>, _>>()?;
    let affinities: Vec<_> = (0..lines.names().len())
        .filter(|&place| lines.names()[place].starts_with("user-item_affinity_"))
        .collect();
    let fields: Vec<_> = USER_FIELDS.iter().copied().chain(["item"]).chain(ITEM_FIELDS).collect();
    let schema = Schema {
        numeric: ["affinity".to_owned(), ITEM_NUMBER.to_owned()]
            .into_iter()
            .chain(Ordered::names(fields.iter().copied()))
            .collect(),
        fields: fields.iter().map(|&field| field.to_owned()).collect(),
        user_numeric: 0,
        user_fields: USER_FIELDS.len(),
    };
    let mut output = Output::create(table, &schema, progress)?;
    let mut ordered = Ordered::new(fields.len());
    let (mut numeric, mut keys) = (Vec::new(), Vec::new());
    while lines.advance()? {
        let clicked = lines.label(label)?;
        let at = lines.text(time).replacen(' ', "T", 1);
        let at = milliseconds(&at).ok_or_else(|| lines.error(time, "a time as RFC 3339"))?;
        let number: usize = lines.whole(item)?;
        let known = items.get(number).and_then(Option::as_ref);
        let known = known.ok_or_else(|| lines.error(item, "an item of item_context.csv"))?;
        keys.clear();
        keys.extend(users.iter().zip(USER_FIELDS).map(|(&at, field)| key(field, lines.text(at))));
        keys.push(key("item", lines.text(item)));
        keys.extend(known.keys);
        numeric.clear();
        let affinity = affinities.get(number).map_or(Ok(f32::NAN), |&place| lines.number(place))?;
        numeric.extend([affinity, known.number]);
        ordered.append(&keys, &mut numeric);
        let moment = Moment { time: at, position: lines.whole(position)? };
        output.push_single(&numeric, &keys, clicked, moment)?;
        ordered.count(&keys, clicked);
    }
    output.finish()
}

/// Items by number.
fn open_bandit_items(path: &Path) -> Result<Vec<Option<Item>>, TrainError> {
    /// More items than any campaign has.
    const ITEMS_MAX: usize = 100_000;
    let mut lines = Lines::open(path, Dialect::Csv, &[])?;
    let (item, number) = (lines.column("item_id")?, lines.column(ITEM_NUMBER)?);
    let fields = ITEM_FIELDS.map(|name| lines.column(name));
    let mut by_number = HashMap::new();
    let places = fields.into_iter().collect::<Result<Vec<_>, _>>()?;
    while lines.advance()? {
        let place: usize = lines.whole(item)?;
        if place >= ITEMS_MAX {
            return Err(lines.error(item, "an item below 100,000"));
        }
        let keys = std::array::from_fn(|at| key(ITEM_FIELDS[at], lines.text(places[at])));
        by_number.insert(place, Item { number: lines.number(number)?, keys });
    }
    let count = by_number.keys().max().map_or(0, |last| last + 1);
    Ok((0..count).map(|number| by_number.remove(&number)).collect())
}
