//! From query parameters to a question for the rollup.

use reckon_event::{TenantId, Timestamp, name_key};
use reckon_rollup::{Dimension, Direction, Filter, Granularity, Order, OrderBy, Query};

use super::columns::{Column, dimension_name, dimension_of};
use crate::http::Problem;
use crate::http::parameters::{Parameters, wrong};

/// The names that `GET /v1/metrics` takes.
const METRICS: [&str; 15] = [
    "from",
    "to",
    "granularity",
    "window",
    "step",
    "group_by",
    "metrics",
    "order_by",
    "limit",
    "ad_id",
    "campaign_id",
    "region",
    "device",
    "placement",
    "position",
];
/// The names that `GET /v1/ads/top` takes.
const TOP: [&str; 3] = ["window", "k", "by"];
/// Seconds are answered this far back, in microseconds.
const SECONDS_KEPT: i64 = Timestamp::HOUR;
/// The text of an ad or campaign that nobody registered.
pub const UNKNOWN: &str = "(unknown)";
/// The most ads of one ranking.
const TOP_MAX: u32 = 1_000;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// For the rollup.
    pub query: Query,
    /// What the rows hold, in this order.
    pub columns: Vec<Column>,
}

impl Asked {
    /// Reads `GET /v1/metrics`.
    pub fn metrics(text: Option<&str>, tenant: TenantId, now: Timestamp) -> Result<Self, Problem> {
        let parameters = Parameters::read(text, &METRICS)?;
        let granularity = granularity(&parameters)?;
        let (from, to) = span(&parameters, granularity, now)?;
        let group_by = parameters.list("group_by", dimension_of)?.unwrap_or_default();
        if let Some(twice) = first_repeated(&group_by) {
            return Err(wrong(
                "group_by",
                &format_args!("{} is given twice", dimension_name(twice)),
            ));
        }
        let columns = parameters.list("metrics", Column::parse)?;
        let columns = columns.filter(|columns| !columns.is_empty());
        let query = Query {
            filter: filter(&parameters)?,
            group_by,
            order_by: parameters.text("order_by").map(order).transpose()?,
            limit: parameters.parse("limit", "a whole number")?,
            ..Query::new(tenant, from, to, granularity)
        };
        Ok(Asked { query, columns: columns.unwrap_or_else(|| Column::USUAL.to_vec()) })
    }

    /// Reads `GET /v1/ads/top`.
    pub fn top(text: Option<&str>, tenant: TenantId, now: Timestamp) -> Result<Self, Problem> {
        let parameters = Parameters::read(text, &TOP)?;
        let window = duration(&parameters, "window")?.unwrap_or(300);
        if window % 60 != 0 || window == 0 {
            return Err(Problem::unprocessable("window: give whole minutes, such as 5m"));
        }
        let k = parameters.parse("k", "a whole number")?.unwrap_or(100);
        if !(1..=TOP_MAX).contains(&k) {
            return Err(Problem::unprocessable(format!("k: give 1 to {TOP_MAX}")));
        }
        let by = parameters.text("by").unwrap_or("clicks");
        let metric = Column::parse(by).and_then(Column::metric);
        let metric =
            metric.ok_or_else(|| wrong("by", &format_args!("{by:?} is no metric here")))?;
        let query = Query::top(tenant, now, window, metric, k);
        Ok(Asked { query, columns: Column::USUAL.to_vec() })
    }
}

fn first_repeated(dimensions: &[Dimension]) -> Option<Dimension> {
    let repeated = |&(at, dimension): &(usize, &Dimension)| dimensions[..at].contains(dimension);
    dimensions.iter().enumerate().find(repeated).map(|(_, &dimension)| dimension)
}

/// `granularity`, or a sliding `window` with its `step`.
fn granularity(parameters: &Parameters<'_>) -> Result<Granularity, Problem> {
    let window = duration(parameters, "window")?;
    let step = duration(parameters, "step")?;
    match (parameters.text("granularity"), window, step) {
        (Some(_), Some(_), _) => Err(wrong("granularity", &"does not go with window; give one")),
        (_, None, Some(_)) => Err(wrong("step", &"goes with window only")),
        (None, Some(window), step) => {
            Ok(Granularity::Sliding { window, step: step.unwrap_or(window.min(60)) })
        }
        (None, None, None) => Ok(Granularity::Total),
        (Some(text), None, None) => Ok(match text {
            "1s" => Granularity::Second,
            "1m" => Granularity::Minute,
            "5m" => Granularity::FiveMinutes,
            "1h" => Granularity::Hour,
            "1d" => Granularity::Day,
            "total" => Granularity::Total,
            _ => {
                let problem = format_args!("{text:?} is none of 1s, 1m, 5m, 1h, 1d, total");
                return Err(wrong("granularity", &problem));
            }
        }),
    }
}

