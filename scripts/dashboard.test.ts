import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const REPO = join(import.meta.dirname, "..");

/** Names of metrics that the parts write: strings that begin with `torpor_` and end in a unit or stand in a call of the metrics. */
function emitted(): Set<string> {
  const calls = /\.(?:count|gauge|observeMs|observeBytes)\(\s*"(torpor_[a-z_]+)"/g;
  const files = globSync("packages/*/src/**/*.ts", { cwd: REPO }).filter((file) => !file.endsWith(".test.ts"));
  return new Set(files.flatMap((file) => [...readFileSync(join(REPO, file), "utf8").matchAll(calls)].map(([, name]) => name ?? "")));
}

/** Names of metrics that the dashboard asks for, without what Prometheus adds to those of a histogram. */
function shown(): Set<string> {
  const text = readFileSync(join(REPO, "deploy/grafana/torpor.json"), "utf8");
  return new Set([...text.matchAll(/torpor_[a-z_]+/g)].map(([name]) => name.replace(/_(bucket|count|sum)$/, "")));
}

describe("the Grafana dashboard", () => {
  it("asks for no metric that no part writes", () => {
    const known = emitted();
    expect([...shown()].filter((name) => !known.has(name))).toEqual([]);
  });

  it("leaves out no metric that a part writes", () => {
    const asked = shown();
    expect([...emitted()].filter((name) => !asked.has(name))).toEqual([]);
  });
});
