//! Query parameters of the read endpoints: only known names, each at most once, errors name them.

use std::borrow::Cow;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;

use super::Problem;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Parameters<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Parameters<'a> {
    /// Reads a query string. A name that is not `known`, or comes twice, is a 400 that names it.
    pub fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let known = known.join(", ");
                return Err(Problem::malformed(format!(
                    "{name}: there is no such parameter; known are {known}"
                )));
            }
            if pairs.iter().any(|(before, _)| *before == name) {
                return Err(wrong(&name, &"is given twice"));
            }
            pairs.push((name, value));
        }
        Ok(Parameters { pairs })
    }

    /// The value of one parameter; an empty one is given, too.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// An id or label that people gave: 1 to 128 bytes without control characters.
    pub fn name(&self, name: &str) -> Result<Option<&str>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        reckon_event::valid_name(text).map(Some).map_err(|error| wrong(name, &error))
    }

    /// A value of some type; `expected` says what would be taken.
    pub fn parse<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| wrong(name, &format_args!("{text:?} is not {expected}")))
    }

    /// A comma-separated list of words, each of which `read` knows.
    pub fn list<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        words
            .map(|word| {
                read(word).ok_or_else(|| wrong(name, &format_args!("{word:?} is not known here")))
            })
            .collect::<Result<Vec<T>, Problem>>()
            .map(Some)
    }
}

/// A malformed value: 400, naming the parameter.
pub fn wrong(name: &str, problem: &dyn std::fmt::Display) -> Problem {
    Problem::malformed(format!("{name}: {problem}"))
}

/// The id at the end of a path.
#[derive(Debug)]
pub struct Id(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(error) => Err(Problem::malformed(format!("path: {error}"))),
        }
    }
}

/// A part of a list that is walked through by id.
#[derive(Debug)]
pub struct Paging {
    /// Ids above this one.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Paging {
    /// Items of a page where none are asked for.
    pub const LIMIT: u32 = 100;

    /// Reads `after` and `limit`.
    pub fn read(parameters: &Parameters<'_>) -> Result<Self, Problem> {
        let after = parameters.name("after")?.map(str::to_owned);
        let limit = parameters.parse("limit", "a whole number of 1 to 1000")?;
        let limit = limit.unwrap_or(Self::LIMIT);
        if !(1..=reckon_books::PAGE_ITEMS_MAX).contains(&limit) {
            return Err(wrong("limit", &format_args!("{limit} is not 1 to 1000")));
        }
        Ok(Paging { after, limit })
    }

    /// The page as the books take it.
    pub fn page(&self) -> reckon_books::Page {
        reckon_books::Page { after: self.after.clone(), limit: self.limit }
    }

    /// The page that tells whether anything follows `last`.
    pub fn probe(last: &str) -> reckon_books::Page {
        reckon_books::Page { after: Some(last.to_owned()), limit: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(query: &str, part: &str) {
        let read = Parameters::read(Some(query), &["a", "limit"]);
        let problem = read.and_then(|parameters| Paging::read(&parameters)).expect_err(query);
        assert!(problem.detail.contains(part), "{}", problem.detail);
        assert_eq!(problem.status, 400);
    }

    #[test]
    fn what_is_wrong_is_named() {
        refused("b=1", "b: there is no such parameter; known are a, limit");
        refused("a=1&a=2", "a: is given twice");
        refused("limit=x", "limit: \"x\" is not a whole number");
        refused("limit=1001", "limit: 1001 is not 1 to 1000");
        refused("limit=0", "limit: 0 is not");
    }

    #[test]
    fn lists_and_escapes_are_read() {
        let parameters =
            Parameters::read(Some("a=x%2Cy%20,z&limit="), &["a", "limit"]).expect("known");
        assert_eq!(parameters.text("a"), Some("x,y ,z"));
        let words = parameters.list("a", |word| Some(word.to_owned())).expect("all taken");
        assert_eq!(words, Some(vec!["x".to_owned(), "y".to_owned(), "z".to_owned()]));
        assert_eq!(parameters.text("limit"), Some(""));
        assert!(parameters.list("a", |word| (word != "z").then_some(())).is_err());
    }
}
