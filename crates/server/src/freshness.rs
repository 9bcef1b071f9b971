//! Tells predictions how far counting is: a mark is set at the log's end, and what was acknowledged before
//! it is in the features once counting has come to it.

use reckon_event::Timestamp;

use crate::app::App;
use crate::beat;

/// Watches counting, one mark after the other.
#[derive(Debug, Default)]
pub struct Watch {
    /// When the log ended there.
    mark: Option<(Timestamp, Vec<u64>)>,
}

impl Watch {
    /// Looks how far counting has come, and sets the next mark.
    pub fn look(&mut self, app: &App) {
        self.pass(app);
        if self.mark.is_none() {
            // The time first: what comes between is behind the mark, and no part of what it says.
            let now = app.edge.clock.now();
            self.mark = Some((now, beat::ends(app.log())));
            self.pass(app);
        }
    }

    fn pass(&mut self, app: &App) {
        let position = &app.progress.snapshot().position;
        let is_passed = |ends: &[u64]| {
            let at = |partition: usize| position.get(partition).copied().unwrap_or(0);
            ends.iter().enumerate().all(|(partition, &end)| at(partition) >= end)
        };
        if let Some((at, _)) = self.mark.take_if(|(_, ends)| is_passed(ends)) {
            app.edge.scorer.predictor.freshness().tell(at);
        }
    }
}
