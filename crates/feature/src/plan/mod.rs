//! The plan of features: what is remembered of whom, and which columns a row has.
//!
//! One file (`features.toml`) says it for serving, training and backfill alike. Everything a row needs
//! is resolved here once, so that computing a row asks no name. Columns that say nothing of the
//! candidate come first: a model computes its user half once a request.

mod parse;
mod shape;

use reckon_event::name_key;

pub use self::parse::{Error, Problem};
pub(crate) use self::shape::{LEVELS, LEVELS_COUNT};
pub use self::shape::{Measure, Part, Window};

/// The plan that is built in.
pub const DEFAULT: &str = include_str!("../../../../config/features.toml");

/// An entity: whose past is kept, of which measures, over which windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Entity {
    /// Its name, unique within the plan.
    pub name: String,
    /// What it is made of; the first owns it (and its shard).
    pub of: Vec<Part>,
    /// What is counted.
    pub measures: Vec<Measure>,
    /// Over which spans, shortest first.
    pub windows: Vec<Window>,
    /// Hash of its name.
    pub(crate) seed: u64,
    /// Measures, as bits, whose last time is asked for by a column.
    pub(crate) lasts: u32,
    /// Levels of tiles that its windows need, as bits.
    pub(crate) levels: u8,
    /// Parts of it that are known of a candidate only, as bits.
    pub(crate) of_candidate: u8,
}

impl Entity {
    /// Tells nothing of a candidate.
    pub fn is_shared(&self) -> bool {
        self.of_candidate == 0
    }

    /// Numbers in a view of it: sums by window and measure, then the last time of each measure.
    pub(crate) fn width(&self) -> usize {
        (self.windows.len() + 1) * self.measures.len()
    }

    /// The levels of tiles that its windows need, fine to coarse.
    pub(crate) fn levels(&self) -> impl Iterator<Item = usize> + use<> {
        let levels = self.levels;
        (0..LEVELS_COUNT).filter(move |level| levels >> level & 1 == 1)
    }

    pub(crate) fn sum_at(&self, window: Window, measure: Measure) -> Option<usize> {
        let window = self.windows.iter().position(|&other| other == window)?;
        Some(window * self.measures.len() + self.lane(measure)?)
    }

    pub(crate) fn last_at(&self, measure: Measure) -> Option<usize> {
        Some(self.windows.len() * self.measures.len() + self.lane(measure)?)
    }

    pub(crate) fn lane(&self, measure: Measure) -> Option<usize> {
        self.measures.iter().position(|&other| other == measure)
    }
}

/// How a number comes from views. Numbers are places within a view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transform {
    /// The sum itself.
    Count {
        /// The sum.
        of: usize,
        /// What one of it stands for.
        unit: f32,
    },
    /// ln(1 + sum).
    Log {
        /// The sum.
        of: usize,
        /// What one of it stands for.
        unit: f32,
    },
    /// Smoothed ratio of two sums.
    Rate {
        /// What is counted.
        of: usize,
        /// Per what.
        per: usize,
        /// The ratio it begins at.
        prior: f32,
        /// As if so many had been seen at it.
        weight: f32,
    },
    /// The mean, in units of the measure times `scale`; missing where nothing was seen.
    Mean {
        /// The sum.
        of: usize,
        /// How many.
        per: usize,
        /// The measure's unit.
        scale: f32,
    },
    /// Hours since the last one; missing where there is none in 30 days.
    Age(usize),
    /// Share of a sum in the same sum of another entity.
    Share {
        /// The part.
        of: usize,
        /// The other entity.
        parent: usize,
        /// Its whole.
        whole: usize,
    },
    /// Log odds of a ratio, shrunk to another entity's, minus the log odds of that.
    Odds {
        /// What is counted.
        of: usize,
        /// Per what.
        per: usize,
        /// The other entity.
        parent: usize,
        /// What is counted there.
        parent_of: usize,
        /// Per what.
        parent_per: usize,
        /// The ratio the other entity begins at.
        prior: f32,
        /// With so much weight, as this one begins at the other's.
        weight: f32,
    },
}

