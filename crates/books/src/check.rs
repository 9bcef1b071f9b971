//! What the books take: every bound on a value from outside, with a message that names the field and
//! what would be taken.

use reckon_event::{Currency, Micros, Timestamp, valid_name};

use crate::books::Page;
use crate::catalog::{Ad, Advertiser, Campaign};
use crate::error::Error;
use crate::key::{ApiKey, KeyKind, Scopes, Tenant};
use crate::ledger::{
    BillingProfile, ENTRY_KEY_BYTES_MAX, Entry, EntryKind, FIGURES_MAX, FrozenFigure,
    LEDGER_ROWS_MAX, Slice,
};
use crate::person::{INTERESTS_MAX, Person};
use crate::replay::{RESPONSE_BYTES_MAX, StoredResponse};

/// The most items of one creation.
pub const BATCH_ITEMS_MAX: usize = 10_000;

/// The most items of one page.
pub const PAGE_ITEMS_MAX: u32 = 1_000;

/// The longest destination, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;

/// The longest name or label for people, in bytes.
pub const LABEL_BYTES_MAX: usize = 256;

/// The longest targeting, in bytes of compact JSON.
pub const TARGETING_BYTES_MAX: usize = 65_536;

/// The most terms of one campaign: a change every 80 minutes for ten years.
pub const TERMS_MAX: u32 = 65_536;

/// The highest price of a click: a million units of a currency. Sums of charges stay far from the
/// end of an i64 for as long as a click costs no more.
const CPC_MICROS_MAX: Micros = 1_000_000_000_000;

/// The longest name of a query parameter, in bytes.
const PARAMETER_BYTES_MAX: usize = 64;

type Checked = Result<(), Error>;

pub(crate) fn advertiser(advertiser: &Advertiser) -> Checked {
    id("advertiser_id", &advertiser.advertiser_id)?;
    label("name", &advertiser.name)?;
    if advertiser.currency == Currency::NONE {
        return Err(Error::invalid("currency", "must be the code of a currency such as EUR"));
    }
    time("created_at", advertiser.created_at)
}

pub(crate) fn campaign(campaign: &Campaign) -> Checked {
    id("campaign_id", &campaign.campaign_id)?;
    id("advertiser_id", &campaign.advertiser_id)?;
    label("name", &campaign.name)?;
    if !(0..=CPC_MICROS_MAX).contains(&campaign.cpc_micros) {
        return Err(Error::invalid("cpc_micros", "must be 0 to 1000000000000"));
    }
    if campaign.daily_budget_micros.is_some_and(|budget| budget < 0) {
        return Err(Error::invalid("daily_budget_micros", "must be at least 0"));
    }
    time("created_at", campaign.created_at)
}

pub(crate) fn ad(ad: &Ad) -> Checked {
    id("ad_id", &ad.ad_id)?;
    id("campaign_id", &ad.campaign_id)?;
    destination_url(&ad.destination_url)?;
    optional_label("category", ad.category.as_deref())?;
    optional_label("creative_size", ad.creative_size.as_deref())?;
    if let Some(name) = &ad.append_click_id {
        parameter("append_click_id", name)?;
    }
    optional_label("locale", ad.locale.as_deref())?;
    if ad.quality_micros.is_some_and(|micros| !(0..=1_000_000).contains(&micros)) {
        return Err(Error::invalid("quality", "must be 0 to 1"));
    }
    time("created_at", ad.created_at)
}

pub(crate) fn tenant(tenant: &Tenant) -> Checked {
    if tenant.tenant.0 == 0 {
        return Err(Error::invalid("tenant", "must be at least 1"));
    }
    label("name", &tenant.name)?;
    time("created_at", tenant.created_at)
}

pub(crate) fn key(key: &ApiKey) -> Checked {
    id("key_id", &key.key_id)?;
    label("name", &key.name)?;
    match key.kind {
        KeyKind::Write if key.scopes != Scopes::NONE => {
            return Err(Error::invalid("scopes", "must be empty for a write key: it is public"));
        }
        KeyKind::Secret if key.scopes == Scopes::NONE => {
            return Err(Error::invalid("scopes", "must name at least one scope"));
        }
        KeyKind::Write | KeyKind::Secret => {}
    }
    if key.requests_per_second == Some(0) {
        return Err(Error::invalid("requests_per_second", "must be at least 1, or absent"));
    }
    if key.revoked_at.is_some() {
        return Err(Error::invalid("revoked_at", "must be absent: revoke the key after making it"));
    }
    time("created_at", key.created_at)
}

