// A real `reckon serve` on a folder of its own and a free port of the loopback, and a client that
// drives traffic through its front door.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

import type { Advertisers, AdAnswer, Health, Metrics, ServedAd } from "../src/api/schema";

/** How long anything may take to come true, in milliseconds. */
const PATIENCE_MS = 60_000;

export class Server {
  readonly root: string;
  readonly key: string;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string, root: string) {
    this.#child = child;
    this.#folder = folder;
    this.root = root;
    this.key = readFileSync(join(folder, "admin.key"), "utf8").trim();
  }

  /** Starts the binary that RECKON_BINARY names. Clicks come at once, so the too-fast rule is off. */
  static async start(...options: string[]): Promise<Server> {
    const binary = process.env["RECKON_BINARY"];
    if (binary === undefined) throw new Error("RECKON_BINARY must name the binary to test; run `make test`");
    const folder = mkdtempSync(join(tmpdir(), "reckon-console-"));
    const child = spawn(
      binary,
      ["serve", "--data", folder, "--listen", "127.0.0.1:0", "--admin-listen", "", ...options],
      { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, RECKON__RULES__ENABLED: "false" } },
    );
    if (child.stdout === null) throw new Error("the output is piped");
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`${binary} ended with ${code} before it listened`);
    });
    const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), ended])) as [string];
    ended.catch(() => {});
    const root = /^listening (http:\/\/127\.0\.0\.1:\d+)$/.exec(line)?.[1];
    if (root === undefined) throw new Error(`it said ${line}`);
    return new Server(child, folder, `${root}/`);
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null) {
      const ended = once(this.#child, "exit");
      this.#child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** With the admin's key; the answer whatever its status. */
  async ask(path: string, options: RequestInit = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${this.key}`, ...options.headers };
    return fetch(new URL(path, this.root), { redirect: "manual", ...options, headers });
  }

  async get<T>(path: string): Promise<T> {
    const answer = await this.ask(path);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  async post<T>(path: string, body: unknown): Promise<T> {
    const headers = { "content-type": "application/json" };
    const answer = await this.ask(path, { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as T;
  }

  /** An advertiser with one campaign and these ads, at a quarter of a euro a click. */
  async register(ads: string[]): Promise<void> {
    await this.post<Advertisers>("v1/advertisers", { advertiser_id: "shop", name: "Shop", currency: "EUR" });
    const campaign = { campaign_id: "spring", advertiser_id: "shop", name: "Spring", cpc_micros: 250_000, status: "active" };
    await this.post("v1/campaigns", campaign);
    const drafts = ads.map((ad_id) => ({
      ad_id,
      campaign_id: "spring",
      destination_url: `https://shop.example/${encodeURIComponent(ad_id)}`,
      status: "active",
    }));
    await this.post("v1/ads", drafts);
  }

  /** Ads for a user, as many as there are up to a hundred. */
  async serve(user: string): Promise<ServedAd[]> {
    const asked = { placement: "home", user_id: user, count: 100, context: { geo: "DE", device: "mobile" } };
    return (await this.post<AdAnswer>("v1/ads/serve", asked)).ads;
  }

  /** Fetches a door as a browser does, without any key; 302 and 200 acknowledge. */
  async visit(url: string, headers: Record<string, string> = {}, method = "GET"): Promise<void> {
    const { pathname, search } = new URL(url, this.root);
    const person = { "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0" };
    const answer = await fetch(new URL(pathname + search, this.root), {
      method,
      redirect: "manual",
      headers: { ...person, ...headers },
    });
    await answer.arrayBuffer();
    if (![200, 302, 404].includes(answer.status)) throw new Error(`${method} ${pathname}: ${answer.status}`);
    if (answer.headers.has("reckon-degraded")) throw new Error(`${pathname} was not logged`);
  }

  /** Everything that was counted, by reason. */
  async figures(): Promise<Metrics> {
    return this.get<Metrics>("v1/metrics?from=1970-01-01T00:00:00Z&group_by=reason");
  }

  async health(): Promise<Health> {
    return this.get<Health>("readyz");
  }

  /** Waits until so many clicks of any verdict, and impressions, were counted. */
  async counted(gross: number, impressions: number): Promise<Metrics> {
    const deadline = Date.now() + PATIENCE_MS;
    for (;;) {
      const figures = await this.figures();
      const sum = (of: "clicks_gross" | "impressions") => figures.rows.reduce((total, row) => total + (row[of] ?? 0), 0);
      if (sum("clicks_gross") === gross && sum("impressions") === impressions) return figures;
      if (Date.now() > deadline) {
        throw new Error(`not ${gross} clicks and ${impressions} impressions: ${JSON.stringify(figures)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
