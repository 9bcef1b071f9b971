// The page in a real browser, over a real server with real traffic: what it shows is what the server
// says, on a desk and in a hand, by day and by night.
//
// Everything is waited for by asking whether it has come true; nothing sleeps for luck.

import { mkdirSync } from "node:fs";
import { join } from "node:path";

import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";

import type { ActiveModels, Metrics } from "../src/api/schema";
import { MODELS } from "./models";
import * as read from "./page";
import { Server } from "./server";

const SCREENSHOTS = process.env["RECKON_SCREENSHOTS"] ?? "../target/console";
const BROWSER = process.env["RECKON_BROWSER"] ?? "/usr/bin/chromium";
const DESK = { width: 1_280, height: 800 };
const HAND = { width: 390, height: 844 };
/** Text that would be markup if it were ever read as such. */
const ODD_AD = "<img src=x onerror=alert(1)>";
const USERS = 40;

let browser: Browser;
let server: Server;
const contexts: BrowserContext[] = [];

beforeAll(async () => {
  mkdirSync(SCREENSHOTS, { recursive: true });
  browser = await chromium.launch({
    executablePath: BROWSER,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ],
  });
  server = await Server.start();
});

afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

afterEach(async () => {
  await Promise.all(contexts.splice(0).map((context) => context.close()));
});

interface Look {
  viewport: { width: number; height: number };
  colorScheme: "light" | "dark";
}

/** A fresh profile with one page on it. */
async function visitor(look: Look = { viewport: DESK, colorScheme: "light" }): Promise<Page> {
  const context = await browser.newContext({ ...look, baseURL: server.root });
  contexts.push(context);
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  await read.watchShifts(page);
  return page;
}

/** What a chart says to who does not see it. */
async function chartWords(page: Page, selector: string): Promise<string> {
  const words = await page.locator(`${selector} [role=img]`).getAttribute("aria-label");
  return (words ?? "").replaceAll("\u00a0", " ");
}

/** Nothing was pushed about since the page was opened; that a push would be seen is tried at once. */
async function expectStill(page: Page): Promise<void> {
  const { score, moved } = await read.shifts(page);
  expect(score, moved.join("; ")).toBeLessThan(0.02);
  // Again and again, because browsers excuse what moves just after a window has changed its size.
  const push = async () => {
    await page.evaluate(() => {
      const wedge = document.createElement("div");
      wedge.style.height = "100px";
      document.body.prepend(wedge);
    });
    return (await read.shifts(page)).score;
  };
  await expect.poll(push, { timeout: 10_000 }).toBeGreaterThan(0.05);
}

async function shoot(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: join(SCREENSHOTS, `${name}.png`), fullPage: true });
}

/** What the page must show. Nothing of the page's own sums or formats is used to tell it. */
interface Expected {
  totals: Record<string, string>;
  verdicts: Record<string, string>;
}

/** The server's own total, and its own split by reason, of the same cut of the log. */
async function expected(from: Server): Promise<Expected> {
  const all = "v1/metrics?from=1970-01-01T00:00:00Z";
  const ask = async () => [await from.get<Metrics>(all), await from.get<Metrics>(`${all}&group_by=reason`)] as const;
  let [total, split] = await ask();
  // A fast clock ticks into the log all the time: until both are of one cut.
  for (let asked = 1; total.as_of !== split.as_of && asked < 1_000; asked += 1) [total, split] = await ask();
  const [row] = total.rows;
  if (row === undefined || total.rows.length !== 1 || total.as_of !== split.as_of) {
    throw new Error(`no total and split of one cut: ${JSON.stringify([total, split])}`);
  }
  const { clicks = 0, clicks_gross = 0, impressions = 0, ctr, spend_micros } = row;
  const reasons = split.rows.filter(({ clicks_gross = 0 }) => clicks_gross > 0);
  expect(reasons.reduce((sum, { clicks_gross = 0 }) => sum + clicks_gross, 0)).toBe(clicks_gross);
  return {
    totals: {
      net: String(clicks),
      gross: String(clicks_gross),
      impressions: String(impressions),
      ctr: rate(ctr),
      spend: euros(spend_micros),
    },
    verdicts: Object.fromEntries(reasons.map(({ reason = "", clicks_gross = 0 }) => [reason, String(clicks_gross)])),
  };
}

function rate(value: number | null | undefined): string {
  return typeof value === "number" ? `${(100 * value).toFixed(2)} %` : "no rate";
}

