//! How the day goes: a few lines that renew themselves on a terminal, else a line every few seconds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use reckon_event::{Kind, Timestamp, Verdict};
use reckon_market::Bucket;

use crate::app::App;
use crate::command::simulate::Simulation;

/// How often lines renew themselves.
const RENEW_EVERY: Duration = Duration::from_millis(250);
/// Lines in all where they do not.
const LINES: u64 = 12;

/// Runs the day while showing how it goes.
pub async fn show(app: &Arc<App>, simulation: &Simulation, seconds: u64) -> Result<()> {
    let screen = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let lines = Lines::new(&screen, simulation.visits_expected());
    let every = match screen.is_hidden() {
        true => Duration::from_secs((seconds / LINES).max(1)),
        false => RENEW_EVERY,
    };
    let during = async {
        let mut renew = tokio::time::interval(every);
        renew.tick().await;
        loop {
            renew.tick().await;
            let figures = Figures::read(app, simulation);
            if screen.is_hidden() {
                eprintln!("{}", figures.line());
            } else {
                lines.show(&figures);
            }
        }
    };
    let begun = |visits| lines.bar.set_position(visits);
    let ended = tokio::select! {
        ended = simulation.run(&begun) => ended,
        () = during => Ok(()),
    };
    screen.clear()?;
    eprintln!("{}", Figures::read(app, simulation).line());
    ended
}

/// The lines of a terminal.
struct Lines {
    bar: ProgressBar,
    counts: ProgressBar,
    model: ProgressBar,
}

impl Lines {
    fn new(screen: &MultiProgress, visits: f64) -> Self {
        let add = |template: &str, length| {
            let bar = screen.add(ProgressBar::new(length));
            bar.set_style(ProgressStyle::with_template(template).expect("the template is good"));
            bar
        };
        Lines {
            bar: add("  {msg:>5} {bar:40.cyan/dim} {pos} visits", visits as u64),
            counts: add("  {msg}", 0),
            model: add("  {msg}", 0),
        }
    }

    fn show(&self, figures: &Figures) {
        self.bar.set_message(figures.clock());
        self.counts.set_message(figures.counts());
        self.model.set_message(figures.model());
    }
}

/// What is shown.
struct Figures {
    /// How long the market has been open, in microseconds.
    open_us: i64,
    visits: u64,
    impressions: u64,
    clicks_gross: u64,
    clicks_net: u64,
    /// What was shown lately.
    lately: Bucket,
}

impl Figures {
    fn read(app: &App, simulation: &Simulation) -> Self {
        let totals = app.progress.snapshot().totals.clone();
        let truth = simulation.traffic.truth.lock();
        let now = simulation.traffic.time.now();
        let curve = &simulation.traffic.curve;
        let open_us = now.since(curve.start).clamp(0, curve.span_us);
        let judgement = &truth.judgement;
        let part = usize::try_from(open_us / judgement.width_us).unwrap_or(0);
        let mut lately = Bucket::default();
        for at in [part.saturating_sub(1), part] {
            judgement.buckets.get(at).iter().for_each(|bucket| lately.merge(bucket));
        }
        Figures {
            open_us,
            visits: truth.visit_count,
            impressions: totals.get(Kind::Impression, Verdict::Counted),
            clicks_gross: Verdict::all().map(|verdict| totals.get(Kind::Click, verdict)).sum(),
            clicks_net: totals.get(Kind::Click, Verdict::Counted),
            lately,
        }
    }

    /// Hours and minutes of the market's day.
    fn clock(&self) -> String {
        let minutes = self.open_us / Timestamp::MINUTE;
        format!("{:02}:{:02}", minutes / 60, minutes % 60)
    }

    fn counts(&self) -> String {
        let ctr = 100.0 * self.clicks_net as f64 / self.impressions.max(1) as f64;
        format!(
            "{} impressions, {} clicks gross, {} net, CTR {ctr:.2} %",
            self.impressions, self.clicks_gross, self.clicks_net
        )
    }

    fn model(&self) -> String {
        let bucket = &self.lately;
        let losses = (bucket.model_log_loss(), bucket.constant_log_loss(), bucket.truth_log_loss());
        let (Some(model), Some(constant), Some(truth)) = losses else {
            return "no predictions yet".to_owned();
        };
        let percent = |sum: f64| 100.0 * sum / bucket.judged as f64;
        format!(
            "lately: CTR {:.2} % true, {:.2} % predicted; log loss {constant:.4} constant, \
             {model:.4} model, {truth:.4} truth",
            percent(bucket.judged_truth),
            percent(bucket.predicted)
        )
    }

    fn line(&self) -> String {
        let (clock, counts, model) = (self.clock(), self.counts(), self.model());
        format!("{clock}  {} visits, {counts}; {model}", self.visits)
    }
}
