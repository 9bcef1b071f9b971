// An answer of `GET /api/models/active` after two hours: for the look of the page, which a server that
// has just begun cannot show. The figures follow a course that can be recognised.

import type { ActiveModels, ModelBucket } from "../src/api/types";

const BEGIN = Date.parse("2026-11-21T10:00:00Z");

function bucket(at: number): ModelBucket {
  const impressions = 900 + Math.round(300 * Math.sin(at / 9));
  const rate = 0.08 + 0.02 * Math.sin(at / 14);
  const noise = 0.004 * Math.sin(at * 12.9898);
  const isEmpty = at === 40;
  return {
    from: new Date(BEGIN + at * 60_000).toISOString(),
    seconds: 60,
    impressions: isEmpty ? 0 : impressions,
    clicks: isEmpty ? 0 : Math.round(impressions * (rate + noise)),
    predicted_clicks: isEmpty ? 0 : impressions * (rate + 0.03 * Math.exp(-at / 12)),
    log_loss: isEmpty ? null : 0.24 + 0.05 * Math.exp(-at / 15) + noise,
    log_loss_constant: isEmpty ? null : 0.285 + noise,
    auc: isEmpty ? null : 0.71,
  };
}

export const MODELS: ActiveModels = {
  active: {
    model_version: "linear-1842",
    kind: "linear",
    published_at: "2026-11-21T12:00:00Z",
    age_s: 0.4,
    trained_rows: 108_112,
    trained_clicks: 8_741,
  },
  challenger: {
    model_version: "linear-wide-7",
    kind: "linear",
    published_at: "2026-11-21T11:00:00Z",
    age_s: 3_600,
    trained_rows: 96_000,
    trained_clicks: 7_900,
  },
  traffic: { active: 0.95 },
  metrics: {
    impressions: 108_112,
    clicks: 8_741,
    ctr: 0.0809,
    predicted_ctr: 0.0815,
    calibration_ratio: 1.007,
    log_loss: 0.2431,
    log_loss_constant: 0.2853,
    auc: 0.7134,
  },
  rows: { pending: 420, dropped: 0, orphans: 3 },
  history: Array.from({ length: 120 }, (_, at) => bucket(at)),
};
