// Names of the server's answers. Those its description has are generated from it (build/types.mjs);
// the others stand here until it has them.

import type { Metrics, MetricsRow } from "./schema";

export type { Advertisers, Health, LiveEvent, Metrics, MetricsRow } from "./schema";

/** What a record was judged to be. */
export type Reason = NonNullable<MetricsRow["reason"]>;

/** Whether figures can still change. */
export type Finality = Metrics["final"];

/** A model as it answers. */
export interface Model {
  model_version: string;
  kind: string;
  published_at: string | null;
  /** Seconds since it was published. */
  age_s: number | null;
  trained_rows: number | null;
  trained_clicks: number | null;
}

/** How good a model was on what was counted since; null without data. */
export interface ModelMetrics {
  impressions: number | null;
  clicks: number | null;
  ctr: number | null;
  predicted_ctr: number | null;
  /** Predicted clicks by actual ones: 1 is right. */
  calibration_ratio: number | null;
  log_loss: number | null;
  /** Of always predicting the mean. */
  log_loss_constant: number | null;
  auc: number | null;
}

/** The same for one span of time. */
export interface ModelBucket {
  from: string;
  seconds: number;
  impressions: number | null;
  clicks: number | null;
  predicted_clicks: number | null;
  log_loss: number | null;
  log_loss_constant: number | null;
  auc: number | null;
}

/** `GET /api/models/active` */
export interface ActiveModels {
  active: Model | null;
  challenger: Model | null;
  /** Shares of the traffic. */
  traffic: { active?: number | null; challenger?: number | null } | null;
  metrics: ModelMetrics | null;
  /** Oldest first. */
  history: ModelBucket[] | null;
}
