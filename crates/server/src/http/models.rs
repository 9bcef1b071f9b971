//! `GET /api/models/active`: which model answers, and how it does.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use reckon_books::Scopes;
use reckon_event::Timestamp;
use reckon_predict::Champion;
use reckon_rollout::{Bucket, Online};
use serde::Serialize;

use super::Problem;
use crate::app::App;

/// The routes.
pub fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/models/active", get(active))
}

/// The name of a version of the online model.
pub fn version_name(version: u32) -> String {
    format!("linear-{version}")
}

#[derive(Debug, Serialize)]
struct Answer {
    active: Active,
    /// No other model is warm yet.
    challenger: Option<Active>,
    traffic: Traffic,
    metrics: Metrics,
    history: Vec<Stretch>,
    rows: Rows,
}

#[derive(Debug, Serialize)]
struct Active {
    model_version: String,
    kind: &'static str,
    published_at: Option<String>,
    age_s: Option<f64>,
    trained_rows: u64,
    trained_clicks: u64,
}

#[derive(Debug, Serialize)]
struct Traffic {
    active: f64,
}

/// Progressive figures: each row is scored before it is learned from.
#[derive(Debug, Serialize)]
struct Metrics {
    impressions: u64,
    clicks: u64,
    ctr: Option<f64>,
    predicted_ctr: Option<f64>,
    calibration_ratio: Option<f64>,
    log_loss: Option<f64>,
    log_loss_constant: Option<f64>,
    auc: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Stretch {
    from: String,
    seconds: i64,
    impressions: u64,
    clicks: u64,
    predicted_clicks: f64,
    log_loss: Option<f64>,
    log_loss_constant: Option<f64>,
    auc: Option<f64>,
}

/// What became of served rows.
#[derive(Debug, Serialize)]
struct Rows {
    pending: u64,
    dropped: u64,
    orphans: u64,
}

async fn active(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Answer>, Problem> {
    app.gate.require(&headers, Scopes::READ).await?;
    let models = app.edge.scorer.predictor.models();
    let (online, report) = (models.online(), models.report());
    Ok(Json(Answer {
        active: match app.edge.scorer.predictor.champion() {
            Some(champion) => described_bundle(champion, app.edge.clock.now()),
            None => described(&online, app.edge.clock.now()),
        },
        challenger: None,
        traffic: Traffic { active: 1.0 },
        metrics: metrics(&report.total),
        history: report.history.iter().map(stretch).collect(),
        rows: Rows {
            pending: report.pending_rows,
            dropped: report.dropped_rows,
            orphans: report.orphans,
        },
    }))
}

fn described(online: &Online, now: Timestamp) -> Active {
    let is_trained = online.at > Timestamp::MIN;
    Active {
        model_version: version_name(online.version),
        kind: "linear",
        published_at: is_trained.then(|| online.at.to_string()),
        age_s: is_trained.then(|| now.since(online.at).max(0) as f64 / 1e6),
        trained_rows: online.rows,
        trained_clicks: online.clicks,
    }
}

fn described_bundle(champion: &Champion, now: Timestamp) -> Active {
    let manifest = &champion.bundle().manifest;
    let created = Timestamp(manifest.created_ms.saturating_mul(1_000));
    let is_told = created > Timestamp::MIN;
    let training = manifest.training;
    Active {
        model_version: champion.name(),
        kind: "bundle",
        published_at: is_told.then(|| created.to_string()),
        age_s: is_told.then(|| now.since(created).max(0) as f64 / 1e6),
        trained_rows: training.map_or(0, |training| training.rows),
        trained_clicks: training.map_or(0, |training| training.clicks),
    }
}

fn metrics(bucket: &Bucket) -> Metrics {
    Metrics {
        impressions: bucket.impressions,
        clicks: bucket.clicks,
        ctr: bucket.ctr(),
        predicted_ctr: bucket.predicted_ctr(),
        calibration_ratio: bucket.calibration_ratio(),
        log_loss: bucket.log_loss(),
        log_loss_constant: bucket.log_loss_constant(),
        auc: bucket.auc(),
    }
}

fn stretch(bucket: &Bucket) -> Stretch {
    Stretch {
        from: bucket.from.to_string(),
        seconds: bucket.seconds,
        impressions: bucket.impressions,
        clicks: bucket.clicks,
        predicted_clicks: bucket.predicted_clicks,
        log_loss: bucket.log_loss(),
        log_loss_constant: bucket.log_loss_constant(),
        auc: bucket.auc(),
    }
}
