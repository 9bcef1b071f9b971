// Which model answers, since when, and how well it does.

import type { ActiveModel, ActiveModels } from "../api/types";
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

/** What is told of the models. */
export function factsOf(models: ActiveModels): Fact[] {
  const { active, challenger, metrics } = models;
  return [
    { name: "Version", value: active.model_version, meaning: kindOf(active, models.traffic.active) },
    { name: "Age", value: ageOf(active), meaning: "it has learnt from all that was counted before" },
    {
      name: "Learnt from",
      value: count(active.trained_rows),
      meaning: `impressions, ${count(active.trained_clicks)} of them clicked`,
    },
    { name: "Log loss", value: fine(metrics.log_loss), meaning: gainOf(models) },
    {
      name: "Calibration",
      value: ratio(metrics.calibration_ratio),
      meaning: "predicted clicks by actual ones; 1 is right",
    },
    {
      name: "AUC",
      value: fine(metrics.auc),
      meaning: "how often a clicked ad ranks above one that was not; 0.5 is chance",
    },
    {
      name: "Challenger",
      value: challenger?.model_version ?? "none",
      meaning: challenger === null ? "no other model is on trial" : challenger.kind,
    },
  ];
}

function kindOf(model: ActiveModel, share: number): string {
  return `${model.kind}, answers ${percent(share)} of requests`;
}

/** One that has learnt nothing yet has no age. */
function ageOf({ age_s }: ActiveModel): string {
  return age_s === null ? NONE : duration(age_s);
}

/** How much better than always predicting the mean. */
export function gainOf({ metrics }: ActiveModels): string {
  const { log_loss: loss, log_loss_constant: constant } = metrics;
  if (loss === null || constant === null || constant === 0) return "not enough was counted yet to tell";
  const gain = (constant - loss) / constant;
  const word = gain >= 0 ? "better" : "worse";
  return `${percent(Math.abs(gain))} ${word} than the constant CTR (${fine(constant)})`;
}