/// A number known without any past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Hour of the day, UTC.
    Hour,
    /// Day of the week from Monday = 0, UTC.
    Weekday,
    /// 1 on Saturday and Sunday.
    IsWeekend,
    /// How many impressions the session has had.
    SessionDepth,
    /// Minutes since midnight, as sine.
    DaySine,
    /// Minutes since midnight, as cosine.
    DayCosine,
    /// How many interests the profile names.
    InterestCount,
    /// 1 where a user is known.
    IsUserKnown,
    /// Position of the candidate, from 1.
    Position,
    /// Area of the creative in thousands of pixels.
    CreativeSize,
    /// 1 where the category is among the user's interests.
    InterestMatch,
    /// 1 where the category is the user's top category.
    TopCategoryMatch,
    /// Quality as the catalog says.
    QualityScore,
    /// Hours since the ad was registered.
    AdAge,
    /// ln(1 + price in thousandths of a unit).
    Price,
    /// 1 where the ad's locale is the user's.
    LocaleMatch,
}

/// Where a column's numbers come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// From an entity's past.
    Past(usize, Transform),
    /// From the request or the candidate itself.
    Known(Known),
}

impl Source {
    /// Whether it is as old as the pasts are. The depth of a session is where the client does not tell it.
    pub const fn rests_on_pasts(self) -> bool {
        match self {
            Source::Past(..) => true,
            Source::Known(known) => {
                matches!(known, Known::SessionDepth | Known::TopCategoryMatch)
            }
        }
    }
}

/// A numeric column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What stands for it where it is missing and a model takes no missing numbers: the population's
    /// median; NaN where the plan gives none.
    pub default: f32,
    /// How it comes about.
    pub source: Source,
}

/// One value a field is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A part of an entity.
    Part(Part),
    /// The category the user clicked most in 30 days.
    TopCategory,
    /// Day of the week.
    Weekday,
    /// Creative size.
    Size,
    /// Locale of the user.
    Locale,
    /// Position of the candidate.
    Position,
}

impl Token {
    /// Says something of the candidate.
    pub fn is_of_candidate(self) -> bool {
        match self {
            Token::Part(part) => part.is_of_candidate(),
            Token::Size | Token::Position => true,
            Token::TopCategory | Token::Weekday | Token::Locale => false,
        }
    }
}

/// A categorical field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub of: Vec<Token>,
    pub(crate) seed: u64,
}

impl Field {
    /// Whether it is as old as the pasts are.
    pub fn rests_on_pasts(&self) -> bool {
        self.of.contains(&Token::TopCategory)
    }
}

/// Entities, columns and fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub(crate) entities: Vec<Entity>,
    columns: Vec<Column>,
    user_columns: usize,
    fields: Vec<Field>,
    user_fields: usize,
    pub(crate) ttl_seconds: u32,
    pub(crate) events_a_minute_max: u32,
    version: u64,
    /// The entity that is the user alone; and the user with a category, whose clicks tell the top one.
    pub(crate) user: Option<usize>,
    pub(crate) taste: Option<(usize, usize)>,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Names the key that is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Plan, Error> {
        parse::plan(text)
    }

    /// A hash of everything rows depend on: rows of different versions are different things.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Numeric columns, those of user and moment first.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many of the columns are the same for all candidates of a request.
    pub fn user_columns(&self) -> usize {
        self.user_columns
    }

    /// Categorical fields, those of user and moment first.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many of the fields are the same for all candidates of a request.
    pub fn user_fields(&self) -> usize {
        self.user_fields
    }

    /// Whose pasts are kept.
    pub fn entities(&self) -> &[Entity] {
        &self.entities
    }

    /// What stands for a row of which nothing is known: the defaults.
    pub fn default_row(&self) -> Vec<f32> {
        self.columns.iter().map(|column| column.default).collect()
    }

    /// Puts defaults where numbers are missing; says how many.
    pub fn fill(&self, numeric: &mut [f32]) -> usize {
        let mut filled = 0;
        for row in numeric.chunks_exact_mut(self.columns.len().max(1)) {
            for (number, column) in row.iter_mut().zip(&self.columns) {
                if number.is_nan() {
                    (*number, filled) = (column.default, filled + 1);
                }
            }
        }
        filled
    }

    /// Entities that hold this long without an event are let go: the plan's time, 20 % more or less
    /// by the entity's key, so that what came together does not go together.
    pub fn ttl_seconds(&self, id: u64) -> u32 {
        self.ttl_part((id >> 40) as u32 % 401)
    }

    /// No entity is let go before so many seconds without an event.
    pub(crate) fn ttl_seconds_min(&self) -> u32 {
        self.ttl_part(0)
    }

    fn ttl_part(&self, jitter: u32) -> u32 {
        (u64::from(self.ttl_seconds) * u64::from(800 + jitter) / 1_000) as u32
    }
}

impl Default for Plan {
    fn default() -> Self {
        Plan::parse(DEFAULT).expect("the built-in plan is read by a test")
    }
}

fn seed(name: &str) -> u64 {
    name_key(name)
}
