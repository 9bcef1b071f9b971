//! trivago's RecSys Challenge of 2019: sessions of people who search hotels, with lists and prices.
//!
//! A clickout names the hotel that was clicked and the list it stood in, by position. What a person did
//! in the session before says most: the hotel whose pictures were just looked at is clicked next. Lists
//! of different sessions run at the same time, so sessions are read whole first and lists then made
//! in the order of their time.

use std::collections::HashMap;
use std::path::Path;

use super::history::Tally;
use super::lists::ranks;
use super::output::Output;
use super::parquet::Columns;
use super::{cross, key};
use crate::{Progress, RowRef, Schema, Table, TrainError};

const COLUMNS: [&str; 29] = [
    "step",
    "list",
    "filters",
    "since last",
    "touched in session",
    "mean price",
    "position",
    "price",
    "price to mean",
    "price rank",
    "price to touched",
    "hotel clicks",
    "hotel shown",
    "hotel rate",
    "hotel touched",
    "hotel clicks 1d",
    "touches",
    "pictures",
    "clicked before",
    "is last",
    "is last but one",
    "since touched",
    "places from last",
    "is below last",
    "was shown",
    "rank clicks",
    "rank rate",
    "place rate",
    "user touches",
];
const USER_COLUMNS: usize = 6;
const FIELDS: [&str; 8] = [
    "platform",
    "device",
    "city",
    "last action",
    "hotel",
    "place",
    "city and hotel",
    "last places",
];
const USER_FIELDS: usize = 4;
const DAY: f64 = 86_400_000.0;
/// Hotels of a list are at most 25.
const LIST_MAX: usize = 25;

/// One line of the log.
struct Event {
    time: i64,
    user: u64,
    session: u64,
    line: usize,
    step: i64,
    action: String,
    hotel: u64,
    platform: String,
    city: String,
    device: String,
    filters: String,
    impressions: String,
    prices: String,
}

/// What happened in a session so far.
#[derive(Default)]
struct Session {
    /// By hotel.
    touched: HashMap<u64, Touch>,
    /// The latest hotels, the last one last.
    order: Vec<u64>,
    last_time: Option<i64>,
    last_action: u64,
    /// Sum and count of prices of touched hotels.
    prices: (f32, f32),
    /// Place of the last clicked or touched hotel in the last list.
    shown: HashMap<u64, f32>,
}

#[derive(Clone, Copy, Default)]
struct Touch {
    touches: f32,
    pictures: f32,
    clicks: f32,
    at: i64,
}

/// Everything that was counted so far, of all sessions.
struct Past {
    hotels: Tally,
    day: Tally,
    touched: Tally,
    places: Tally,
    users: Tally,
    sessions: HashMap<u64, Session>,
}

pub(super) fn import(
    log: &Path,
    table: &Path,
    progress: &mut dyn Progress,
) -> Result<Table, TrainError> {
    let columns = Columns::read(log)?;
    let mut events = events(&columns)?;
    events.sort_by_key(|event| (event.time, event.session, event.step));
    let schema = Schema {
        numeric: COLUMNS.map(str::to_owned).to_vec(),
        fields: FIELDS.map(str::to_owned).to_vec(),
        user_numeric: USER_COLUMNS,
        user_fields: USER_FIELDS,
    };
    let mut output = Output::create(table, &schema, progress)?;
    let mut past = Past {
        hotels: Tally::lasting(),
        day: Tally::fading(DAY),
        touched: Tally::lasting(),
        places: Tally::lasting(),
        users: Tally::lasting(),
        sessions: HashMap::new(),
    };
    for event in &events {
        let list = list(event, &columns)?;
        for (place, (numeric, keys)) in past.rows(event, &list).iter().enumerate() {
            output.push(RowRef {
                numeric,
                keys,
                label: list[place].hotel == event.hotel,
                weight: 1.0,
                time: event.time,
                group: event.line as u64 + 1,
                position: place as u16 + 1,
                truth: f32::NAN,
            })?;
        }
        past.count(event, &list);
    }
    output.finish()
}

fn events(columns: &Columns) -> Result<Vec<Event>, TrainError> {
    let [user, session, action, reference] =
        ["user_id", "session_id", "action_type", "reference"].map(|name| columns.texts(name));
    let (user, session, action, reference) = (user?, session?, action?, reference?);
    let [platform, city, device] = ["platform", "city", "device"].map(|name| columns.texts(name));
    let (platform, city, device) = (platform?, city?, device?);
    let [filters, impressions, prices] =
        ["current_filters", "impressions", "prices"].map(|name| columns.texts(name));
    let (filters, impressions, prices) = (filters?, impressions?, prices?);
    let (time, step) = (columns.numbers("timestamp")?, columns.numbers("step")?);
    let event = |line: usize| Event {
        time: time[line] as i64 * 1_000,
        user: key("user", &user[line]),
        session: key("session", &session[line]),
        line,
        step: step[line] as i64,
        action: action[line].clone(),
        hotel: key("hotel", &reference[line]),
        platform: platform[line].clone(),
        city: city[line].clone(),
        device: device[line].clone(),
        filters: filters[line].clone(),
        impressions: impressions[line].clone(),
        prices: prices[line].clone(),
    };
    Ok((0..time.len()).map(event).collect())
}

/// One hotel of a list.
struct Offer {
    hotel: u64,
    price: f32,
}

