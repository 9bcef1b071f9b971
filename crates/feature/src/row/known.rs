//! What is known without any past: the moment, the profile, the catalog; and categorical fields.

use reckon_event::Timestamp;

use super::{Candidate, Request, Rows, Views, second_of};
use crate::happened::{hour_of_day, mix};
use crate::plan::{Known, Measure, Part, Plan, Token, Window};

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

/// Field by field, so that what a field is made of is asked once and not for each candidate.
pub(super) fn fields(
    plan: &Plan,
    request: &Request<'_>,
    candidates: &[Candidate],
    views: &mut Views,
    rows: &mut Rows,
) {
    let count = plan.fields().len();
    rows.keys.resize(count * candidates.len(), 0);
    let mut hashes = std::mem::take(&mut views.hashes);
    for (number, field) in plan.fields().iter().enumerate() {
        let places = rows.keys[number.min(candidates.len() * count)..].iter_mut().step_by(count);
        let same = field.of.iter().take_while(|token| !token.is_of_candidate());
        let value = |token: &Token| value_of_request(*token, request, views);
        let begun = same.clone().try_fold(field.seed, |hash, token| Some(mix(hash, value(token)?)));
        hashes.clear();
        hashes.resize(candidates.len(), begun.unwrap_or(0));
        for token in &field.of[same.count()..] {
            match token {
                Token::Part(Part::Ad) => with(&mut hashes, candidates, |of| of.ad.ad),
                Token::Part(Part::Campaign) => with(&mut hashes, candidates, |of| of.ad.campaign),
                Token::Part(Part::Category) => with(&mut hashes, candidates, |of| of.ad.category),
                Token::Size => with(&mut hashes, candidates, |of| {
                    u64::from(of.ad.size.0) << 16 | u64::from(of.ad.size.1)
                }),
                Token::Position => with(&mut hashes, candidates, |of| of.position.into()),
                same => match value(same) {
                    Some(value) => hashes.iter_mut().for_each(|hash| mix_in(hash, value)),
                    None => hashes.fill(0),
                },
            }
        }
        places.zip(&hashes).for_each(|(place, hash)| *place = *hash);
    }
    views.hashes = hashes;
}

/// Goes on with the hashes of candidates; where the value is 0, it is missing.
fn with(hashes: &mut [u64], candidates: &[Candidate], value: impl Fn(&Candidate) -> u64) {
    for (hash, candidate) in hashes.iter_mut().zip(candidates) {
        match value(candidate) {
            0 => *hash = 0,
            value => mix_in(hash, value),
        }
    }
}

/// What is missing stays missing.
fn mix_in(hash: &mut u64, value: u64) {
    if *hash != 0 {
        *hash = mix(*hash, value).max(1);
    }
}

fn value_of_request(token: Token, request: &Request<'_>, views: &Views) -> Option<u64> {
    let there = |value: u64| (value != 0).then_some(value);
    match token {
        Token::Part(part) => request.parts.value(part, hour_of_day(second_of(request.now))),
        Token::TopCategory => there(views.top_category),
        Token::Weekday => Some(u64::from(weekday(second_of(request.now)))),
        Token::Locale => there(request.locale),
        Token::Size | Token::Position => None,
    }
}
