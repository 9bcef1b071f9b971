// Which model answers, since when, and how well it does.

import type { ActiveModels, Model } from "../api/types";
import { byId, make, say, showOr } from "../dom";
import { count, duration, fine, NONE, percent, ratio } from "../format";

const NO_MODEL =
  "No model answers on this server yet. Once one is published, its version, its age and how well it does stand here.";

interface Fact {
  name: string;
  value: string;
  meaning: string;
}

export class ModelView {
  readonly #facts = byId("model-facts", HTMLElement);
  readonly #empty = byId("model-empty", HTMLElement);
  readonly #values = new Map<string, [HTMLElement, HTMLElement]>();
  #shown = "";

  /** `null` where the server knows of no model at all. */
  show(models: ActiveModels | null): void {
    const facts = models === null ? [] : factsOf(models);
    showOr(this.#facts, this.#empty, facts.length === 0 ? NO_MODEL : null);
    this.#arrange(facts);
    for (const { name, value, meaning } of facts) {
      const [valueElement, meaningElement] = this.#values.get(name) ?? [];
      if (valueElement !== undefined) say(valueElement, value);
      if (meaningElement !== undefined) say(meaningElement, meaning);
    }
  }

  #arrange(facts: Fact[]): void {
    const names = facts.map(({ name }) => name);
    if (this.#shown === names.join()) return;
    this.#shown = names.join();
    const entries = names.map((name) => {
      const parts: [HTMLElement, HTMLElement] = [make("dd", "value"), make("dd", "hint")];
      this.#values.set(name, parts);
      return make("div", "fact", make("dt", "", name), ...parts);
    });
    this.#facts.replaceChildren(...entries);
  }
}

/** What is told of the models; nothing where none is active. */
export function factsOf(models: ActiveModels): Fact[] {
  const { active, challenger, metrics } = models;
  if (active === null) return [];
  return [
    { name: "Version", value: active.model_version, meaning: kindOf(active, models.traffic?.active ?? null) },
    { name: "Published", value: ageOf(active.age_s), meaning: "by the server's clock" },
    {
      name: "Learnt from",
      value: figure(active.trained_rows),
      meaning: `impressions, ${figure(active.trained_clicks)} of them clicked`,
    },
    { name: "Log loss", value: fine(metrics?.log_loss ?? null), meaning: gainOf(models) },
    {
      name: "Calibration",
      value: ratio(metrics?.calibration_ratio ?? null),
      meaning: "predicted clicks by actual ones; 1 is right",
    },
    {
      name: "AUC",
      value: fine(metrics?.auc ?? null),
      meaning: "how often a clicked ad ranks above one that was not; 0.5 is chance",
    },
    {
      name: "Challenger",
      value: challenger?.model_version ?? "none",
      meaning: challenger === null
        ? "no other model is on trial"
        : kindOf(challenger, models.traffic?.challenger ?? null),
    },
  ];
}

function figure(value: number | null): string {
  return value === null ? NONE : count(value);
}

function kindOf(model: Model, share: number | null): string {
  return share === null ? model.kind : `${model.kind}, answers ${percent(share)} of requests`;
}

function ageOf(age_s: number | null): string {
  return age_s === null ? NONE : `${duration(age_s)} ago`;
}

/** How much better than always predicting the mean. */
export function gainOf({ metrics }: ActiveModels): string {
  const [loss, constant] = [metrics?.log_loss ?? null, metrics?.log_loss_constant ?? null];
  if (loss === null || constant === null || constant === 0) return "not enough was counted yet to tell";
  const gain = (constant - loss) / constant;
  const word = gain >= 0 ? "better" : "worse";
  return `${percent(Math.abs(gain))} ${word} than the constant CTR (${fine(constant)})`;
}
