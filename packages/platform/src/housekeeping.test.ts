import { ManualClock, Scope, Secret } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { freshDatabase } from "@torpor/testkit";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OneTimeTokens } from "./auth/oneTimeTokens.ts";
import { PlatformDatabase } from "./database.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { LogRow } from "./telemetry/otlp.ts";
import { TelemetryStore } from "./telemetry/store.ts";

const scope = new Scope();
let database: PlatformDatabase;

beforeAll(async () => {
  const { connectionString } = scope.use(await freshDatabase());
  const open = (): PlatformDatabase => scope.use(new PlatformDatabase({ url: new Secret(connectionString), poolSize: 2, log: silentLog }));
  database = open();
  // Two processes that start at once bring the tables to the newest version once.
  await Promise.all([database.migrate(), open().migrate()]);
});
afterAll(() => scope.close());

const log = (runId: string, at: Date): LogRow => ({
  runId,
  at,
  level: "INFO",
  message: "m",
  spanId: null,
  attemptNumber: null,
  properties: "{}",
});

describe("housekeeping", () => {
  it("deletes what old runs told and tokens that are over, and keeps the rest", async () => {
    const clock = new ManualClock();
    const store = new TelemetryStore(database, { maxLogsPerRun: 10, maxSpansPerRun: 10 });
    const oneTimeTokens = new OneTimeTokens(database);
    const now = (): Date => new Date(clock.nowMs());
    await store.add([], [log("run_old", now())], now());
    await oneTimeTokens.use({ scopes: [], oneTimeId: "used", expiresAt: new Date(clock.nowMs() + 1000) }, "request");
    await clock.advance(3_000_000);
    await store.add([], [log("run_new", now())], now());

    const done = new Promise<void>((resolve) => {
      const watched = { prune: (at: Date) => oneTimeTokens.prune(at).finally(resolve) };
      const housekeeping = new Housekeeping({ clock, log: silentLog, store, oneTimeTokens: watched, retentionMs: 3_000_000 });
      scope.use(housekeeping);
      housekeeping.start();
    });
    await clock.advance(600_000);
    await done;

    expect(await store.logsOf("run_old", "0", 10)).toEqual([]);
    expect(await store.logsOf("run_new", "0", 10)).toHaveLength(1);
    // Its row is gone, so the same id could be used again; the token itself has expired long ago.
    await oneTimeTokens.use({ scopes: [], oneTimeId: "used", expiresAt: now() }, "another");
  });
});