pub(crate) fn person(person: &Person) -> Checked {
    if !person.person.is_some() {
        return Err(Error::invalid("user_id", "must name a person"));
    }
    optional_label("locale", person.locale.as_deref())?;
    if person.interests.len() > INTERESTS_MAX {
        return Err(Error::invalid("interests", "must be at most 64"));
    }
    for (at, interest) in person.interests.iter().enumerate() {
        label("interests", interest)?;
        if person.interests[..at].contains(interest) {
            return Err(Error::invalid("interests", "must be named once each"));
        }
    }
    time("updated_at", person.updated_at)
}

pub(crate) fn response(response: &StoredResponse) -> Checked {
    if response.body.len() > RESPONSE_BYTES_MAX {
        return Err(Error::invalid("body", "must be at most 1048576 bytes to be kept"));
    }
    Ok(())
}

pub(crate) fn entries(entries: &[Entry]) -> Checked {
    if entries.len() > LEDGER_ROWS_MAX {
        return Err(Error::invalid("entries", "must be at most 10000 at once"));
    }
    entries.iter().try_for_each(entry)
}

fn entry(entry: &Entry) -> Checked {
    entry_key("key", &entry.key)?;
    hour(entry.hour)?;
    if entry.amount < 0 {
        return Err(Error::invalid("amount", "must be at least 0: swap debit and credit"));
    }
    if entry.debit == entry.credit {
        return Err(Error::invalid("credit", "must be another account than debit"));
    }
    let is_adjustment = entry.kind == EntryKind::Adjustment;
    if entry.clicks < 0 && !is_adjustment {
        return Err(Error::invalid("clicks", "must be at least 0 but in an adjustment"));
    }
    if entry.reason.is_some() != is_adjustment || entry.corrects.is_some() != is_adjustment {
        let problem = "must be given, with what it corrects, for adjustments and for them only";
        return Err(Error::invalid("reason", problem));
    }
    entry.corrects.as_deref().map_or(Ok(()), |corrects| entry_key("corrects", corrects))?;
    cut(entry.cut)?;
    time("created_at", entry.created_at)
}

pub(crate) fn figures(figures: &[FrozenFigure]) -> Checked {
    if figures.len() > FIGURES_MAX {
        return Err(Error::invalid("figures", "must be at most 1000000 a day"));
    }
    figures.iter().try_for_each(figure)
}

fn figure(figure: &FrozenFigure) -> Checked {
    entry_key("key", &figure.key)?;
    hour(figure.hour)?;
    let counts = [figure.clicks, figure.duplicates, figure.invalid, figure.spend];
    if counts.iter().any(|&count| count < 0) || figure.daily_budget.is_some_and(|b| b < 0) {
        return Err(Error::invalid("figures", "must not be negative"));
    }
    Ok(())
}

pub(crate) fn cut(cut: u64) -> Checked {
    if i64::try_from(cut).is_err() {
        return Err(Error::invalid("cut", "must be the number of an epoch"));
    }
    Ok(())
}

pub(crate) fn slice(slice: &Slice) -> Checked {
    if slice.advertiser_id.is_some() && slice.tenant.is_none() {
        return Err(Error::invalid("advertiser_id", "must come with its tenant"));
    }
    Ok(())
}

/// IANA names are a few words of letters; whether there is such a zone the caller has found out.
pub(crate) fn profile(profile: &BillingProfile) -> Checked {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte);
    let zone = &profile.time_zone;
    if zone.is_empty() || zone.len() > 64 || !zone.bytes().all(plain) {
        return Err(Error::invalid("time_zone", "must be an IANA name such as Europe/Berlin"));
    }
    Ok(())
}

fn entry_key(field: &'static str, key: &str) -> Checked {
    if key.is_empty()
        || key.len() > ENTRY_KEY_BYTES_MAX
        || !key.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(Error::invalid(field, "must be 1 to 256 printable ASCII characters"));
    }
    Ok(())
}

fn hour(hour: Timestamp) -> Checked {
    time("hour", hour)?;
    if hour != hour.floor(Timestamp::HOUR) {
        return Err(Error::invalid("hour", "must be the start of a UTC hour"));
    }
    Ok(())
}

