//! Lines of columns, and errors that name the column.
//!
//! The logs read here quote nothing, so a line is cut where the separator stands.

use std::str::FromStr;

use reckon_event::Timestamp;

/// The names of a log's columns, in order, and what stands between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    names: Vec<String>,
    separator: char,
}

impl Columns {
    /// Those that the format has, where its files do not name them.
    pub fn new(names: impl IntoIterator<Item = String>, separator: char) -> Self {
        Columns { names: names.into_iter().collect(), separator }
    }

    /// Those that a heading names.
    pub fn of_heading(line: &str, separator: char) -> Self {
        Columns::new(line.split(separator).map(|name| name.trim().to_owned()), separator)
    }

    /// Where the column with this name stands.
    pub fn place(&self, name: &str) -> Result<usize, String> {
        let place = self.names.iter().position(|known| known == name);
        place.ok_or_else(|| format!("{name}: the heading has no such column"))
    }

    /// The name of the column at a place.
    pub fn name(&self, place: usize) -> &str {
        &self.names[place]
    }

    /// Cuts a line into as many texts as there are columns.
    pub fn split<'a>(&self, line: &'a str) -> Result<Vec<&'a str>, String> {
        let texts: Vec<&str> = line.split(self.separator).collect();
        match self.names.get(texts.len()) {
            Some(missing) => Err(format!("{missing}: the column is missing")),
            None if texts.len() > self.names.len() => {
                Err(format!("there are more than {} columns", self.names.len()))
            }
            None => Ok(texts),
        }
    }
}

/// A number of any kind.
pub fn number<T: FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name}: {text:?} is not a number of its kind"))
}

/// 1 or 0.
pub fn flag(name: &str, text: &str) -> Result<bool, String> {
    match text {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(format!("{name}: {text:?} is neither 0 nor 1")),
    }
}

/// A time; where it has no zone it is taken as UTC. A space may stand for the `T` of RFC 3339.
pub fn time(name: &str, text: &str) -> Result<Timestamp, String> {
    let with_mark = text.replacen(' ', "T", 1);
    let clock = with_mark.split_once('T').map_or("", |(_, clock)| clock);
    let has_zone = clock.contains(['Z', 'z', '+', '-']);
    let rfc3339 = if has_zone { with_mark } else { format!("{with_mark}Z") };
    Timestamp::parse(&rfc3339).map_err(|error| format!("{name}: {text:?} is {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let columns = Columns::of_heading(",time, click\r", ',');
        assert_eq!((columns.place("click"), columns.name(1)), (Ok(2), "time"));
        assert!(columns.place("item").expect_err("missing").starts_with("item: the heading"));
        assert_eq!(columns.split("0,,1"), Ok(vec!["0", "", "1"]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let columns = Columns::new(["label", "I1"].map(str::to_owned), '\t');
        assert_eq!(columns.split("1"), Err("I1: the column is missing".to_owned()));
        assert_eq!(columns.split("1\t2\t3"), Err("there are more than 2 columns".to_owned()));
        assert_eq!(
            number::<u16>("position", "-1"),
            Err("position: \"-1\" is not a number of its kind".to_owned())
        );
        assert_eq!(flag("click", "2"), Err("click: \"2\" is neither 0 nor 1".to_owned()));
        assert!(time("at", "yesterday").expect_err("refused").starts_with("at: \"yesterday\""));
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(time("at", text).map(|time| time.to_string()), Ok(expect.to_owned()));
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        check("2019-11-24 00:01:03.979311+00:00", "2019-11-24T00:01:03.979311Z");
        check("2019-11-24 09:01:03+09:00", "2019-11-24T00:01:03Z");
        check("2019-11-24 00:01:03", "2019-11-24T00:01:03Z");
        check("2019-11-24T00:01:03Z", "2019-11-24T00:01:03Z");
    }
}