function euros(micros: number | null | undefined): string {
  return typeof micros === "number" ? `\u20ac${(micros / 1e6).toFixed(2)}` : "no sum";
}

test("without a key it asks for one, and says what is wrong with a wrong one", async () => {
  const page = await visitor();
  await page.goto("console");
  expect(new URL(page.url()).pathname).toBe("/console/");
  await page.getByLabel("Key").fill("rk_nobody");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "not known" }).waitFor();
  expect(await page.locator("#board").isVisible()).toBe(false);
  await shoot(page, "door-light");
  await page.getByLabel("Key").fill(server.key);
  await page.getByRole("button", { name: "Show the figures" }).click();
  await page.getByText("Ready", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Forget key" }).click();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  await page.reload();
  await page.getByLabel("Key").waitFor();
});

test("a server without traffic says so in words", async () => {
  const page = await visitor({ viewport: DESK, colorScheme: "dark" });
  const watched = read.watch(page);
  await page.goto(`console/#key=${server.key}`);
  await page.locator("#verdicts-empty", { hasText: "No clicks yet" }).waitFor();
  await page.locator("#ads-empty", { hasText: "No clicks yet" }).waitFor();
  await page.locator("#live-chart .empty", { hasText: "No clicks yet" }).waitFor();
  await page.locator("#rate-chart .empty", { hasText: "No impressions yet" }).waitFor();
  await page.locator("#loss-chart .empty", { hasText: "Not enough was counted yet" }).waitFor();
  await page.locator("#model-facts", { hasText: "linear-0" }).waitFor();
  expect(await read.totals(page)).toEqual({ net: "0", gross: "0", impressions: "0", ctr: "\u2013", spend: "0.00" });
  await shoot(page, "empty-dark");
  expect(watched.complaints).toEqual([]);
});

