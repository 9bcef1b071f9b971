// What is installed is pinned by what it holds, not by where it came from: the lock names no registry.

import { readFileSync } from "node:fs";

import { expect, test } from "vitest";

interface Package {
  version?: string;
  integrity?: string;
  resolved?: string;
}

test("every package is pinned by its hash and has no address", () => {
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Package> };
  const packages = Object.entries(lock.packages).filter(([place]) => place !== "");
  expect(packages.length).toBeGreaterThan(20);
  for (const [place, { version, integrity, resolved }] of packages) {
    expect([place, resolved]).toEqual([place, undefined]);
    expect(integrity, place).toMatch(/^sha512-/);
    expect(version, place).toMatch(/^\d+\.\d+\.\d+/);
  }
});

test("what the page needs is asked for in one version", () => {
  const wanted = JSON.parse(readFileSync("package.json", "utf8")) as Record<string, Record<string, string>>;
  const versions = Object.values({ ...wanted["dependencies"], ...wanted["devDependencies"] });
  expect(versions.length).toBeGreaterThan(3);
  for (const version of versions) expect(version).toMatch(/^\d+\.\d+\.\d+$/);
});