/// A whole number of seconds, minutes, hours or days such as `5m`, in seconds.
fn duration(parameters: &Parameters<'_>, name: &str) -> Result<Option<u32>, Problem> {
    let Some(text) = parameters.text(name) else { return Ok(None) };
    let malformed = || wrong(name, &format_args!("{text:?} is not a duration such as 30s, 5m, 1h"));
    let unit = match text.bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        Some(b'd') => 86_400,
        _ => return Err(malformed()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| malformed())?;
    count.checked_mul(unit).map(Some).ok_or_else(malformed)
}

/// `from..to`; without them the last hour, or the last five minutes by second.
fn span(
    parameters: &Parameters<'_>,
    granularity: Granularity,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Problem> {
    let by_second = granularity.rounding() % 60 != 0;
    let usual = if by_second { 5 * Timestamp::MINUTE } else { Timestamp::HOUR };
    let to = time(parameters, "to")?.unwrap_or(now);
    let from = time(parameters, "from")?.unwrap_or_else(|| to.plus(-usual).max(Timestamp::MIN));
    if from >= to {
        return Err(Problem::unprocessable("to: give a time later than from"));
    }
    let kept_from = now.plus(-SECONDS_KEPT).floor(Timestamp::SECOND);
    if by_second && from < kept_from {
        return Err(Problem::unprocessable(format!(
            "from: seconds are kept for an hour: ask from {kept_from} on, or by whole minutes"
        )));
    }
    Ok((from, to))
}

fn time(parameters: &Parameters<'_>, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = parameters.text(name) else { return Ok(None) };
    // A plus sign of an offset that was not escaped has arrived as a space.
    let time = Timestamp::parse(&text.replace(' ', "+"));
    time.map(Some).map_err(|error| wrong(name, &error))
}

fn filter(parameters: &Parameters<'_>) -> Result<Filter, Problem> {
    let registered = |name: &str| -> Result<Option<u64>, Problem> {
        let text = parameters.name(name)?;
        Ok(text.map(|text| if text == UNKNOWN { 0 } else { name_key(text) }))
    };
    // The empty text asks for what has none.
    let free = |name: &str| -> Result<Option<u64>, Problem> {
        match parameters.text(name) {
            Some("") => Ok(Some(0)),
            _ => Ok(parameters.name(name)?.map(name_key)),
        }
    };
    Ok(Filter {
        ad: registered("ad_id")?,
        campaign: registered("campaign_id")?,
        region: free("region")?,
        device: free("device")?,
        placement: free("placement")?,
        position: parameters.parse("position", "a whole number of 0 to 65535")?,
    })
}

/// `clicks`, `-clicks`, `clicks:desc`, `clicks:asc`.
fn order(text: &str) -> Result<OrderBy, Problem> {
    let (name, direction) = match text.split_once(':') {
        Some((name, "asc")) => (name, Direction::Ascending),
        Some((name, "desc")) => (name, Direction::Descending),
        Some(_) => return Err(wrong("order_by", &"write NAME:asc or NAME:desc")),
        None => match text.strip_prefix('-') {
            Some(name) => (name, Direction::Descending),
            None => (text, Direction::Ascending),
        },
    };
    let by = match name {
        "bucket" => Some(Order::Bucket),
        _ => dimension_of(name)
            .map(Order::Dimension)
            .or_else(|| Column::parse(name).and_then(Column::metric).map(Order::Metric)),
    };
    let by = by.ok_or_else(|| {
        wrong("order_by", &format_args!("{name:?} is no bucket, dimension or metric to order by"))
    })?;
    Ok(OrderBy { by, direction })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reckon_rollup::Metric;

    const NOW: Timestamp = Timestamp(1_795_255_200_000_000);

    fn ask(text: &str) -> Result<Asked, Problem> {
        Asked::metrics(Some(text), TenantId::DEFAULT, NOW)
    }

    #[track_caller]
    fn refused(text: &str, status: u16, name: &str) {
        let problem = ask(text).expect_err(text);
        assert_eq!(problem.status, status, "{}", problem.detail);
        let named = problem.detail.starts_with(&format!("{name}: "));
        assert!(named, "{text}: {}", problem.detail);
    }

    #[test]
    fn the_last_hour_in_total_is_asked_for_by_default() {
        let asked = ask("").expect("all has a default");
        assert_eq!((asked.query.from, asked.query.to), (NOW.plus(-Timestamp::HOUR), NOW));
        assert_eq!(asked.query.granularity, Granularity::Total);
        assert_eq!(asked.columns, Column::USUAL);
    }

    #[test]
    fn windows_slide_by_a_minute_or_their_width() {
        let granularity = |text| ask(text).expect("good").query.granularity;
        assert_eq!(granularity("window=5m"), Granularity::Sliding { window: 300, step: 60 });
        assert_eq!(granularity("window=30s"), Granularity::Sliding { window: 30, step: 30 });
        assert_eq!(
            granularity("window=1h&step=5m"),
            Granularity::Sliding { window: 3_600, step: 300 }
        );
    }

    #[test]
    fn orders_are_read_in_every_spelling() {
        let by = Order::Metric(Metric::Clicks);
        for (text, direction) in [
            ("clicks", Direction::Ascending),
            ("-clicks", Direction::Descending),
            ("clicks:desc", Direction::Descending),
            ("clicks:asc", Direction::Ascending),
        ] {
            let order_by = ask(&format!("order_by={text}")).expect(text).query.order_by;
            assert_eq!(order_by, Some(OrderBy { by, direction }), "{text}");
        }
    }

    #[test]
    fn absent_texts_and_unknown_ads_can_be_asked_for() {
        let filter = ask("ad_id=(unknown)&region=&device=mobile").expect("good").query.filter;
        assert_eq!((filter.ad, filter.region), (Some(0), Some(0)));
        assert_eq!(filter.device, Some(name_key("mobile")));
        assert_eq!(filter.campaign, None);
    }

    #[test]
    fn an_offset_may_come_unescaped() {
        let asked = ask("from=2026-11-21T11:00:00%2B02:00&to=2026-11-21T12:00:00+02:00");
        let query = asked.expect("offsets are taken").query;
        assert_eq!((query.from, query.to), (NOW.plus(-Timestamp::HOUR), NOW));
    }

    #[test]
    fn malformed_values_are_named() {
        refused("from=yesterday", 400, "from");
        refused("to=2300-01-01T00:00:00Z", 400, "to");
        refused("granularity=2m", 400, "granularity");
        refused("granularity=1m&window=5m", 400, "granularity");
        refused("step=1m", 400, "step");
        refused("window=5", 400, "window");
        refused("window=m", 400, "window");
        refused("window=5\u{20ac}", 400, "window");
        refused("window=99999999d", 400, "window");
        refused("group_by=ad_id,weather", 400, "group_by");
        refused("group_by=ad_id,ad_id", 400, "group_by");
        refused("metrics=clicks,likes", 400, "metrics");
        refused("order_by=viewable_ctr", 400, "order_by");
        refused("order_by=clicks:up", 400, "order_by");
        refused("limit=ten", 400, "limit");
        refused("position=-1", 400, "position");
        refused("ad_id=", 400, "ad_id");
        refused("colour=red", 400, "colour");
    }

    #[test]
    fn what_cannot_be_answered_is_told_apart_from_what_is_malformed() {
        refused("from=2026-11-21T10:00:00Z&to=2026-11-21T10:00:00Z", 422, "to");
        refused("granularity=1s&from=2026-11-21T08:59:59Z", 422, "from");
        refused("window=30s&step=1s&from=2026-11-20T10:00:00Z", 422, "from");
        assert!(ask("granularity=1s&from=2026-11-21T09:00:00Z").is_ok());
    }

    #[test]
    fn the_top_is_of_whole_minutes() {
        let top = |text| Asked::top(Some(text), TenantId::DEFAULT, NOW);
        let query = top("").expect("all has a default").query;
        assert_eq!((query.to.since(query.from), query.limit), (5 * Timestamp::MINUTE, Some(100)));
        for (text, status) in
            [("window=90s", 422), ("k=0", 422), ("k=1001", 422), ("k=x", 400), ("by=luck", 400)]
        {
            assert_eq!(top(text).expect_err(text).status, status, "{text}");
        }
    }
}
