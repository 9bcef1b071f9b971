//! What became of a replay, in words and as a table.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use super::judged::Predictions;
use super::read::{Refusals, Summary};
use super::send::Sent;
use crate::command::client::figures::{Caught, Span};

/// The outcome of a replay.
#[derive(Clone, Debug)]
pub struct Report {
    /// Rows of the files, without headings.
    pub rows: u64,
    /// Rows that could not be read.
    pub unreadable: Refusals,
    /// Events that are durable.
    pub accepted: u64,
    /// Events that the server did not take.
    pub rejected: Refusals,
    /// Clicks among the accepted events.
    pub clicks: i64,
    /// Impressions among the accepted events that must count, where that is known.
    pub impressions: i64,
    /// What was predicted, where rows are predictions.
    pub predictions: Option<Predictions>,
    /// From the first to the last event.
    pub span: Option<Span>,
    /// From the first row to the last answer.
    pub elapsed: Duration,
    /// What was added to the counts meanwhile.
    pub caught: Caught,
}

impl Report {
    /// The outcome of what was read and sent.
    pub fn new(read: Summary, sent: Sent, elapsed: Duration, caught: Caught) -> Self {
        Report {
            rows: read.rows,
            unreadable: read.refusals,
            accepted: sent.accepted,
            rejected: sent.rejected,
            clicks: sent.clicks,
            impressions: sent.impressions,
            predictions: None,
            span: read.span,
            elapsed,
            caught,
        }
    }

    /// True where something was sent, and all of it is counted.
    pub fn is_good(&self) -> bool {
        self.accepted > 0 && self.caught.complete
    }

    /// Events acknowledged a second.
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Figures to `out`, reasons and warnings to `notes`.
    pub fn print(
        &self,
        files: &[PathBuf],
        out: &mut dyn Write,
        notes: &mut dyn Write,
    ) -> io::Result<()> {
        for (what, refusals) in [("not read", &self.unreadable), ("rejected", &self.rejected)] {
            for (reason, (count, place)) in &refusals.by_reason {
                let file = files
                    .get(place.file)
                    .map_or_else(String::new, |path| path.display().to_string());
                writeln!(notes, "{what}: {count} x {reason} (first at {file}:{})", place.line)?;
            }
        }
        if let Some(span) = self.span.filter(|span| *span != Span::EVER) {
            // The span ends with the first instant after the last event.
            writeln!(notes, "event times from {} to {}", span.from, span.to.plus(-1))?;
        }
        self.print_figures(out)?;
        let unlearned = self.predictions.as_ref().map_or(0, |predictions| predictions.unlearned);
        if unlearned > 0 {
            writeln!(
                notes,
                "{unlearned} times the model had not learned in time what it was told"
            )?;
        }
        if self.accepted == 0 {
            writeln!(notes, "nothing was accepted")?;
        }
        if !self.caught.complete {
            let counted = self.caught.added.clicks_gross();
            writeln!(notes, "only {counted} of {} clicks are counted so far", self.clicks)?;
            if self.impressions > 0 {
                let (counted, all) = (self.caught.added.impressions, self.impressions);
                writeln!(notes, "only {counted} of {all} impressions are counted so far")?;
            }
        }
        Ok(())
    }

    fn print_figures(&self, out: &mut dyn Write) -> io::Result<()> {
        let seconds = self.elapsed.as_secs_f64();
        writeln!(out, "{:<22}{:>12}", "rows", self.rows)?;
        writeln!(out, "{:<22}{:>12}", "not read", self.unreadable.count)?;
        writeln!(out, "{:<22}{:>12}", "accepted", self.accepted)?;
        writeln!(out, "{:<22}{:>12}", "rejected", self.rejected.count)?;
        writeln!(out, "{:<22}{seconds:>12.2}", "seconds")?;
        writeln!(out, "{:<22}{:>12.0}", "events a second", self.rate())?;
        if self.predictions.is_some() {
            let rows_per_second = self.rows as f64 / seconds.max(1e-9);
            writeln!(out, "{:<22}{rows_per_second:>12.0}", "rows a second")?;
        }
        writeln!(
            out,
            "{:<22}{:>12.2}",
            "counted after, seconds",
            self.caught.waited.as_secs_f64()
        )?;
        let added = &self.caught.added;
        for (verdict, count) in &added.clicks {
            writeln!(out, "{:<22}{count:>12}", format!("clicks {verdict}"))?;
        }
        for (name, count) in
            [("impressions counted", added.impressions), ("views counted", added.views)]
        {
            if count != 0 {
                writeln!(out, "{name:<22}{count:>12}")?;
            }
        }
        writeln!(out, "{:<22}{:>12}", "spend, micros", added.spend_micros)?;
        self.predictions.iter().try_for_each(|predictions| predictions.print(out))
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Place;
    use super::*;
    use crate::command::client::figures::Figures;

    #[test]
    fn figures_go_out_and_reasons_go_to_the_notes() {
        let mut rejected = Refusals::default();
        rejected.note(Place { file: 0, line: 9 }, "ad_id: missing".to_owned());
        rejected.note(Place { file: 0, line: 7 }, "ad_id: missing".to_owned());
        let added = Figures { clicks: [("counted".to_owned(), 5)].into(), ..Figures::default() };
        let report = Report {
            rows: 10,
            unreadable: Refusals::default(),
            accepted: 8,
            rejected,
            clicks: 8,
            impressions: 9,
            predictions: Some(Predictions::default()),
            span: None,
            elapsed: Duration::from_secs(2),
            caught: Caught { added, complete: false, waited: Duration::ZERO },
        };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        report.print(&["log.csv".into()], &mut out, &mut notes).expect("memory takes all");
        let (out, notes) =
            (String::from_utf8(out).expect("text"), String::from_utf8(notes).expect("text"));
        assert!(out.contains("events a second") && out.contains("clicks counted"), "{out}");
        assert!(notes.contains("2 x ad_id: missing (first at log.csv:7)"), "{notes}");
        assert!(notes.contains("only 5 of 8") && !report.is_good(), "{notes}");
        assert!(notes.contains("only 0 of 9 impressions"), "{notes}");
        assert!(out.contains("rows a second") && out.contains("AUC"), "{out}");
    }
}
