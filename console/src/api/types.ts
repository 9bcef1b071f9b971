// Names of the server's answers. They are generated from its description (build/types.mjs); what it names
// only inside of others has its name here.

import type { ActiveModels, Metrics, MetricsRow } from "./schema";

export type { ActiveModel, ActiveModels, Advertisers, Health, LiveEvent, Metrics, MetricsRow } from "./schema";

/** What a record was judged to be. */
export type Reason = NonNullable<MetricsRow["reason"]>;

/** Whether figures can still change. */
export type Finality = Metrics["final"];

/** How a model did in a stretch of time. */
export type ModelBucket = ActiveModels["history"][number];