/// The hotels of a clickout, by position; none of other events.
fn list(event: &Event, columns: &Columns) -> Result<Vec<Offer>, TrainError> {
    if event.action != "clickout item" {
        return Ok(Vec::new());
    }
    let prices: Option<Vec<f32>> =
        event.prices.split('|').map(|price| price.parse().ok()).collect();
    let prices = prices.ok_or_else(|| columns.error(event.line, "prices", "not numbers and |"))?;
    let hotels: Vec<_> = event.impressions.split('|').collect();
    if hotels.len() != prices.len() || hotels.len() > LIST_MAX {
        let problem = format!("{} prices of {} hotels, at most 25", prices.len(), hotels.len());
        return Err(columns.error(event.line, "prices", &problem));
    }
    let offer = |(hotel, price): (&&str, f32)| Offer { hotel: key("hotel", hotel), price };
    Ok(hotels.iter().zip(prices).map(offer).collect())
}

type Row = ([f32; COLUMNS.len()], [u64; FIELDS.len()]);

impl Past {
    fn rows(&self, event: &Event, list: &[Offer]) -> Vec<Row> {
        let none = Session::default();
        let session = self.sessions.get(&event.session).unwrap_or(&none);
        let prices: Vec<_> = list.iter().map(|offer| -offer.price).collect();
        let mean = -prices.iter().sum::<f32>() / list.len().max(1) as f32;
        let place_of = |back: usize| {
            let hotel = session.order.iter().rev().nth(back)?;
            list.iter().position(|offer| offer.hotel == *hotel)
        };
        let last = (place_of(0), place_of(1));
        let mut rows: Vec<Row> = (0..list.len())
            .map(|place| self.row(event, session, list, place, mean, last))
            .collect();
        for (from, rank) in [(11, 25), (13, 26)] {
            let values: Vec<_> = rows.iter().map(|row| row.0[from]).collect();
            rows.iter_mut().zip(ranks(&values)).for_each(|(row, place)| row.0[rank] = place);
        }
        rows.iter_mut().zip(ranks(&prices)).for_each(|(row, place)| row.0[9] = place);
        rows
    }

    fn row(
        &self,
        event: &Event,
        session: &Session,
        list: &[Offer],
        place: usize,
        mean: f32,
        last: (Option<usize>, Option<usize>),
    ) -> Row {
        let Offer { hotel, price } = list[place];
        let seen = self.hotels.seen(hotel, event.time);
        let touch = session.touched.get(&hotel).copied().unwrap_or_default();
        let of_place = key("place", &place.to_string());
        let from_last = last.0.map(|last| place as f32 - last as f32);
        let since = |at: Option<i64>| at.map_or(f32::NAN, |at| (event.time - at) as f32 / 1_000.0);
        let yes = |holds: bool| f32::from(u8::from(holds));
        let touched_price = session.prices.0 / session.prices.1;
        let numeric = [
            event.step as f32,
            list.len() as f32,
            event.filters.split('|').filter(|part| !part.is_empty()).count() as f32,
            since(session.last_time),
            session.order.len() as f32,
            mean,
            place as f32 + 1.0,
            price,
            price / mean,
            0.0,
            price / touched_price,
            seen.clicked.ln_1p(),
            seen.shown.ln_1p(),
            self.hotels.rate(seen),
            self.touched.seen(hotel, event.time).shown.ln_1p(),
            self.day.seen(hotel, event.time).clicked.ln_1p(),
            touch.touches,
            touch.pictures,
            touch.clicks,
            yes(last.0 == Some(place)),
            yes(last.1 == Some(place)),
            since((touch.touches > 0.0).then_some(touch.at)),
            from_last.unwrap_or(f32::NAN),
            yes(from_last == Some(1.0)),
            session.shown.get(&hotel).copied().unwrap_or(0.0),
            0.0,
            0.0,
            self.places.rate(self.places.seen(of_place, event.time)),
            self.users.seen(cross(event.user, hotel), event.time).shown,
        ];
        let from_last = from_last.map_or(String::new(), |places| format!("{places:.0}"));
        let city = key("city", &event.city);
        let keys = [
            key("platform", &event.platform),
            key("device", &event.device),
            city,
            session.last_action,
            hotel,
            of_place,
            cross(city, hotel),
            key("last places", &from_last),
        ];
        (numeric, keys)
    }

    fn count(&mut self, event: &Event, list: &[Offer]) {
        for (place, offer) in list.iter().enumerate() {
            let clicked = offer.hotel == event.hotel;
            self.hotels.count(offer.hotel, clicked, event.time);
            self.day.count(offer.hotel, clicked, event.time);
            self.places.count(key("place", &place.to_string()), clicked, event.time);
        }
        let session = self.sessions.entry(event.session).or_default();
        for offer in list {
            *session.shown.entry(offer.hotel).or_default() += 1.0;
        }
        session.last_time = Some(event.time);
        session.last_action = key("last action", &event.action);
        if event.action.starts_with("interaction") || event.action == "clickout item" {
            session.touch(event);
            self.touched.count(event.hotel, false, event.time);
            self.users.count(cross(event.user, event.hotel), false, event.time);
            if let Some(offer) = list.iter().find(|offer| offer.hotel == event.hotel) {
                session.prices.0 += offer.price;
                session.prices.1 += 1.0;
            }
        }
    }
}

impl Session {
    fn touch(&mut self, event: &Event) {
        let touch = self.touched.entry(event.hotel).or_default();
        touch.touches += 1.0;
        touch.pictures += f32::from(u8::from(event.action.ends_with("image")));
        touch.clicks += f32::from(u8::from(event.action == "clickout item"));
        touch.at = event.time;
        if self.order.last() != Some(&event.hotel) {
            self.order.push(event.hotel);
        }
    }
}
