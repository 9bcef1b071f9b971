//! Every hour of figures is recounted once it is final, whether or not anybody asks.

use std::sync::Arc;
use std::time::Duration;

use reckon_event::Timestamp;

use super::{judged_before, reconcile};
use crate::app::App;

/// Between two looks at how far figures are final.
const LOOK: Duration = Duration::from_secs(10);
/// Hours that are recounted at once after a long sleep.
const HOURS_MAX: i64 = 24;

/// Recounts hour by hour until the application ends. What differs is mended or told, and stands in the
/// reports; a recount that cannot be made is tried again.
pub async fn run(app: Arc<App>) {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    looks.tick().await;
    let (mut recounted, mut refused) = (final_hour(&app), Timestamp::MIN);
    loop {
        looks.tick().await;
        let due = final_hour(&app);
        if due <= recounted {
            continue;
        }
        let from = recounted.max(due.plus(-HOURS_MAX * Timestamp::HOUR));
        match reconcile(&app, from, due).await {
            Ok(report) if !report.is_equal() => eprintln!("audit: {report}"),
            Ok(_) => {}
            Err(error) => {
                if refused < due {
                    eprintln!("audit: {from} to {due} could not be recounted yet: {error:#}");
                }
                refused = due;
                continue;
            }
        }
        recounted = due;
    }
}

/// The end of the last hour whose server part is final.
fn final_hour(app: &App) -> Timestamp {
    let lateness = app.config.time.server_lateness_s * Timestamp::SECOND;
    let counted = app.progress.snapshot();
    judged_before(&counted).plus(-lateness).floor(Timestamp::HOUR)
}
