// What one platform on one PostgreSQL does: triggers and whole life cycles per second over HTTP, from 1 and 16 clients, beside a plain
// INSERT … RETURNING loop over the same driver against the same server in the same run.
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { admin, deployments, sdkRuns, sdkWaits, workerActions, type DequeuedMessage } from "@torpor/contracts";
import { RouteClient, type CallOutcome } from "@torpor/http";
import { Scope } from "@torpor/kernel";
import pg from "pg";
import { startBarePlatform, type BarePlatform } from "./lib/barePlatform.ts";
import { figures, medianAndP95 } from "./lib/figures.ts";
import { machineLine, measureIdle, treeCpuMs } from "./lib/machine.ts";

const SECONDS = 5;
const TASK = "bench";

interface Idle {
  readonly platformBytes: number;
  readonly databaseBytes: number;
  readonly cpuSecondsPerHour: number;
}

interface Rates {
  readonly clients: number;
  readonly perSecond: number;
  readonly platformCpuMs: number;
  readonly databaseCpuMs: number;
  readonly latenciesMs: readonly number[];
}

const json = process.argv.includes("--json");
const stateDir = process.env["TORPOR_STATE_DIR"] ?? ".torpor";
const scratchDir = mkdtempSync(join(stateDir, "bench-"));
const scope = new Scope();
scope.defer(() => rmSync(scratchDir, { recursive: true, force: true }));
try {
  const bare = scope.use(await startBarePlatform(scratchDir));
  const apiKey = await deployBenchTask(bare);
  const results = {
    machine: machineLine(),
    idle: await idleCost(bare),
    baseline: [await insertLoop(bare, 1), await insertLoop(bare, 16)],
    triggers: [await triggers(bare, apiKey, 1), await triggers(bare, apiKey, 16)],
    lifeCycles: [await lifeCycles(bare, apiKey, 1), await lifeCycles(bare, apiKey, 16)],
    dequeueLatencyMs: await dequeueLatency(bare, apiKey),
    timerLatenessMs: await timerLateness(bare, apiKey),
  };
  if (json) console.log(JSON.stringify(results, null, 2));
  else print(results);
} finally {
  await scope.close();
}

/** A task and a queue without limits, so that the engine and not a queue is measured. */
async function deployBenchTask(bare: BarePlatform): Promise<string> {
  const operator = scope.use(
    new RouteClient({ baseUrl: bare.url, timeoutMs: 10_000, headers: () => ({ authorization: `Bearer ${bare.adminToken}` }) }),
  );
  const { environments } = ok(await operator.call(admin.ensureProject, { body: { ref: "proj_bench" } }));
  const apiKey = environments.find(({ slug }) => slug === "prod")?.apiKey ?? "";
  const manifest = { tasks: [{ id: TASK, filePath: "bench.ts" }] };
  const body = {
    imageReference: "torpor/bench",
    contentHash: "bench",
    runtime: "node",
    sdkVersion: "4.8.3",
    cliVersion: "4.8.3",
    manifest,
  };
  ok(await sdkClient(bare, apiKey).call(deployments.create, { body }));
  return apiKey;
}

function sdkClient(bare: BarePlatform, apiKey: string): RouteClient {
  return scope.use(
    new RouteClient({
      baseUrl: bare.url,
      timeoutMs: 30_000,
      headers: () => ({ authorization: `Bearer ${apiKey}`, "x-trigger-api-version": "2025-07-16" }),
    }),
  );
}

function workerClient(bare: BarePlatform, name: string): RouteClient {
  const headers = {
    authorization: `Bearer ${bare.workerToken}`,
    "x-trigger-worker-instance-name": name,
    "x-trigger-worker-managed-secret": bare.managedSecret,
  };
  return scope.use(new RouteClient({ baseUrl: bare.url, timeoutMs: 30_000, headers: () => headers }));
}