describe("with traffic", () => {
  /** What was sent. */
  const sent = { gross: 0, net: 0, impressions: 0 };
  let shown: Expected;
  let asOf: string;

  beforeAll(async () => {
    await server.register(["shoes", "coffee-machine-with-a-rather-long-name-that-has-to-be-cut", ODD_AD]);
    for (let user = 0; user < USERS; user += 1) {
      const ads = await server.serve(`user-${user}`);
      expect(ads).toHaveLength(3);
      for (const [at, ad] of ads.entries()) {
        await server.visit(ad.impression_url);
        sent.impressions += 1;
        if ((user + at) % 4 !== 0) continue;
        await server.visit(ad.click_url);
        sent.gross += 1;
        sent.net += 1;
      }
      const [ad] = ads;
      const click = ad?.click_url ?? "";
      // The first is a copy where this user has clicked; who has not clicks now, and it counts.
      const again = ads.find((_, at) => (user + at) % 4 === 0);
      if (user % 7 === 0 && again === undefined) sent.net += 1;
      const bad: Array<() => Promise<void>> = [
        async () => server.visit(again?.click_url ?? click),
        async () => server.visit(click.replace(/imp=.{20}/, "imp=AAAAAAAAAAAAAAAAAAAA")),
        async () => server.visit(click, { "user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)" }),
        async () => server.visit(click, {}, "HEAD"),
        async () => server.visit(click, { purpose: "prefetch" }),
        async () => server.visit(`/click?adId=${encodeURIComponent(ad?.ad_id ?? "")}`),
        async () => server.visit(`/click?adId=nobody-${user}`),
      ];
      await bad[user % bad.length]?.();
      sent.gross += 1;
    }
    asOf = (await server.counted(sent.gross, sent.impressions)).as_of;
    shown = await expected(server);
    expect(shown.totals).toMatchObject({
      net: String(sent.net),
      gross: String(sent.gross),
      impressions: String(sent.impressions),
      spend: euros(sent.net * 250_000),
    });
    expect(Object.keys(shown.verdicts).sort()).toEqual([
      "counted", "declared_robot", "duplicate", "forged", "not_get", "prefetch", "unknown_ad", "unsigned",
    ]);
  });

  for (const [place, viewport] of [["desk", DESK], ["hand", HAND]] as const) {
    for (const colorScheme of ["light", "dark"] as const) {
      test(`it shows what the server says, ${place}, ${colorScheme}`, async () => {
        const page = await visitor({ viewport, colorScheme });
        const watched = read.watch(page);
        await page.goto(`console/#key=${server.key}`);
        await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
        expect(await read.verdicts(page)).toEqual(shown.verdicts);
        await page.getByText("Ready", { exact: true }).waitFor();
        await page.locator("#ads-rows tr").nth(2).waitFor();
        const top = await server.get<Metrics>("v1/metrics?from=1970-01-01T00:00:00Z&group_by=ad_id&order_by=clicks:desc&limit=10");
        const rows = top.rows.filter(({ clicks = 0 }) => clicks > 0);
        expect(rows.map(({ ad_id }) => ad_id)).toContain(ODD_AD);
        expect(await read.ads(page)).toEqual(rows.map((row) => [
          row.ad_id,
          String(row.impressions),
          String(row.clicks),
          rate(row.ctr),
          euros(row.spend_micros),
        ]));
        // Ticks go on, so the page may be of a later position than the figures it was compared with.
        const cut = /position 0-(\d+) of the log/.exec(await read.text(page, "#cut"));
        expect(Number(cut?.[1])).toBeGreaterThanOrEqual(Number(asOf.replace("0-", "")));
        await page.locator("#live-chart [role=img][aria-label*='at the end']").waitFor();
        const { active, metrics } = await server.get<ActiveModels>("api/models/active");
        expect(active.trained_rows).toBe(sent.impressions);
        await page.locator("#model-facts", { hasText: active.model_version }).waitFor();
        const facts = await read.text(page, "#model-facts");
        for (const figure of [active.trained_rows, metrics.log_loss?.toFixed(4), metrics.auc?.toFixed(4)]) {
          expect(facts).toContain(String(figure));
        }
        await page.locator("#rate-chart [role=img][aria-label*='predicted: ']").waitFor();
        expect(await chartWords(page, "#rate-chart")).toMatch(/predicted: \d.* actual: \d/);
        expect(await chartWords(page, "#loss-chart")).toMatch(/model: 0\.\d.* constant CTR: 0\.\d/);
        expect(await read.text(page, "#clock")).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$/);
        await shoot(page, `${place}-${colorScheme}`);

        expect(page.url()).toBe(`${server.root}console/`);
        expect(watched.addresses.length).toBeGreaterThan(10);
        expect(watched.addresses.filter((address) => address.replace(/#.*/, "").includes(server.key))).toEqual([]);
        expect(watched.addresses.every((address) => address.startsWith(server.root))).toBe(true);
        expect(await read.overflow(page)).toBe(0);
        expect(await read.overhang(page)).toEqual([]);
        const { looked, low } = await read.contrasts(page);
        expect(looked).toBeGreaterThan(60);
        expect(low).toEqual([]);
        const names = await read.nameless(page);
        expect(names.looked).toBeGreaterThan(12);
        expect(names.found).toEqual([]);
        expect(watched.complaints).toEqual([]);
        await expectStill(page);
      });
    }
  }

  test("the period is chosen with the keyboard, and a short one holds all that is fresh", async () => {
    const page = await visitor();
    await page.goto(`console/#key=${server.key}`);
    await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
    await page.getByRole("radio", { name: "All" }).focus();
    const asked = page.waitForRequest((request) => request.url().includes("/v1/ads/top"));
    await page.keyboard.press("ArrowLeft");
    expect((await asked).url()).toContain("window=1440m");
    expect(await page.getByRole("radio", { name: "24 hours" }).isChecked()).toBe(true);
    await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
  });

  test("a chart can be read as a table", async () => {
    const page = await visitor();
    await page.goto(`console/#key=${server.key}`);
    await page.locator("#live-chart [role=img][aria-label*='at the end']").waitFor();
    await page.locator("#live-chart summary").click();
    const table = page.getByRole("table", { name: "Clicks per second, latest first" });
    await table.locator("tbody tr").nth(5).waitFor();
    expect(await table.locator("thead th").allInnerTexts()).toEqual(["Time, UTC", "net", "gross"]);
  });

  test("a server without a model says so, and shows the actual rate", async () => {
    const page = await visitor();
    await page.route("**/api/models/active", (route) => route.fulfill({ status: 404, json: { detail: "no model" } }));
    await page.goto(`console/#key=${server.key}`);
    await page.locator("#model-empty", { hasText: "No model" }).waitFor();
    await page.locator("#loss-chart .empty", { hasText: "No model yet" }).waitFor();
    const words = expect.poll(() => chartWords(page, "#rate-chart"), { timeout: 60_000 });
    await words.toMatch(/predicted: no figures\. actual: \d/);
    await shoot(page, "no-model");
  });

  test("two hours of a model are shown beside what it predicted", async () => {
    for (const [place, viewport] of [["desk", DESK], ["hand", HAND]] as const) {
      const page = await visitor({ viewport, colorScheme: place === "desk" ? "light" : "dark" });
      const watched = read.watch(page);
      await page.route("**/api/models/active", (route) => route.fulfill({ json: MODELS }));
      await page.goto(`console/#key=${server.key}`);
      await page.locator("#model-facts", { hasText: "linear-1842" }).waitFor();
      const facts = await read.text(page, "#model-facts");
      for (const words of ["0.4 s", "108,112", "0.2431", "14.79 % better", "1.01", "0.7134", "linear-wide-7", "95.00 %"]) {
        expect(facts).toContain(words);
      }
      await page.locator("#loss-chart [role=img][aria-label*='constant CTR: 0.']").waitFor();
      expect(await chartWords(page, "#rate-chart")).toMatch(/predicted: 9\.64 %.* actual: 9\.59 %/);
      await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
      await shoot(page, `model-${place}`);
      expect(await read.overflow(page)).toBe(0);
      expect(await read.overhang(page)).toEqual([]);
      expect((await read.contrasts(page)).low).toEqual([]);
      expect(watched.complaints).toEqual([]);
    }
  });

  // The last, for it adds to what the others compare with.
  test("a click shows without asking, in the totals and in the chart", async () => {
    const page = await visitor();
    const watched = read.watch(page);
    await page.goto(`console/#key=${server.key}`);
    await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
    const [ad] = await server.serve("someone-new");
    if (ad === undefined) throw new Error("an ad is served");
    await server.visit(ad.impression_url);
    for (let copy = 0; copy < 3; copy += 1) await server.visit(ad.click_url);
    sent.gross += 3;
    sent.net += 1;
    sent.impressions += 1;
    await server.counted(sent.gross, sent.impressions);
    shown = await expected(server);
    expect(shown.totals["net"]).toBe(String(sent.net));
    await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(shown.totals);
    expect(await read.verdicts(page)).toEqual(shown.verdicts);
    expect(watched.complaints).toEqual([]);
  });
});

test("on a clock that runs a day a minute it says so, and follows", async () => {
  const fast = await Server.start("--clock", "scaled:1440");
  try {
    await fast.register(["shoes"]);
    const page = await visitor({ viewport: HAND, colorScheme: "light" });
    const watched = read.watch(page);
    await page.goto(`${fast.root}console/#key=${fast.key}`);
    await page.locator("#clock", { hasText: /about 1,[345]00 times as fast/ }).waitFor();
    let impressions = 0;
    // One click every now and then, until the chart has seen some of them.
    const chart = page.locator("#live-chart [role=img][aria-label*='at the end']");
    while (!(await chart.isVisible())) {
      const [ad] = await fast.serve(`user-${impressions}`);
      await fast.visit(ad?.impression_url ?? "");
      await fast.visit(ad?.click_url ?? "");
      impressions += 1;
      expect(impressions).toBeLessThan(20_000);
    }
    await fast.counted(impressions, impressions);
    const { totals } = await expected(fast);
    await expect.poll(() => read.totals(page), { timeout: 60_000 }).toEqual(totals);
    expect(await read.text(page, "#live-span")).toMatch(/^last \d+ (d|h)/);
    // From nothing to figures, and nothing has moved.
    await expectStill(page);
    await shoot(page, "fast-clock");
    expect(watched.complaints).toEqual([]);
  } finally {
    await fast.stop();
  }
});

test("a server that goes away is told of in words, and what was there stays", async () => {
  const gone = await Server.start();
  const page = await visitor();
  await page.goto(`${gone.root}console/#key=${gone.key}`);
  await page.getByText("Ready", { exact: true }).waitFor();
  await expect.poll(() => read.text(page, "#total-gross"), { timeout: 60_000 }).toBe("0");
  await gone.stop();
  await page.locator("#notice", { hasText: "The server does not answer. What stands here is of" }).waitFor();
  await page.locator("#health", { hasText: "No answer" }).waitFor();
  expect(await read.text(page, "#total-gross")).toBe("0");
  expect(await read.overflow(page)).toBe(0);
  await shoot(page, "gone");
});
