//! MIND: lists of news, of which some were clicked, with what the person had read before.
//!
//! News live for hours, so what their clicks say fades; people do not, so their reading is compared
//! with a candidate by category, words and names. The order of a list is no position: it was shuffled.

use std::collections::HashMap;
use std::path::Path;

use super::history::Tally;
use super::lines::{Dialect, Lines};
use super::lists::ranks;
use super::output::Output;
use super::{cross, key};
use crate::{Progress, RowRef, Schema, Table, TrainError};

const COLUMNS: [&str; 32] = [
    "history",
    "list",
    "hour",
    "user seen",
    "user rate",
    "news seen",
    "news rate",
    "news seen 1h",
    "news rate 1h",
    "news seen 6h",
    "news rate 6h",
    "category rate",
    "subcategory rate",
    "age",
    "read category",
    "read subcategory",
    "lift category",
    "lift subcategory",
    "words",
    "names",
    "was shown",
    "was read",
    "title",
    "abstract",
    "rank rate",
    "rank rate 1h",
    "rank words",
    "rank lift",
    "share rate",
    "share rate 1h",
    "rank seen",
    "read in category last",
];
const USER_COLUMNS: usize = 5;
const FIELDS: [&str; 7] = [
    "user",
    "top category",
    "news",
    "category",
    "subcategory",
    "top category and category",
    "name",
];
const USER_FIELDS: usize = 2;
const HOUR: f64 = 3_600_000.0;
/// Read news that are compared: the latest.
const READ_MAX: usize = 200;

/// What is known of a news article.
#[derive(Default)]
struct News {
    category: u64,
    subcategory: u64,
    words: Vec<u64>,
    names: Vec<u64>,
    title: f32,
    abstract_: f32,
}

/// All articles, and how much a word tells.
#[derive(Default)]
struct Library {
    by_id: HashMap<String, News>,
    unknown: News,
    /// Articles a word is in.
    spread: HashMap<u64, f32>,
    /// Articles of a category or subcategory: what someone without a taste would read.
    shares: HashMap<u64, f32>,
}

/// Everything that was counted so far.
struct Past {
    users: Tally,
    news: Tally,
    hour: Tally,
    six_hours: Tally,
    categories: Tally,
    subcategories: Tally,
    /// When an article was first shown, and to whom.
    first: HashMap<u64, i64>,
    shown: Tally,
}

/// What a person has read, by category, word and name.
#[derive(Default)]
struct Taste {
    count: f32,
    categories: HashMap<u64, f32>,
    words: HashMap<u64, f32>,
    names: HashMap<u64, f32>,
    latest: u64,
    top: u64,
}

pub(super) fn import(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let library = Library::read(&log.with_file_name("news.tsv"))?;
    let schema = Schema {
        numeric: COLUMNS.map(str::to_owned).to_vec(),
        fields: FIELDS.map(str::to_owned).to_vec(),
        user_numeric: USER_COLUMNS,
        user_fields: USER_FIELDS,
    };
    let mut lines = Lines::open(log, Dialect::Tabs, &["id", "user", "time", "history", "list"])?;
    let mut output = Output::create(table, &schema, progress)?;
    let mut past = Past::new();
    let mut group = 0;
    while lines.advance()? {
        group += 1;
        let at = moment(lines.text(2));
        let at = at.ok_or_else(|| lines.error(2, "a time as month/day/year h:mm:ss AM"))?;
        let user = key("user", lines.text(1));
        let read: Vec<_> = lines.text(3).split(' ').filter(|id| !id.is_empty()).collect();
        let list = candidates(&lines, &library)?;
        let taste = library.taste(&read);
        let rows = past.rows(&library, &taste, user, at, &read, &list);
        for (candidate, (numeric, keys)) in list.iter().zip(&rows) {
            output.push(RowRef {
                numeric,
                keys,
                label: candidate.clicked,
                weight: 1.0,
                time: at,
                group,
                position: 0,
                truth: f32::NAN,
            })?;
        }
        past.count(user, at, &list);
    }
    output.finish()
}

/// One article of a list.
struct Candidate<'a> {
    id: &'a str,
    key: u64,
    news: &'a News,
    clicked: bool,
}