/** Runs `one` from `clients` loops for some seconds and says how often it was done and what it cost. */
async function measure(bare: BarePlatform, clients: number, one: (client: number) => Promise<void>): Promise<Rates> {
  const endMs = performance.now() + SECONDS * 1000;
  const latenciesMs: number[] = [];
  const cpuBefore = [treeCpuMs(bare.platformPid), treeCpuMs(bare.databasePid)] as const;
  await Promise.all(
    Array.from({ length: clients }, async (_value, client) => {
      while (performance.now() < endMs) {
        const startedMs = performance.now();
        await one(client);
        latenciesMs.push(performance.now() - startedMs);
      }
    }),
  );
  const count = latenciesMs.length;
  return {
    clients,
    perSecond: count / SECONDS,
    platformCpuMs: (treeCpuMs(bare.platformPid) - cpuBefore[0]) / count,
    databaseCpuMs: (treeCpuMs(bare.databasePid) - cpuBefore[1]) / count,
    latenciesMs,
  };
}

async function insertLoop(bare: BarePlatform, clients: number): Promise<Rates> {
  const pool = new pg.Pool({ connectionString: bare.databaseUrl, max: clients });
  try {
    await pool.query(
      "create table if not exists baseline (id bigserial primary key, payload text not null, at timestamptz not null default now())",
    );
    return await measure(
      bare,
      clients,
      async () =>
        void (await pool.query({ name: "baseline", text: "insert into baseline (payload) values ($1) returning id", values: ["{}"] })),
    );
  } finally {
    await pool.end();
  }
}

async function triggers(bare: BarePlatform, apiKey: string, clients: number): Promise<Rates> {
  const client = sdkClient(bare, apiKey);
  const rates = await measure(
    bare,
    clients,
    async () =>
      void ok(
        await client.call(sdkRuns.trigger, {
          params: { taskId: TASK },
          body: { payload: "{}", options: { payloadType: "application/json" } },
        }),
      ),
  );
  await drain(bare);
  return rates;
}

async function lifeCycles(bare: BarePlatform, apiKey: string, clients: number): Promise<Rates> {
  const sdk = sdkClient(bare, apiKey);
  const worker = workerClient(bare, "bench");
  return await measure(bare, clients, async () => {
    ok(
      await sdk.call(sdkRuns.trigger, { params: { taskId: TASK }, body: { payload: "{}", options: { payloadType: "application/json" } } }),
    );
    const [message] = ok(await worker.call(workerActions.dequeue, { body: {} }));
    if (message !== undefined) await finish(worker, message);
  });
}

async function finish(worker: RouteClient, message: DequeuedMessage): Promise<void> {
  const runId = message.run.friendlyId;
  const started = ok(
    await worker.call(workerActions.startAttempt, { params: { runId, snapshotId: message.snapshot.friendlyId }, body: {} }),
  );
  const completion = { ok: true, id: runId, output: "1", outputType: "application/json" } as const;
  ok(
    await worker.call(workerActions.completeAttempt, { params: { runId, snapshotId: started.snapshot.friendlyId }, body: { completion } }),
  );
}

/** Takes what the trigger measurement left in the queue. */
async function drain(bare: BarePlatform): Promise<void> {
  const worker = workerClient(bare, "drain");
  let empty = 0;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      while (empty < 16) {
        const [message] = ok(await worker.call(workerActions.dequeue, { body: {} }));
        if (message === undefined) empty++;
        else await finish(worker, message);
      }
    }),
  );
}

/** From the call of trigger to the answer of a dequeue that was waiting for it. */
async function dequeueLatency(bare: BarePlatform, apiKey: string): Promise<number[]> {
  const sdk = sdkClient(bare, apiKey);
  const worker = workerClient(bare, "latency");
  const latencies: number[] = [];
  for (let round = 0; round < 100; round++) {
    const waiting = worker.call(workerActions.dequeue, { body: {} });
    await new Promise((resolve) => setTimeout(resolve, 20)); // the poll must be waiting when the trigger comes
    const startedMs = performance.now();
    await sdk.call(sdkRuns.trigger, { params: { taskId: TASK }, body: { payload: "{}", options: { payloadType: "application/json" } } });
    const [message] = ok(await waiting);
    latencies.push(performance.now() - startedMs);
    if (message !== undefined) await finish(worker, message);
  }
  return latencies;
}

