//! What is known without any past: the moment, the profile, the catalog; and categorical fields.

use reckon_event::Timestamp;

use super::{Candidate, Request, Rows, Views, parts, second_of};
use crate::happened::{Parts, hour_of_day, mix};
use crate::plan::{Known, Measure, Plan, Token, Window};

pub(super) fn of_request(plan: &Plan, known: Known, request: &Request<'_>, views: &Views) -> f32 {
    let second = second_of(request.now);
    match known {
        Known::Hour => hour_of_day(second) as f32,
        Known::Weekday => weekday(second) as f32,
        Known::IsWeekend => flag(weekday(second) >= 5),
        Known::SessionDepth => session_depth(plan, request, views),
        Known::DaySine => turn(second).0,
        Known::DayCosine => turn(second).1,
        Known::InterestCount => request.interests.len() as f32,
        Known::IsUserKnown => flag(request.parts.user.is_some()),
        _ => f32::NAN,
    }
}

pub(super) fn of_candidate(
    known: Known,
    request: &Request<'_>,
    candidate: &Candidate,
    views: &Views,
) -> f32 {
    let ad = &candidate.ad;
    match known {
        Known::Position if candidate.position > 0 => f32::from(candidate.position),
        Known::CreativeSize if ad.size != (0, 0) => {
            f32::from(ad.size.0) * f32::from(ad.size.1) / 1_000.0
        }
        Known::InterestMatch if ad.category != 0 && !request.interests.is_empty() => {
            flag(request.interests.contains(&ad.category))
        }
        Known::TopCategoryMatch if ad.category != 0 && views.top_category != 0 => {
            flag(ad.category == views.top_category)
        }
        Known::QualityScore => ad.quality.unwrap_or(f32::NAN),
        Known::AdAge => ad.created.map_or(f32::NAN, |created| {
            (request.now.since(created).max(0) / Timestamp::SECOND) as f32 / 3_600.0
        }),
        Known::Price => super::ln(1.0 + candidate.price.max(0) as f32 / 1_000.0),
        Known::LocaleMatch if ad.locale != 0 && request.locale != 0 => {
            flag(ad.locale == request.locale)
        }
        _ => f32::NAN,
    }
}

fn flag(is_so: bool) -> f32 {
    f32::from(u8::from(is_so))
}

/// Monday = 0; 1970 began on a Thursday.
fn weekday(second: u32) -> u32 {
    (second / 86_400 + 3) % 7
}

/// Where the day's hand stands: parabolas through the extremes of sine and cosine, a sixteenth off
/// at most, and the same bits on every machine.
fn turn(second: u32) -> (f32, f32) {
    let wave = |shift: u32| {
        let part = ((second / 60 + shift) % 1_440) as f32 / 720.0;
        let half = if part < 1.0 { part } else { part - 1.0 };
        let bow = 4.0 * half * (1.0 - half);
        if part < 1.0 { bow } else { -bow }
    };
    (wave(0), wave(360))
}

fn session_depth(plan: &Plan, request: &Request<'_>, views: &Views) -> f32 {
    if let Some(depth) = request.session_depth {
        return depth as f32;
    }
    let of_hour = || {
        let (entity, asked) = (&plan.entities[plan.user?], &views.asked[plan.user?]);
        let view = asked.of(0, entity.width())?;
        Some(view[entity.sum_at(Window::Hour, Measure::Impressions)?])
    };
    of_hour().unwrap_or(f32::NAN)
}

pub(super) fn fields(
    plan: &Plan,
    request: &Request<'_>,
    candidates: &[Candidate],
    views: &mut Views,
    rows: &mut Rows,
) {
    let mut begun = std::mem::take(&mut views.fields);
    begun.clear();
    let shared = |token: &&Token| !token.is_of_candidate();
    let nobody = (request.parts, Candidate::default());
    for field in plan.fields() {
        let tokens = field.of.iter().take_while(shared);
        begun.push(hash(field.seed, tokens, request, &nobody, views));
    }
    rows.keys.clear();
    rows.keys.reserve(plan.fields().len() * candidates.len());
    for candidate in candidates {
        let candidate = (parts(request, candidate), *candidate);
        rows.keys.extend(plan.fields().iter().zip(&begun).map(|(field, &begun)| {
            let tokens = field.of.iter().skip_while(shared);
            if begun == 0 { 0 } else { hash(begun, tokens, request, &candidate, views) }
        }));
    }
    views.fields = begun;
}

/// The hash of a field's name and values; 0 where one of them is missing.
fn hash<'a>(
    begun: u64,
    mut tokens: impl Iterator<Item = &'a Token>,
    request: &Request<'_>,
    candidate: &(Parts, Candidate),
    views: &Views,
) -> u64 {
    let more = |hash, &token: &Token| Some(mix(hash, value(token, request, candidate, views)?));
    tokens.try_fold(begun, more).map_or(0, |hash| hash.max(1))
}

fn value(
    token: Token,
    request: &Request<'_>,
    (parts, candidate): &(Parts, Candidate),
    views: &Views,
) -> Option<u64> {
    let there = |value: u64| (value != 0).then_some(value);
    match token {
        Token::Part(part) => parts.value(part, hour_of_day(second_of(request.now))),
        Token::TopCategory => there(views.top_category),
        Token::Weekday => Some(u64::from(weekday(second_of(request.now)))),
        Token::Size => {
            let (width, height) = candidate.ad.size;
            there(u64::from(width) << 16 | u64::from(height))
        }
        Token::Locale => there(request.locale),
        Token::Position => there(u64::from(candidate.position)),
    }
}
