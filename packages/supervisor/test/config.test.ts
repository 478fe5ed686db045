import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { inspect } from "node:util";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ConfigError, readConfig } from "../src/config.ts";
import { ENV } from "./node.ts";

const read = (change: Record<string, string | undefined> = {}) => readConfig({ ...ENV, ...change }, { instanceName: () => "made-up" });

describe("settings of the supervisor", () => {
  it("names every variable that is missing, at once", () => {
    expect(() => readConfig({}, { instanceName: () => "x" })).toThrow(ConfigError);
    expect(() => readConfig({}, { instanceName: () => "x" })).toThrow(
      /TRIGGER_API_URL is not set[\s\S]*TRIGGER_WORKER_TOKEN is not set[\s\S]*COMPUTE_GATEWAY_URL is not set/,
    );
  });

  it.each([
    ["COMPUTE_SNAPSHOT_DELAY_MS", "60001"],
    ["COMPUTE_SNAPSHOT_DISPATCH_LIMIT", "0"],
    ["TRIGGER_API_URL", "ftp://x"],
    ["COMPUTE_SNAPSHOTS_ENABLED", "perhaps"],
    ["WORKLOAD_TOKEN_ENFORCEMENT", "yes"],
    ["RUNNER_ADDITIONAL_ENV_VARS", "novalue"],
  ])("refuses %s=%s by its name", (name, value) => {
    expect(() => read({ [name]: value })).toThrow(new RegExp(name));
  });

  it("asks for the secret when tokens are switched on", () => {
    expect(() => read({ WORKLOAD_TOKEN_ENFORCEMENT: "enforce" })).toThrow(/WORKLOAD_TOKEN_SECRET/);
  });

  it("reads the worker token from a file, and says which file it cannot read", () => {
    const dir = mkdtempSync(join(tmpdir(), "torpor-config-"));
    try {
      writeFileSync(join(dir, "token"), "tr_wgt_filed\n");
      expect(read({ TRIGGER_WORKER_TOKEN: `file://${join(dir, "token")}` }).platform.token.reveal()).toBe("tr_wgt_filed");
      expect(() => read({ TRIGGER_WORKER_TOKEN: `file://${dir}/nothing` })).toThrow(/TRIGGER_WORKER_TOKEN names .*nothing/);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("prints no secret", () => {
    const text =
      inspect(read({ WORKLOAD_TOKEN_ENFORCEMENT: "log", WORKLOAD_TOKEN_SECRET: "0123456789abcdef" }), { depth: 9 }) +
      JSON.stringify(read());
    for (const secret of [ENV.TRIGGER_WORKER_TOKEN, ENV.MANAGED_WORKER_SECRET, ENV.COMPUTE_GATEWAY_AUTH_TOKEN, "0123456789abcdef"])
      expect(text).not.toContain(secret);
  });

  it("takes an empty variable for an unset one", () => {
    expect(read({ TRIGGER_WARM_START_URL: "", COMPUTE_SNAPSHOT_DELAY_MS: "" })).toMatchObject({
      warmStart: { kind: "off" },
      snapshots: { kind: "on", fixedDelayMs: null },
    });
  });

  it("offers runs to the broker at the dispatch address, else at the runners' own", () => {
    expect(read({ TRIGGER_WARM_START_URL: "http://a" }).warmStart).toMatchObject({ dispatchUrl: "http://a" });
    expect(read({ TRIGGER_WARM_START_URL: "http://a", TRIGGER_WARM_START_DISPATCH_URL: "http://b" }).warmStart).toMatchObject({
      dispatchUrl: "http://b",
      verifyDelayMs: 1000,
    });
  });
});