pub(crate) fn batch(items: usize) -> Checked {
    if items > BATCH_ITEMS_MAX {
        return Err(Error::invalid("items", "must be at most 10000 at once"));
    }
    Ok(())
}

pub(crate) fn page(page: &Page) -> Checked {
    if !(1..=PAGE_ITEMS_MAX).contains(&page.limit) {
        return Err(Error::invalid("limit", "must be 1 to 1000"));
    }
    Ok(())
}

pub(crate) fn id(field: &'static str, text: &str) -> Checked {
    valid_name(text).map(|_| ()).map_err(|error| Error::invalid(field, &error.to_string()))
}

pub(crate) fn time(field: &'static str, time: Timestamp) -> Checked {
    if (Timestamp::MIN..Timestamp::MAX).contains(&time) {
        return Ok(());
    }
    Err(Error::invalid(field, "must lie in the years 1970 to 2200"))
}

fn label(field: &'static str, text: &str) -> Checked {
    if text.is_empty() || text.len() > LABEL_BYTES_MAX {
        return Err(Error::invalid(field, "must be 1 to 256 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not hold control characters"));
    }
    Ok(())
}

fn optional_label(field: &'static str, text: Option<&str>) -> Checked {
    text.map_or(Ok(()), |text| label(field, text))
}

fn parameter(field: &'static str, name: &str) -> Checked {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.~".contains(&byte);
    if name.is_empty() || name.len() > PARAMETER_BYTES_MAX || !name.bytes().all(plain) {
        return Err(Error::invalid(field, "must be 1 to 64 letters, digits or any of _ - . ~"));
    }
    Ok(())
}

/// The last guard of what stands in a `Location` header: no byte that could end the header or make a
/// browser read another host. Whether the whole is a well-formed URL the server has found out.
fn destination_url(url: &str) -> Checked {
    const FIELD: &str = "destination_url";
    if url.len() > URL_BYTES_MAX {
        return Err(Error::invalid(FIELD, "must be at most 2048 bytes"));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        let problem = "must be ASCII without spaces and backslashes: percent-encode all else";
        return Err(Error::invalid(FIELD, problem));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Error::invalid(FIELD, "must be absolute: https://host/path"));
    };
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err(Error::invalid(FIELD, "must begin with http:// or https://"));
    }
    let host_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    if host_end == 0 || rest.starts_with(':') {
        return Err(Error::invalid(FIELD, "must name a host: https://host/path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_url(url: &str, taken: bool) {
        assert_eq!(destination_url(url).is_ok(), taken, "{url}");
    }

    #[test]
    fn only_absolute_web_addresses_are_destinations() {
        check_url("https://shop.example", true);
        check_url("http://shop.example/a?b=c#d", true);
        check_url("HTTPS://shop.example/", true);
        check_url("https://shop.example:8443/%C3%A4", true);
        check_url("shop.example/a", false);
        check_url("//shop.example/a", false);
        check_url("javascript://shop.example/%0aalert(1)", false);
        check_url("ftp://shop.example/", false);
        check_url("https://", false);
        check_url("https:///path", false);
        check_url("https://:80/", false);
        check_url("https://shop.example/a b", false);
        check_url("https://shop.example/\r\nSet-Cookie: a=b", false);
        check_url("https:\\\\shop.example", false);
        check_url("https://shop.example/\u{e4}", false);
        check_url("", false);
    }

    #[test]
    fn the_longest_destination_is_taken_and_one_byte_more_is_not() {
        let head = "https://shop.example/";
        let fitting = format!("{head}{}", "x".repeat(URL_BYTES_MAX - head.len()));
        check_url(&fitting, true);
        check_url(&format!("{fitting}x"), false);
    }

    #[test]
    fn parameters_need_no_encoding() {
        for (name, taken) in [("click_id", true), ("a.b-c~", true), ("", false), ("a=b", false)] {
            assert_eq!(parameter("append_click_id", name).is_ok(), taken, "{name}");
        }
    }

    #[test]
    fn messages_name_the_field_and_the_fix() {
        let error = destination_url("ftp://a").expect_err("not the web");
        assert_eq!(error.to_string(), "destination_url must begin with http:// or https://");
        let error = id("ad_id", "").expect_err("empty");
        assert_eq!(error.to_string(), "ad_id must not be empty");
    }
}
