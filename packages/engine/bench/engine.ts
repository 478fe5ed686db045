// Measures the engine in process, on a PostgreSQL of its own with fsync on: node packages/engine/bench/engine.ts [seconds]
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Secret } from "@torpor/kernel";
import { freshDatabase, startTestPostgres } from "@torpor/testkit";
import { createEngine, type Engine, type EnvironmentRef, type WorkerRef } from "../src/index.ts";

const SECONDS = Number(process.argv[2] ?? 4);

async function main(): Promise<void> {
  const postgres = await startTestPostgres({ fsync: true });
  const database = await freshDatabase(postgres.connectionString);
  const engine = createEngine({
    connectionString: database.connectionString,
    settings: { encryptionKey: new Secret("00".repeat(32)), environmentConcurrencyLimit: 10_000 },
  });
  try {
    await engine.start();
    const { environments } = await engine.ensureProject({ ref: "proj_bench" });
    const env = environments[0];
    if (env === undefined) throw new Error("Cannot measure without an environment");
    const group = await engine.ensureWorkerGroup({ name: "bench", token: "tr_wgt_bench" });
    const worker: WorkerRef = { workerGroupId: group.id, instanceName: "bench", runnerId: "bench" };
    await engine.deploy(env, {
      imageReference: "img",
      contentHash: "h",
      runtime: "node",
      sdkVersion: "4.8.3",
      cliVersion: "4.8.3",
      tasks: [{ id: "noop", filePath: "a.ts", retry: { maxAttempts: 3 } }],
      queues: [],
    });
    await measure("warm-up", postgres.server.pid, 16, () => lifeCycle(engine, env, worker), 2);
    await measure("life cycles, 1 client", postgres.server.pid, 1, () => lifeCycle(engine, env, worker));
    await measure("life cycles, 16 clients", postgres.server.pid, 16, () => lifeCycle(engine, env, worker));
    await latency(engine, env, worker);
    await timers(engine, env);
    await measure("triggers, 1 client", postgres.server.pid, 1, () => trigger(engine, env));
    await measure("triggers, 16 clients", postgres.server.pid, 16, () => trigger(engine, env));
  } finally {
    await engine.close();
    await database.close();
    await postgres.close();
  }
}

async function trigger(engine: Engine, env: EnvironmentRef): Promise<string> {
  const outcome = await engine.trigger(env, "noop", { payload: '{"hello":"world"}', payloadType: "application/json" });
  if (outcome.kind !== "triggered") throw new Error(outcome.message);
  return outcome.runId;
}

async function lifeCycle(engine: Engine, env: EnvironmentRef, worker: WorkerRef): Promise<void> {
  await trigger(engine, env);
  const [message] = await engine.dequeue(worker, { waitMs: 10_000, signal: new AbortController().signal });
  if (message === undefined) throw new Error("Cannot dequeue");
  const id = message.run.friendlyId;
  const started = await engine.startAttempt(worker, id, message.snapshot.friendlyId, { isWarmStart: false });
  if (started.kind !== "started") throw new Error(started.message);
  const done = await engine.completeAttempt(
    worker,
    id,
    started.result.snapshot.friendlyId,
    { ok: true, id, output: '"done"', outputType: "application/json" },
    { forceRequeue: false },
  );
  if (done.kind !== "completed") throw new Error(done.message);
}

async function measure(name: string, serverPid: number, clients: number, work: () => Promise<unknown>, seconds = SECONDS): Promise<void> {
  const until = performance.now() + seconds * 1000;
  const [node0, pg0, t0] = [process.cpuUsage(), await treeCpuMs(serverPid), performance.now()];
  let done = 0;
  await Promise.all(
    Array.from({ length: clients }, async () => {
      while (performance.now() < until) {
        await work();
        done++;
      }
    }),
  );
  const tookMs = performance.now() - t0;
  const node = process.cpuUsage(node0);
  const nodeMs = (node.user + node.system) / 1000 / done;
  const pgMs = ((await treeCpuMs(serverPid)) - pg0) / done;
  console.log(
    `${name.padEnd(26)} ${(done / (tookMs / 1000)).toFixed(0).padStart(6)}/s   CPU ms each: engine ${nodeMs.toFixed(2)}, database ${pgMs.toFixed(2)}`,
  );
}

async function latency(engine: Engine, env: EnvironmentRef, worker: WorkerRef): Promise<void> {
  const times: number[] = [];
  for (let n = 0; n < 200; n++) {
    const answer = engine.dequeue(worker, { waitMs: 10_000, signal: new AbortController().signal });
    await sleep(5);
    const t0 = performance.now();
    await trigger(engine, env);
    const [message] = await answer;
    times.push(performance.now() - t0);
    if (message !== undefined)
      await engine.startAttempt(worker, message.run.friendlyId, message.snapshot.friendlyId, { isWarmStart: false });
  }
  print("trigger to dequeue, ms", times);
}

/** From the due time of a delay to the moment in which the run is queued. */
async function timers(engine: Engine, env: EnvironmentRef): Promise<void> {
  const times: number[] = [];
  for (let n = 0; n < 50; n++) {
    const delayUntil = new Date(Date.now() + 60 + (n % 7) * 9);
    const outcome = await engine.trigger(env, "noop", { payloadType: "application/json", delayUntil });
    if (outcome.kind !== "triggered") throw new Error(outcome.message);
    await sleep(160);
    const run = await engine.getRun(env, outcome.runId);
    times.push((run?.queuedAt?.getTime() ?? Number.NaN) - delayUntil.getTime());
  }
  print("timer lateness, ms", times);
}

function print(name: string, times: number[]): void {
  times.sort((a, b) => a - b);
  const at = (share: number): string => (times[Math.floor(times.length * share)] ?? Number.NaN).toFixed(1);
  console.log(`${name.padEnd(26)} p50 ${at(0.5)}  p95 ${at(0.95)}  max ${at(0.9999)}`);
}

/** CPU that a process and its children have used (ms). */
async function treeCpuMs(pid: number): Promise<number> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "")).trim().split(" ").filter(Boolean);
  const own = await Promise.all([pid, ...children.map(Number)].map(cpuMs));
  return own.reduce((sum, ms) => sum + ms, 0);
}

async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 10;
}

await main();