/** How late runs that wait for a time are resumed, on an idle plane. */
async function timerLateness(bare: BarePlatform, apiKey: string): Promise<number[]> {
  const sdk = sdkClient(bare, apiKey);
  const worker = workerClient(bare, "timers");
  const lateness: number[] = [];
  for (let round = 0; round < 40; round++) {
    ok(
      await sdk.call(sdkRuns.trigger, { params: { taskId: TASK }, body: { payload: "{}", options: { payloadType: "application/json" } } }),
    );
    const [message] = ok(await worker.call(workerActions.dequeue, { body: {} }));
    if (message === undefined) continue;
    const runId = message.run.friendlyId;
    ok(await worker.call(workerActions.startAttempt, { params: { runId, snapshotId: message.snapshot.friendlyId }, body: {} }));
    const date = new Date(Date.now() + 150 + round * 3);
    ok(await sdk.call(sdkWaits.waitUntil, { params: { runId }, body: { date } }));
    for (;;) {
      const { execution } = ok(await worker.call(workerActions.latestSnapshot, { params: { runId } }));
      if (execution.snapshot.executionStatus !== "EXECUTING") {
        await new Promise((resolve) => setTimeout(resolve, 2));
        continue;
      }
      lateness.push(execution.snapshot.createdAt.getTime() - date.getTime());
      const completion = { ok: true, id: runId, outputType: "application/json" } as const;
      ok(
        await worker.call(workerActions.completeAttempt, {
          params: { runId, snapshotId: execution.snapshot.friendlyId },
          body: { completion },
        }),
      );
      break;
    }
  }
  return lateness;
}

/** Memory and CPU of the platform and PostgreSQL when nothing happens. */
async function idleCost(bare: BarePlatform): Promise<Idle> {
  const [platform, database] = await Promise.all([measureIdle(bare.platformPid), measureIdle(bare.databasePid)]);
  return {
    platformBytes: platform.bytes,
    databaseBytes: database.bytes,
    cpuSecondsPerHour: platform.cpuSecondsPerHour + database.cpuSecondsPerHour,
  };
}

function ok<T>(outcome: CallOutcome<T>): T {
  if (outcome.kind === "ok") return outcome.body;
  throw new Error(`Cannot measure: ${JSON.stringify(outcome)}`);
}

type Results = {
  readonly machine: string;
  readonly baseline: readonly Rates[];
  readonly triggers: readonly Rates[];
  readonly lifeCycles: readonly Rates[];
  readonly dequeueLatencyMs: readonly number[];
  readonly timerLatenessMs: readonly number[];
  readonly idle: Idle;
};

function print(results: Results): void {
  console.log(results.machine);
  const rows = [
    ["INSERT … RETURNING", results.baseline],
    ["trigger", results.triggers],
    ["life cycle", results.lifeCycles],
  ] as const;
  console.log("what                clients   per second   ms median / p95   CPU ms platform   CPU ms PostgreSQL");
  for (const [name, all] of rows) {
    for (const { clients, perSecond, latenciesMs, platformCpuMs, databaseCpuMs } of all) {
      console.log(
        `${name.padEnd(20)}${String(clients).padStart(7)}${perSecond.toFixed(0).padStart(13)}${medianAndP95(latenciesMs, 1).padStart(18)}${platformCpuMs.toFixed(2).padStart(18)}${databaseCpuMs.toFixed(2).padStart(20)}`,
      );
    }
  }
  console.log(
    `trigger → dequeue's answer   ${medianAndP95(results.dequeueLatencyMs, 1)} ms (median / p95 of ${results.dequeueLatencyMs.length})`,
  );
  console.log(
    `timer lateness               ${medianAndP95(results.timerLatenessMs, 1)} ms, at most ${figures(results.timerLatenessMs).max} ms (${results.timerLatenessMs.length} timers)`,
  );
  console.log(
    `idle                         platform ${(results.idle.platformBytes / 2 ** 20).toFixed(0)} MiB, PostgreSQL ${(results.idle.databaseBytes / 2 ** 20).toFixed(0)} MiB, ${results.idle.cpuSecondsPerHour.toFixed(0)} CPU s per hour`,
  );
}