fn candidates<'a>(
    lines: &'a Lines,
    library: &'a Library,
) -> Result<Vec<Candidate<'a>>, TrainError> {
    let candidate = |text: &'a str| {
        let (id, label) = text.rsplit_once('-')?;
        let clicked = match label {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        // Excerpts of the log lack some articles: of those nothing is known but their clicks.
        let news = library.by_id.get(id).unwrap_or(&library.unknown);
        Some(Candidate { id, key: key("news", id), news, clicked })
    };
    let list: Option<Vec<_>> = lines.text(4).split(' ').map(candidate).collect();
    list.ok_or_else(|| lines.error(4, "a list of N123-0 and N456-1"))
}

impl Library {
    fn read(path: &Path) -> Result<Self, TrainError> {
        let names = [
            "id",
            "category",
            "subcategory",
            "title",
            "abstract",
            "url",
            "names",
            "abstract's names",
        ];
        let mut lines = Lines::open(path, Dialect::Tabs, &names)?;
        let mut library = Library::default();
        while lines.advance()? {
            let mut names = entities(lines.text(6));
            names.extend(entities(lines.text(7)));
            names.sort_unstable();
            names.dedup();
            let news = News {
                category: key("category", lines.text(1)),
                subcategory: key("subcategory", lines.text(2)),
                words: words(lines.text(3)),
                names,
                title: lines.text(3).len() as f32,
                abstract_: lines.text(4).len() as f32,
            };
            for &word in &news.words {
                *library.spread.entry(word).or_default() += 1.0;
            }
            for part in [news.category, news.subcategory] {
                *library.shares.entry(part).or_default() += 1.0;
            }
            library.by_id.insert(lines.text(0).to_owned(), news);
        }
        Ok(library)
    }

    fn taste(&self, read: &[&str]) -> Taste {
        let mut taste = Taste::default();
        for news in read.iter().rev().take(READ_MAX).filter_map(|id| self.by_id.get(*id)) {
            if taste.count == 0.0 {
                taste.latest = news.category;
            }
            taste.count += 1.0;
            for part in [news.category, news.subcategory] {
                *taste.categories.entry(part).or_default() += 1.0;
            }
            news.words.iter().for_each(|word| *taste.words.entry(*word).or_default() += 1.0);
            news.names.iter().for_each(|name| *taste.names.entry(*name).or_default() += 1.0);
            let of = |category| taste.categories.get(&category).copied().unwrap_or(0.0);
            if of(news.category) > of(taste.top) {
                taste.top = news.category;
            }
        }
        taste
    }

    /// The share of articles in a category or subcategory.
    fn share(&self, part: u64) -> f32 {
        self.shares.get(&part).copied().unwrap_or(0.0) / self.by_id.len().max(1) as f32
    }

    /// What a title's words have in common with those read, rare words more.
    fn likeness(&self, taste: &Taste, words: &[u64]) -> f32 {
        let worth = |word: &u64| {
            let spread = self.spread.get(word).copied().unwrap_or(1.0);
            let worth = (self.by_id.len() as f32 / spread).ln();
            (worth, taste.words.get(word).map_or(0.0, |count| worth * count.ln_1p()))
        };
        let (all, common) = words
            .iter()
            .map(worth)
            .fold((0.0, 0.0), |sum, (all, common)| (sum.0 + all, sum.1 + common));
        if all > 0.0 && taste.count > 0.0 { common / all / taste.count.ln_1p() } else { 0.0 }
    }
}

type Row = ([f32; COLUMNS.len()], [u64; FIELDS.len()]);

impl Past {
    fn new() -> Self {
        Past {
            users: Tally::lasting(),
            news: Tally::lasting(),
            hour: Tally::fading(HOUR),
            six_hours: Tally::fading(6.0 * HOUR),
            categories: Tally::fading(24.0 * HOUR),
            subcategories: Tally::fading(24.0 * HOUR),
            first: HashMap::new(),
            shown: Tally::fading(24.0 * HOUR),
        }
    }

