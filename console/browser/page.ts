// What is read off the page, as a viewer or a reader of the screen would: texts, names, colours.

import type { Page } from "playwright-core";

/** Everything that a page complained of, and every address it asked for. */
export interface Watched {
  complaints: string[];
  addresses: string[];
}

/** Watches a page from its start. */
export function watch(page: Page): Watched {
  const watched: Watched = { complaints: [], addresses: [] };
  page.on("console", (message) => {
    const isBad = message.type() === "error" || message.type() === "warning";
    if (isBad) watched.complaints.push(`${message.text()} at ${message.location().url}`);
  });
  page.on("pageerror", (error) => watched.complaints.push(String(error)));
  page.on("request", (request) => watched.addresses.push(request.url()));
  return watched;
}

/** The text of an element, with plain spaces. */
export async function text(page: Page, selector: string): Promise<string> {
  return (await page.locator(selector).innerText()).replaceAll("\u00a0", " ").trim();
}

/** The five totals as they are shown. */
export async function totals(page: Page): Promise<Record<string, string>> {
  const names = ["net", "gross", "impressions", "ctr", "spend"];
  const texts = await Promise.all(names.map((name) => text(page, `#total-${name}`)));
  return Object.fromEntries(names.map((name, at) => [name, texts[at] ?? ""]));
}

/** The figure of each verdict that is shown. */
export async function verdicts(page: Page): Promise<Record<string, string>> {
  const bars = await page.locator("#verdicts-list [data-reason]").all();
  const entries = bars.map(async (bar) => [
    (await bar.getAttribute("data-reason")) ?? "",
    await bar.locator(".value").innerText(),
  ]);
  return Object.fromEntries(await Promise.all(entries)) as Record<string, string>;
}

/** The rows of the table of ads: id, impressions, clicks, CTR, spend. */
export async function ads(page: Page): Promise<string[][]> {
  return page.locator("#ads-rows tr").evaluateAll((rows) =>
    rows.map((row) =>
      [...row.querySelectorAll("th, td[data-figure]")].map((cell) => (cell.textContent ?? "").replaceAll("\u00a0", " ")),
    ),
  );
}

/** How far the page is wider than the screen. */
export async function overflow(page: Page): Promise<number> {
  return page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
}

/** Texts that reach over the edge of the panel they stand in; what is cut on purpose does not reach. */
export async function overhang(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    for (const panel of document.querySelectorAll(".panel, .tile")) {
      const edge = panel.getBoundingClientRect();
      for (const element of panel.querySelectorAll("*")) {
        if (!element.checkVisibility() || element.closest(".unseen, .uplot, .periods") !== null) continue;
        const { left, right } = element.getBoundingClientRect();
        if (left < edge.left || right > edge.right) found.push(`${element.className} ${element.textContent}`.slice(0, 60));
        const isCut = getComputedStyle(element).overflow !== "visible";
        if (!isCut && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0) {
          found.push(`inside ${element.className} ${element.textContent}`.slice(0, 60));
        }
      }
    }
    return found;
  });
}

/** Sums layout shifts from the start on, as browsers score them; must be called before the page is opened. */
export async function watchShifts(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const seen = window as unknown as { shifts: string[]; shifted: number };
    seen.shifts = [];
    seen.shifted = 0;
    const add = (entry: PerformanceEntry) => {
      const shift = entry as PerformanceEntry & { value: number; hadRecentInput: boolean; sources: Array<{ node: Node | null }> };
      if (shift.hadRecentInput) return;
      seen.shifted += shift.value;
      const moved = shift.sources.map(({ node }) => (node instanceof Element ? node.id || node.className : node?.nodeName));
      if (shift.value > 0.005) seen.shifts.push(`${shift.value.toFixed(3)} ${moved.join(", ")}`);
    };
    new PerformanceObserver((list) => list.getEntries().forEach(add)).observe({ type: "layout-shift", buffered: true });
  });
}

/** What has moved until now, and how much: 0.1 is what is held to be good. */
export async function shifts(page: Page): Promise<{ score: number; moved: string[] }> {
  return page.evaluate(async () => {
    // Entries come after the frame that they tell of.
    for (let frame = 0; frame < 5; frame += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
    await new Promise((resolve) => setTimeout(resolve));
    const seen = window as unknown as { shifts: string[]; shifted: number };
    return { score: seen.shifted, moved: seen.shifts };
  });
}

/** Texts whose contrast is below what WCAG 2 AA asks for, and how many were looked at. */
export async function contrasts(page: Page): Promise<{ looked: number; low: string[] }> {
  return page.evaluate(() => {
    type Colour = [number, number, number, number];
    const parse = (text: string): Colour => {
      const parts = (text.match(/[\d.]+/g) ?? []).map(Number);
      return [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0, parts[3] ?? 1];
    };
    const light = ([red, green, blue]: Colour) => {
      const linear = [red, green, blue].map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * (linear[0] ?? 0) + 0.7152 * (linear[1] ?? 0) + 0.0722 * (linear[2] ?? 0);
    };
    const behind = (element: Element | null): Colour => {
      for (let at = element; at !== null; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if (colour[3] === 1) return colour;
      }
      return [255, 255, 255, 1];
    };
    const low: string[] = [];
    let looked = 0;
    for (const element of document.body.querySelectorAll("*")) {
      const own = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
      const words = own.map((node) => node.textContent ?? "").join("").trim();
      if (words === "" || !element.checkVisibility({ visibilityProperty: true })) continue;
      const [one, other] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
      const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      looked += 1;
      if (contrast < 4.5) low.push(`${words.slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    return { looked, low };
  });
}

/** Inputs, buttons, tables and charts that a reader of the screen could not name, and how many were looked at. */
export async function nameless(page: Page): Promise<{ looked: number; found: string[] }> {
  return page.evaluate(() => {
    const found: string[] = [];
    let looked = 0;
    for (const element of document.querySelectorAll<HTMLElement>("input, button, [role=img], [role=region], table, section")) {
      const labels = element instanceof HTMLInputElement ? [...(element.labels ?? [])].map((label) => label.innerText) : [];
      const named = element.getAttribute("aria-labelledby");
      const by = named === null ? "" : (document.getElementById(named)?.innerText ?? "");
      const own = element instanceof HTMLButtonElement ? element.innerText : "";
      const name = [...labels, by, own, element.getAttribute("aria-label") ?? ""].join("").trim();
      if (!element.checkVisibility()) continue;
      looked += 1;
      if (name === "") found.push(element.outerHTML.slice(0, 80));
    }
    return { looked, found };
  });
}
