//! What can be done with an ad that is shown, and what it must become.

use reckon_event::{Kind, Reason, Verdict};

/// An agent that declares itself.
pub const ROBOT: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// The ad is shown.
    Impression,
    /// It is seen.
    View,
    /// A click; more than once where a phone sends it again.
    Click,
    /// A link checker asks with HEAD.
    Scan,
    /// A browser fetches ahead.
    Prefetch,
    /// A click with an edited token.
    Forge,
    /// A click without a token.
    Unsigned,
    /// A click on an ad that is not registered.
    Unknown,
}

/// What a token has been used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    impression: bool,
    view: bool,
    click: bool,
}

impl Act {
    /// The kind and the verdict of the record, by the rules of the edge and of counting.
    pub fn outcome(self, is_robot: bool, used: &mut Used) -> (Kind, Verdict) {
        let first = |bit: &mut bool| match std::mem::replace(bit, true) {
            false => Verdict::Counted,
            true => Verdict::Duplicate,
        };
        match self {
            Act::Unknown => (Kind::Click, Verdict::UnknownAd),
            Act::Unsigned => (Kind::Click, Verdict::Unsigned),
            Act::Forge => (Kind::Click, Verdict::Forged),
            Act::Scan => (Kind::Click, Verdict::Invalid(Reason::NotGet)),
            Act::Prefetch => (Kind::Click, Verdict::Invalid(Reason::Prefetch)),
            // A robot leaves the token for the person it was minted for.
            _ if is_robot => (self.kind(), Verdict::Invalid(Reason::DeclaredRobot)),
            Act::Impression => (Kind::Impression, first(&mut used.impression)),
            Act::View => (Kind::View, first(&mut used.view)),
            Act::Click => (Kind::Click, first(&mut used.click)),
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Act::Impression => Kind::Impression,
            Act::View => Kind::View,
            _ => Kind::Click,
        }
    }
}

/// The URL with a token that no longer opens: one character in its middle is another one.
pub fn forge(url: &str) -> String {
    let Some(at) = url.find("imp=").map(|at| at + 4) else { return url.to_owned() };
    let token_bytes = url[at..].find('&').unwrap_or(url.len() - at);
    let middle = at + token_bytes / 2;
    let other = if url[middle..].starts_with('A') { "B" } else { "A" };
    format!("{}{other}{}", &url[..middle], &url[middle + 1..])
}

/// Path and query of a URL.
pub fn path_of(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    url[after_scheme..].find('/').map_or("/", |at| &url[after_scheme + at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_and_robots_leave_the_token_to_the_person() {
        let mut used = Used::default();
        let mut verdicts = |act: Act, robot| act.outcome(robot, &mut used).1;
        assert_eq!(verdicts(Act::Scan, false), Verdict::Invalid(Reason::NotGet));
        assert_eq!(verdicts(Act::Click, true), Verdict::Invalid(Reason::DeclaredRobot));
        assert_eq!(verdicts(Act::Prefetch, false), Verdict::Invalid(Reason::Prefetch));
        assert_eq!(verdicts(Act::Impression, false), Verdict::Counted);
        assert_eq!(verdicts(Act::Click, false), Verdict::Counted);
        assert_eq!(verdicts(Act::Click, false), Verdict::Duplicate);
        assert_eq!(verdicts(Act::Forge, false), Verdict::Forged);
    }

    #[test]
    fn a_forged_token_is_another_one_of_the_same_length() {
        for url in ["http://h/click?adId=a&imp=xxAxx&pl=p", "http://h/click?imp=xxBxx"] {
            let forged = forge(url);
            assert_eq!(forged.len(), url.len());
            let differing = forged.bytes().zip(url.bytes()).filter(|(a, b)| a != b).count();
            assert_eq!(differing, 1, "{forged}");
        }
        assert_eq!(path_of("http://h:80/click?imp=x"), "/click?imp=x");
        assert_eq!(path_of("/click?adId=x"), "/click?adId=x");
    }
}
