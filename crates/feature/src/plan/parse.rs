//! From the text of a plan to the plan: every name is resolved, and what does not fit is told.

use std::collections::HashSet;

use reckon_event::name_key;
use serde::Deserialize;

use super::{Column, Entity, Field, Known, Measure, Part, Plan, Source, Token, Transform, Window};

/// More than any row needs; a view's places and a model's columns stay small.
const ENTITIES_MAX: usize = 32;
const COLUMNS_MAX: usize = 1_024;
const FIELDS_MAX: usize = 128;
const PARTS_MAX: usize = 3;

/// A plan that cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("features.toml: {key}: {problem}")]
pub struct Error {
    /// Where: as in `columns.user.rate`.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub problem: Problem,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, or a key or word that there is not.
    #[error("{0}")]
    Syntax(String),
    /// Two of one name.
    #[error("stands twice; give each a name of its own")]
    Twice,
    /// More than there may be.
    #[error("more than {0}; take some away")]
    TooMany(usize),
    /// A number out of bounds.
    #[error("must be {0}")]
    Bounds(&'static str),
    /// A key that the transform needs.
    #[error("is missing; the transform `{0}` needs it")]
    Missing(&'static str),
    /// A key that the transform does not read.
    #[error("is not read by the transform `{0}`; take it away")]
    Unread(&'static str),
    /// An entity that is not declared.
    #[error("no entity `{0}`; declare it under [[entity]]")]
    NoEntity(String),
    /// A measure the entity does not keep.
    #[error("entity `{0}` does not keep it; add it to the entity's `measures`")]
    NotKept(String),
    /// A window the entity does not keep.
    #[error("entity `{0}` does not keep this window; add it to the entity's `windows`")]
    NoWindow(String),
    /// The other entity is of a candidate and this one is not.
    #[error("`{0}` is of a candidate, this entity is not; compare the other way round")]
    Candidate(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ttl_days: u32,
    user_events_a_minute_max: u32,
    entity: Vec<EntityText>,
    columns: Vec<ColumnsText>,
    known: Vec<KnownText>,
    field: Vec<FieldText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityText {
    name: String,
    of: Vec<Part>,
    measures: Vec<Measure>,
    windows: Vec<Window>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Count,
    Log,
    Rate,
    Mean,
    Age,
    Share,
    Odds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnsText {
    entity: String,
    transform: Kind,
    measure: Measure,
    per: Option<Measure>,
    windows: Option<Vec<Window>>,
    against: Option<String>,
    prior: Option<f32>,
    weight: Option<f32>,
    names: Option<Vec<String>>,
    default: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownText {
    name: String,
    default: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldText {
    name: String,
    of: Vec<String>,
}

fn err<T>(key: impl Into<String>, problem: Problem) -> Result<T, Error> {
    Err(Error { key: key.into(), problem })
}

pub(super) fn plan(text: &str) -> Result<Plan, Error> {
    let file: File = toml::from_str(text).map_err(|error| Error {
        key: error.span().map_or_else(
            || "the file".to_owned(),
            |span| format!("line {}", text[..span.start].matches('\n').count() + 1),
        ),
        problem: Problem::Syntax(error.message().to_owned()),
    })?;
    // Some are let go of a fifth sooner.
    if !(39..=3_650).contains(&file.ttl_days) {
        return err(
            "ttl_days",
            Problem::Bounds(
                "39 to 3650: a window of 30 days reaches into 31, and who is let go a fifth sooner has them",
            ),
        );
    }
    if !(1..=1_000_000).contains(&file.user_events_a_minute_max) {
        return err("user_events_a_minute_max", Problem::Bounds("1 to 1000000"));
    }
    let mut entities = entities(file.entity)?;
    let mut columns = Vec::new();
    for group in &file.columns {
        expand(group, &mut entities, &mut columns)?;
    }
    for known in &file.known {
        columns.push(Column {
            source: Source::Known(known_of(&known.name)?),
            name: known.name.clone(),
            default: default_of(&known.name, known.default)?,
        });
    }
    unique("columns", columns.iter().map(|column| column.name.as_str()), COLUMNS_MAX)?;
    let mut fields = fields(&file.field)?;
    columns.sort_by_key(|column| is_of_candidate(column, &entities));
    fields.sort_by_key(|field: &Field| field.of.iter().any(|token| token.is_of_candidate()));
    let user_columns = columns.partition_point(|column| !is_of_candidate(column, &entities));
    let user_fields =
        fields.partition_point(|field| !field.of.iter().any(|token| token.is_of_candidate()));
    let user = entities.iter().position(|entity| entity.of == [Part::User]);
    let taste = taste(&entities);
    let mut plan = Plan {
        entities,
        columns,
        user_columns,
        fields,
        user_fields,
        ttl_seconds: file.ttl_days * 86_400,
        events_a_minute_max: file.user_events_a_minute_max,
        version: 0,
        user,
        taste,
    };
    // Names, order and numbers of everything resolved; comments and layout of the file say nothing.
    plan.version = name_key(&format!("{plan:?}"));
    Ok(plan)
}

/// Where clicks of the user in a category stand, over the longest window.
fn taste(entities: &[Entity]) -> Option<(usize, usize)> {
    let at = entities.iter().position(|entity| entity.of == [Part::User, Part::Category])?;
    Some((at, entities[at].sum_at(Window::Month, Measure::Clicks)?))
}

fn unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str>,
    count_max: usize,
) -> Result<(), Error> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return err(format!("{what}.{name}"), Problem::Twice);
        }
    }
    if seen.len() > count_max {
        return err(what, Problem::TooMany(count_max));
    }
    Ok(())
}

fn entities(texts: Vec<EntityText>) -> Result<Vec<Entity>, Error> {
    unique("entity", texts.iter().map(|text| text.name.as_str()), ENTITIES_MAX)?;
    let mut entities = Vec::with_capacity(texts.len());
    for EntityText { name, of, measures, mut windows } in texts {
        let key = |end: &str| format!("entity.{name}.{end}");
        if of.is_empty() || of.len() > PARTS_MAX {
            return err(key("of"), Problem::Bounds("one to three parts"));
        }
        if of[1..].contains(&Part::User) {
            return err(key("of"), Problem::Bounds("written with `user` first: it owns the rest"));
        }
        for (at, measure) in measures.iter().enumerate() {
            if measures[..at].contains(measure) {
                return err(key("measures"), Problem::Twice);
            }
        }
        if measures.is_empty() {
            return err(key("measures"), Problem::Bounds("one or more"));
        }
        windows.sort_unstable();
        if windows.is_empty() || windows.windows(2).any(|pair| pair[0] == pair[1]) {
            return err(key("windows"), Problem::Bounds("one or more, each once"));
        }
        let seed = super::seed(&name);
        let levels = windows.iter().fold(0, |levels, window| levels | 1 << window.level());
        let of_candidate = of.iter().fold(0, |bits, part| bits | part.bit_of_candidate());
        entities.push(Entity { name, of, measures, windows, seed, lasts: 0, levels, of_candidate });
    }
    Ok(entities)
}

fn is_of_candidate(column: &Column, entities: &[Entity]) -> bool {
    match column.source {
        // A parent of a shared entity is shared: `other` saw to it.
        Source::Past(entity, _) => !entities[entity].is_shared(),
        Source::Known(known) => known.is_of_candidate(),
    }
}

fn default_of(name: &str, default: Option<f32>) -> Result<f32, Error> {
    match default {
        Some(number) if !number.is_finite() => {
            err(format!("columns.{name}.default"), Problem::Bounds("a finite number"))
        }
        number => Ok(number.unwrap_or(f32::NAN)),
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Count => "count",
            Kind::Log => "log",
            Kind::Rate => "rate",
            Kind::Mean => "mean",
            Kind::Age => "age",
            Kind::Share => "share",
            Kind::Odds => "odds",
        }
    }

    /// Which of `per`, `windows`, `against`, `prior` and `weight` it reads.
    fn reads(self) -> [bool; 5] {
        match self {
            Kind::Count | Kind::Log => [false, true, false, false, false],
            Kind::Rate => [true, true, false, true, true],
            Kind::Mean => [true, true, false, false, false],
            Kind::Age => [false; 5],
            Kind::Share => [false, true, true, false, false],
            Kind::Odds => [true; 5],
        }
    }
}

/// A group with its entity looked up.
struct Group<'a> {
    text: &'a ColumnsText,
    key: String,
    at: usize,
}

impl Group<'_> {
    fn key(&self, end: &str) -> String {
        format!("{}.{end}", self.key)
    }

    fn sum(
        &self,
        entities: &[Entity],
        at: usize,
        window: Window,
        measure: Measure,
    ) -> Result<usize, Error> {
        let entity = &entities[at];
        if !entity.windows.contains(&window) {
            return err(
                self.key(&format!("windows.{}", window.name())),
                Problem::NoWindow(entity.name.clone()),
            );
        }
        let sum = entity.sum_at(window, measure);
        sum.map_or_else(|| err(self.key("measure"), Problem::NotKept(entity.name.clone())), Ok)
    }

    fn other(&self, entities: &[Entity]) -> Result<usize, Error> {
        let name = self.needed("against", self.text.against.clone())?;
        let Some(other) = entities.iter().position(|entity| entity.name == name) else {
            return err(self.key("against"), Problem::NoEntity(name));
        };
        if entities[self.at].is_shared() && !entities[other].is_shared() {
            return err(self.key("against"), Problem::Candidate(name));
        }
        Ok(other)
    }

    fn needed<T>(&self, end: &str, value: Option<T>) -> Result<T, Error> {
        value.map_or_else(|| err(self.key(end), Problem::Missing(self.text.transform.name())), Ok)
    }

    fn prior(&self) -> Result<f32, Error> {
        let prior = self.needed("prior", self.text.prior)?;
        if prior > 0.0 && prior < 1.0 {
            return Ok(prior);
        }
        err(self.key("prior"), Problem::Bounds("above 0 and below 1"))
    }

    fn weight(&self) -> Result<f32, Error> {
        let weight = self.needed("weight", self.text.weight)?;
        if weight > 0.0 && weight.is_finite() {
            return Ok(weight);
        }
        err(self.key("weight"), Problem::Bounds("above 0"))
    }

    fn transform(&self, entities: &[Entity], window: Window) -> Result<Transform, Error> {
        let text = self.text;
        let of = self.sum(entities, self.at, window, text.measure)?;
        let per = |at| {
            let per = self.needed("per", text.per)?;
            self.sum(entities, at, window, per)
        };
        Ok(match text.transform {
            Kind::Count => Transform::Count { of, unit: text.measure.scale() * window.unit() },
            Kind::Log => Transform::Log { of, unit: text.measure.scale() * window.unit() },
            Kind::Rate => Transform::Rate {
                of,
                per: per(self.at)?,
                prior: self.prior()?,
                weight: self.weight()? / window.unit(),
            },
            Kind::Mean => Transform::Mean { of, per: per(self.at)?, scale: text.measure.scale() },
            Kind::Share => {
                let parent = self.other(entities)?;
                let whole = self.sum(entities, parent, window, text.measure)?;
                Transform::Share { of, parent, whole }
            }
            Kind::Odds => {
                let parent = self.other(entities)?;
                Transform::Odds {
                    of,
                    per: per(self.at)?,
                    parent,
                    parent_of: self.sum(entities, parent, window, text.measure)?,
                    parent_per: per(parent)?,
                    prior: self.prior()?,
                    weight: self.weight()? / window.unit(),
                }
            }
            Kind::Age => unreachable!("ages have no window"),
        })
    }
}

fn expand(
    text: &ColumnsText,
    entities: &mut [Entity],
    columns: &mut Vec<Column>,
) -> Result<(), Error> {
    let kind = text.transform;
    let key = format!("columns.{}.{}", text.entity, kind.name());
    let Some(at) = entities.iter().position(|entity| entity.name == text.entity) else {
        return err(format!("{key}.entity"), Problem::NoEntity(text.entity.clone()));
    };
    let group = Group { text, key, at };
    let given = [
        ("per", text.per.is_some()),
        ("windows", text.windows.is_some()),
        ("against", text.against.is_some()),
        ("prior", text.prior.is_some()),
        ("weight", text.weight.is_some()),
    ];
    for ((end, given), reads) in given.into_iter().zip(kind.reads()) {
        if given && !reads {
            return err(group.key(end), Problem::Unread(kind.name()));
        }
    }
    let default = default_of(&text.entity, text.default)?;
    let mut push = |name: String, transform| {
        columns.push(Column { name, default, source: Source::Past(at, transform) });
    };
    let measure = format!("{:?}", text.measure).to_lowercase();
    let against = text.against.as_ref().map_or(String::new(), |other| format!("_to_{other}"));
    if matches!(kind, Kind::Age) {
        let Some(last) = entities[at].last_at(text.measure) else {
            return err(group.key("measure"), Problem::NotKept(text.entity.clone()));
        };
        entities[at].lasts |= 1 << entities[at].lane(text.measure).unwrap_or(0);
        let usual = format!("{}_last_{measure}_hours", text.entity);
        push(name_at(&group, 0, 1)?.unwrap_or(usual), Transform::Age(last));
        return Ok(());
    }
    let windows = group.needed("windows", text.windows.clone())?;
    for (number, &window) in windows.iter().enumerate() {
        let transform = group.transform(entities, window)?;
        let (entity, kind) = (&text.entity, kind.name());
        let usual = format!("{entity}_{measure}_{kind}{against}_{}", window.name());
        push(name_at(&group, number, windows.len())?.unwrap_or(usual), transform);
    }
    Ok(())
}

/// The name a group gives its `number`-th column.
fn name_at(group: &Group<'_>, number: usize, count: usize) -> Result<Option<String>, Error> {
    match &group.text.names {
        Some(names) if names.len() != count => {
            err(group.key("names"), Problem::Bounds("one for each window"))
        }
        Some(names) => Ok(Some(names[number].clone())),
        None => Ok(None),
    }
}

fn fields(texts: &[FieldText]) -> Result<Vec<Field>, Error> {
    unique("field", texts.iter().map(|text| text.name.as_str()), FIELDS_MAX)?;
    texts
        .iter()
        .map(|FieldText { name, of }| {
            if of.is_empty() || of.len() > PARTS_MAX {
                return err(format!("field.{name}.of"), Problem::Bounds("one to three values"));
            }
            let of = of.iter().map(|word| token(name, word)).collect::<Result<_, _>>()?;
            Ok(Field { seed: super::seed(name), name: name.clone(), of })
        })
        .collect()
}

fn token(field: &str, word: &str) -> Result<Token, Error> {
    Ok(match word {
        "tenant" => Token::Part(Part::Tenant),
        "user" => Token::Part(Part::User),
        "ad" => Token::Part(Part::Ad),
        "campaign" => Token::Part(Part::Campaign),
        "category" => Token::Part(Part::Category),
        "page" => Token::Part(Part::Page),
        "geo" => Token::Part(Part::Geo),
        "device" => Token::Part(Part::Device),
        "placement" => Token::Part(Part::Placement),
        "hour" => Token::Part(Part::Hour),
        "top_category" => Token::TopCategory,
        "weekday" => Token::Weekday,
        "creative_size" => Token::Size,
        "locale" => Token::Locale,
        "position" => Token::Position,
        _ => {
            let words = "user, ad, campaign, category, page, geo, device, placement, hour, tenant, \
                         top_category, weekday, creative_size, locale or position";
            return err(format!("field.{field}.of.{word}"), Problem::Bounds(words));
        }
    })
}

const KNOWN: [(&str, Known); 16] = [
    ("hour", Known::Hour),
    ("weekday", Known::Weekday),
    ("is_weekend", Known::IsWeekend),
    ("session_depth", Known::SessionDepth),
    ("day_sine", Known::DaySine),
    ("day_cosine", Known::DayCosine),
    ("interest_count", Known::InterestCount),
    ("is_user_known", Known::IsUserKnown),
    ("position", Known::Position),
    ("creative_size", Known::CreativeSize),
    ("interest_match", Known::InterestMatch),
    ("top_category_match", Known::TopCategoryMatch),
    ("quality_score", Known::QualityScore),
    ("ad_age_hours", Known::AdAge),
    ("price_log", Known::Price),
    ("locale_match", Known::LocaleMatch),
];

fn known_of(name: &str) -> Result<Known, Error> {
    let found = KNOWN.iter().find(|(word, _)| *word == name);
    found.map_or_else(
        || {
            let words = "one of those told in docs/features.md, such as hour or quality_score";
            err(format!("known.{name}"), Problem::Bounds(words))
        },
        |&(_, known)| Ok(known),
    )
}

impl Known {
    fn is_of_candidate(self) -> bool {
        !matches!(
            self,
            Known::Hour
                | Known::Weekday
                | Known::IsWeekend
                | Known::SessionDepth
                | Known::DaySine
                | Known::DayCosine
                | Known::InterestCount
                | Known::IsUserKnown
        )
    }
}
