//! Waiting until the model has learned what it was told.
//!
//! Figures are progressive ones only if a prediction knows of the rows before it. Outcomes are
//! counted and learned some tenths of a second after they are durable, and later where the machine
//! is busy, so a replay does not go on before the model that answers knows of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::client::Client;

/// Pause between two questions.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// A model that has not learned by then is not waited for: its rows may have been dropped under load.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much the model that answers has learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trained {
    /// Impressions.
    pub rows: u64,
    /// Clicks of them.
    pub clicks: u64,
}

impl Trained {
    async fn ask(client: &mut Client) -> Result<Self> {
        Self::read(&client.get("/api/models/active").await?)
    }

    fn read(answer: &Value) -> Result<Self> {
        let number = |name: &str| {
            let number = answer["active"][name].as_u64();
            number.with_context(|| format!("/api/models/active: active.{name} is no number"))
        };
        Ok(Trained { rows: number("trained_rows")?, clicks: number("trained_clicks")? })
    }

    const fn covers(self, other: Trained) -> bool {
        self.rows >= other.rows && self.clicks >= other.clicks
    }

    const fn plus(self, other: Trained) -> Self {
        Trained { rows: self.rows + other.rows, clicks: self.clicks + other.clicks }
    }
}

/// What the model has to know before the replay goes on.
pub struct Learning {
    client: Client,
    due: Trained,
    /// How often it did not within the time.
    pub given_up: u64,
}

impl Learning {
    /// Begins with what is known already.
    pub async fn begin(mut client: Client) -> Result<Self> {
        let due = Trained::ask(&mut client).await?;
        Ok(Learning { client, due, given_up: 0 })
    }

    /// Waits until so much more is learned. What others send is learned too, and then the wait is
    /// shorter than it should be.
    pub async fn wait(&mut self, told: Trained) -> Result<()> {
        if told == Trained::default() {
            return Ok(());
        }
        self.due = self.due.plus(told);
        let started = Instant::now();
        loop {
            let trained = Trained::ask(&mut self.client).await?;
            if trained.covers(self.due) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                // What is missing now is not waited for again.
                self.due = trained;
                self.given_up += 1;
                return Ok(());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn impressions_and_clicks_must_both_be_known() {
        let trained = |rows, clicks| Trained { rows, clicks };
        let due = trained(100, 7).plus(trained(20, 3));
        assert!(trained(120, 10).covers(due) && trained(500, 11).covers(due));
        assert!(!trained(119, 10).covers(due) && !trained(120, 9).covers(due));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        let answer = json!({"active": {"trained_rows": 5, "trained_clicks": 2}});
        assert_eq!(Trained::read(&answer).ok(), Some(Trained { rows: 5, clicks: 2 }));
        assert!(Trained::read(&json!({"active": {"trained_rows": 5}})).is_err());
    }
}