    /// The rows of a list, as of before any of it was shown.
    fn rows(
        &self,
        library: &Library,
        taste: &Taste,
        user: u64,
        at: i64,
        read: &[&str],
        list: &[Candidate<'_>],
    ) -> Vec<Row> {
        let mut rows: Vec<Row> = list
            .iter()
            .map(|candidate| self.row(library, taste, user, at, read, candidate))
            .collect();
        for row in &mut rows {
            row.0[1] = list.len() as f32;
        }
        // What stands beside a candidate decides as much as what it is: places within the list.
        for (from, rank, share) in
            [(6, 24, Some(28)), (8, 25, Some(29)), (18, 26, None), (16, 27, None), (5, 30, None)]
        {
            let values: Vec<_> = rows.iter().map(|row| row.0[from]).collect();
            let sum: f32 = values.iter().sum();
            for ((row, place), value) in rows.iter_mut().zip(ranks(&values)).zip(&values) {
                row.0[rank] = place / list.len() as f32;
                if let Some(share) = share {
                    row.0[share] = value / sum * list.len() as f32;
                }
            }
        }
        rows
    }

    fn row(
        &self,
        library: &Library,
        taste: &Taste,
        user: u64,
        at: i64,
        read: &[&str],
        candidate: &Candidate<'_>,
    ) -> Row {
        let news = candidate.news;
        let of_user = self.users.seen(user, at);
        let all = self.news.seen(candidate.key, at);
        let (one, six) =
            (self.hour.seen(candidate.key, at), self.six_hours.seen(candidate.key, at));
        let first = self.first.get(&candidate.key).map_or(f32::NAN, |&first| (at - first) as f32);
        let share = |part: u64| {
            let count = taste.categories.get(&part).copied().unwrap_or(0.0);
            if taste.count > 0.0 { count / taste.count } else { f32::NAN }
        };
        let lift = |part: u64| {
            let prior = library.share(part);
            let count = taste.categories.get(&part).copied().unwrap_or(0.0);
            ((count + 10.0 * prior) / (taste.count + 10.0) / prior.max(1e-6)).ln()
        };
        let names = news.names.iter().filter_map(|name| taste.names.get(name)).sum::<f32>();
        let numeric = [
            taste.count,
            0.0,
            (at.rem_euclid(24 * HOUR as i64) as f64 / HOUR) as f32,
            of_user.shown.ln_1p(),
            self.users.rate(of_user),
            all.shown.ln_1p(),
            self.news.rate(all),
            one.shown.ln_1p(),
            self.hour.rate(one),
            six.shown.ln_1p(),
            self.six_hours.rate(six),
            self.categories.rate(self.categories.seen(news.category, at)),
            self.subcategories.rate(self.subcategories.seen(news.subcategory, at)),
            first / HOUR as f32,
            share(news.category),
            share(news.subcategory),
            lift(news.category),
            lift(news.subcategory),
            library.likeness(taste, &news.words),
            names.ln_1p(),
            self.shown.seen(cross(user, candidate.key), at).shown,
            f32::from(u8::from(read.contains(&candidate.id))),
            news.title,
            news.abstract_,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            0.0,
            f32::from(u8::from(taste.latest == news.category)),
        ];
        let name = news.names.first().copied().unwrap_or(0);
        let pair = cross(taste.top, news.category);
        let keys = [user, taste.top, candidate.key, news.category, news.subcategory, pair, name];
        (numeric, keys)
    }

    fn count(&mut self, user: u64, at: i64, list: &[Candidate<'_>]) {
        for candidate in list {
            let clicked = candidate.clicked;
            self.users.count(user, clicked, at);
            for tally in [&mut self.news, &mut self.hour, &mut self.six_hours] {
                tally.count(candidate.key, clicked, at);
            }
            self.categories.count(candidate.news.category, clicked, at);
            self.subcategories.count(candidate.news.subcategory, clicked, at);
            self.shown.count(cross(user, candidate.key), clicked, at);
            self.first.entry(candidate.key).or_insert(at);
        }
    }
}

/// Keys of a title's words: those of more than three letters, each once.
fn words(title: &str) -> Vec<u64> {
    let parts = title.split(|letter: char| !letter.is_alphanumeric());
    let mut words: Vec<_> =
        parts.filter(|word| word.len() > 3).map(|word| key("word", &word.to_lowercase())).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Keys of the things a text names, by their ids.
fn entities(json: &str) -> Vec<u64> {
    let parts = json.split("\"WikidataId\": \"").skip(1);
    parts.filter_map(|part| part.split('"').next()).map(|id| key("name", id)).collect()
}

/// `11/9/2019 12:01:13 AM` in milliseconds.
fn moment(text: &str) -> Option<i64> {
    let [date, time, half] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let [month, day, year] = numbers(date, '/')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let hour = hour % 12 + if half == "PM" { 12 } else { 0 };
    super::clicks::milliseconds(&format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"
    ))
}

fn numbers(text: &str, apart: char) -> Option<[u32; 3]> {
    text.split(apart).map(|part| part.parse().ok()).collect::<Option<Vec<_>>>()?.try_into().ok()
}
