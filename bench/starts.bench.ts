// How long a run takes from the call of trigger to its task's first line: in a runner that waited for it, in a clone that waited for
// somebody, in a clone that is made when it is asked for, in a sandbox that is booted, and, as the baseline, in a plain process without
// any sandbox; with the share of each step, on an idle machine and beside one busy process per CPU. Then a burst, and the memory of a
// runner that waits, of a sandbox whose task waits, and of sandboxes that are made ready ahead.
import { spawn, type ChildProcess } from "node:child_process";
import { loadavg, cpus } from "node:os";
import { gateway, type InstanceView } from "@torpor/contracts";
import { unwrap } from "@torpor/cli";
import { startBenchPlane, type BenchPlane } from "./lib/benchPlane.ts";
import { figures, medianAndP95 } from "./lib/figures.ts";
import { machineLine } from "./lib/machine.ts";
import { pause } from "./lib/patience.ts";
import { gather, numberIn, STEPS, type Start, type Triggered } from "./lib/startSteps.ts";

const option = (name: string, fallback: number): number => Number(process.argv[process.argv.indexOf(`--${name}`) + 1]) || fallback;
const starts = process.argv.includes("--starts") ? option("starts", 50) : 50;
const burstSize = process.argv.includes("--burst") ? option("burst", 100) : 100;
const json = process.argv.includes("--json");
const repoDir = process.env["TORPOR_REPO_DIR"] ?? process.cwd();
const stateDir = process.env["TORPOR_STATE_DIR"] ?? ".torpor";

/** Idle sandboxes, or sandboxes whose task waits, that are weighed at once. */
const WEIGHED = 4;
const RUN_LIMIT_MS = 60_000;
const KEPT_MS = "120000";
const PREPARED_MS = 700;
/** A phase ends after this even if it has had fewer starts than wanted, which is then said: the whole takes some 11 minutes at most. */
const PHASE_LIMIT_MS = process.argv.includes("--full") ? { idle: 600_000, busy: 600_000 } : { idle: 80_000, busy: 40_000 };
/** A spare is made when nothing has started for half a second. One that is not there after this is done without. */
const SPARE_WITHIN_MS = 10_000;

/** How a start is wanted; a spare is a clone that was there. */
type Kind = "warm" | "spare" | "clone" | "cold";

interface Phase {
  readonly load: number;
  readonly starts: readonly Start[];
}

interface Measured {
  readonly idle: Phase;
  readonly busy: Phase;
}

interface Burst {
  readonly size: number;
  readonly kinds: Readonly<Record<string, number>>;
  readonly failed: number;
  /** From the first call of trigger to the last first line. */
  readonly tookMs: number;
  /** Runs that began before one that was triggered 100 ms or more earlier. */
  readonly outOfOrder: number;
}

const shared = { PATH: process.env["PATH"] ?? "", TORPOR_RUNSC: process.env["TORPOR_RUNSC"] ?? "", COMPUTE_SNAPSHOT_DELAY_MS: "60000" };
const kept = { ...shared, TRIGGER_WARM_START_KEEPALIVE_MS: KEPT_MS, TORPOR_WARM_START_MAX_KEEPALIVE_MS: KEPT_MS };
const left = { ...shared, TRIGGER_WARM_START_KEEPALIVE_MS: "0" };

const startedMs = performance.now();
const machine = machineLine();
say(`${machine}; ${starts} starts each, one after another, trigger → first line of the task; ms, median / p95`);
const warm = await onPlane("gvisor", { ...kept, TORPOR_GATEWAY_TEMPLATES: "on" }, async (bench) => ({
  measured: await measure(bench, "warm", "warm (in a runner that waited)"),
  idleRunnerBytes: await weighIdle(bench),
  burst: await burst(bench),
}));
const spare = await onPlane("gvisor", { ...left, TORPOR_GATEWAY_TEMPLATES: "on", TORPOR_GATEWAY_SPARES: "2" }, async (bench) => ({
  measured: await measure(bench, "spare", "clone (of a booted template; it waits for somebody)"),
  spareBytes: await weighSpares(bench),
}));
const clone = await onPlane("gvisor", { ...left, TORPOR_GATEWAY_TEMPLATES: "on", TORPOR_GATEWAY_SPARES: "0" }, async (bench) => ({
  measured: await measure(bench, "clone", "clone (of a booted template; made when it is asked for)"),
  waitingBytes: await weighWaiting(bench),
}));
const cold = await onPlane("gvisor", { ...left, TORPOR_GATEWAY_TEMPLATES: "off" }, async (bench) => ({
  measured: await measure(bench, "cold", "cold (a sandbox is booted)"),
  waitingBytes: await weighWaiting(bench),
}));
const plain = await onPlane("process", left, async (bench) => ({
  measured: await measure(bench, "cold", "plain (a process, no sandbox)"),
}));
const tookMs = performance.now() - startedMs;
if (json) console.log(JSON.stringify({ machine, starts, warm, spare, clone, cold, plain, tookMs }, null, 2));
sayTheRest();

async function onPlane<T>(driver: "gvisor" | "process", env: Record<string, string>, work: (bench: BenchPlane) => Promise<T>): Promise<T> {
  const bench = await startBenchPlane({ repoDir, stateDir, driver, env });
  const stop = (): void => {
    process.on("uncaughtException", () => {}); // what was being measured fails now, and must not end the clearing away
    void Promise.resolve(bench.close()).finally(() => process.exit(1));
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
  try {
    return await work(bench);
  } finally {
    process.off("SIGTERM", stop).off("SIGINT", stop);
    await bench.close();
  }
}

/** Starts one after another, each when the one before has made room: first on the machine as it is, then beside one busy process per CPU. */
async function measure(bench: BenchPlane, kind: Kind, title: string): Promise<Measured> {
  say(`\n${title}`);
  await settled(bench, kind);
  const idle = await phase(bench, kind, PHASE_LIMIT_MS.idle);
  sayPhase("idle", idle);
  const load = cpus().map(() => busyProcess());
  try {
    const busy = await phase(bench, kind, PHASE_LIMIT_MS.busy);
    sayPhase("busy", busy);
    return { idle, busy };
  } finally {
    for (const one of load) one.kill("SIGKILL");
  }
}

/** Runs until a start is of the wanted kind: a first one reads the image from disk, and a template is made after it. */
async function settled(bench: BenchPlane, wanted: Kind): Promise<void> {
  const kind = wanted === "spare" ? "clone" : wanted;
  for (let tries = 0; tries < 20; tries++) {
    const [start] = await gather(bench, [await startOnce(bench, kind)]);
    if (start?.kind === kind && tries > 0) return;
    await pause(500);
  }
  throw new Error(`Cannot measure: after 20 runs none has started ${kind}`);
}

async function phase(bench: BenchPlane, kind: Kind, limitMs: number): Promise<Phase> {
  const load = loadavg()[0] ?? Number.NaN;
  const untilMs = performance.now() + limitMs;
  const runs: Triggered[] = [];
  while (runs.length < starts && performance.now() < untilMs) runs.push(await startOnce(bench, kind));
  return { load, starts: await gather(bench, runs) };
}

async function startOnce(bench: BenchPlane, kind: Kind): Promise<Triggered> {
  if (kind === "spare") await spareIsReady(bench);
  const calledMs = Date.now();
  const runId = await bench.trigger("hello", {});
  const run = await ended(bench, runId);
  // A runner that waits has forked its next worker, which loads for some hundred milliseconds: it has the time to, here
  if (kind === "warm") await pause(PREPARED_MS);
  else while ((await instances(bench)).length > 0) await pause(20);
  return { runId, calledMs, output: run.output };
}

/** As on a node that has had a second of rest since the last start. */
async function spareIsReady(bench: BenchPlane): Promise<void> {
  const untilMs = performance.now() + SPARE_WITHIN_MS;
  while (performance.now() < untilMs && (unwrap(await bench.node.call(gateway.node)).spares?.cloned ?? 0) === 0) await pause(50);
}

async function ended(bench: BenchPlane, runId: string) {
  const run = await bench.until(runId, ({ isCompleted, isFailed }) => isCompleted || isFailed, { limitMs: RUN_LIMIT_MS });
  if (run.isFailed) throw new Error(`Cannot measure: ${runId} failed: ${JSON.stringify(run.error)}`);
  return run;
}

async function instances(bench: BenchPlane): Promise<InstanceView[]> {
  return unwrap(await bench.node.call(gateway.listInstances)).instances.filter(({ state }) => state !== "gone");
}

/** Memory of each runner that waits, after some have run side by side. */
async function weighIdle(bench: BenchPlane): Promise<number[]> {
  const runs = await Promise.all(Array.from({ length: WEIGHED }, () => bench.trigger("hello", {})));
  for (const runId of runs) await ended(bench, runId);
  await pause(500);
  return (await instances(bench)).flatMap(({ memoryBytes }) => memoryBytes ?? []);
}

/** Memory of a clone that waits for somebody, and of a kernel without memory. */
async function weighSpares(bench: BenchPlane): Promise<{ readonly cloned: number; readonly prepared: number }> {
  await spareIsReady(bench);
  await pause(SPARE_WITHIN_MS / 2); // the kernel comes after the clone
  const { spares } = unwrap(await bench.node.call(gateway.node));
  const each = (bytes = 0, count = 0): number => (count === 0 ? Number.NaN : bytes / count);
  return { cloned: each(spares?.clonedBytes, spares?.cloned), prepared: each(spares?.preparedBytes, spares?.prepared) };
}

/** Memory of each sandbox whose task waits for a token. */
async function weighWaiting(bench: BenchPlane): Promise<number[]> {
  const runs = await Promise.all(Array.from({ length: WEIGHED }, () => bench.trigger("token", {})));
  for (const runId of runs) while (!(await bench.timeline(runId)).some(({ name }) => name === "EXECUTING_WITH_WAITPOINTS")) await pause(50);
  await pause(1_000);
  const bytes = (await instances(bench)).flatMap(({ memoryBytes }) => memoryBytes ?? []);
  for (const runId of runs) await bench.complete(runId);
  for (const runId of runs) await ended(bench, runId);
  return bytes;
}

async function burst(bench: BenchPlane): Promise<Burst> {
  const startMs = Date.now();
  const runs: { readonly runId: string; readonly calledMs: number }[] = [];
  for (let count = 0; count < burstSize; count++) runs.push({ calledMs: Date.now(), runId: await bench.trigger("hello", {}) });
  const done: { readonly calledMs: number; readonly firstLineMs: number }[] = [];
  let failed = 0;
  for (const { runId, calledMs } of runs) {
    const run = await bench.until(runId, ({ isCompleted, isFailed }) => isCompleted || isFailed, { limitMs: 3 * RUN_LIMIT_MS });
    if (run.isFailed) failed++;
    else done.push({ calledMs, firstLineMs: numberIn(run.output, "startedAtMs") });
  }
  const kinds = await gather(
    bench,
    runs.map((run) => ({ ...run, output: {} })),
  );
  const counted: Record<string, number> = {};
  for (const { kind } of kinds) counted[kind] = (counted[kind] ?? 0) + 1;
  return {
    size: burstSize,
    kinds: counted,
    failed,
    tookMs: Math.max(...done.map(({ firstLineMs }) => firstLineMs)) - startMs,
    outOfOrder: done.filter((one) => done.some((other) => other.calledMs < one.calledMs - 100 && other.firstLineMs > one.firstLineMs))
      .length,
  };
}

/** Keeps a CPU busy until it is killed; should nobody be left to do so, it ends by itself. */
function busyProcess(): ChildProcess {
  return spawn(process.execPath, ["-e", `const endMs = Date.now() + ${4 * PHASE_LIMIT_MS.busy}; while (Date.now() < endMs);`], {
    stdio: "ignore",
  });
}

/** For people; with --json it goes beside the answer. */
function say(line: string): void {
  if (json) console.error(line);
  else console.log(line);
}

function sayTheRest(): void {
  const handOvers = warm.measured.idle.starts.filter(({ kind }) => kind === "warm").map(({ handOverMs }) => handOverMs);
  const run = warm.burst;
  const kinds = Object.entries(run.kinds).map(([kind, count]) => `${count} ${kind}`);
  say(`\nhand-over by itself (engine → broker → runner shows it), idle: ${medianAndP95(handOvers)}`);
  say(
    `burst of ${run.size}: ${((run.size - run.failed) / (run.tookMs / 1000)).toFixed(1)} starts/s, ${run.failed} failed, ${run.outOfOrder} before one that was triggered 100 ms or more earlier; ${kinds.join(", ")}`,
  );
  say(
    `memory: ${megabytes(warm.idleRunnerBytes)} MB per idle runner; a task that waits: ${megabytes(clone.waitingBytes)} MB in a clone, ${megabytes(cold.waitingBytes)} MB in a booted sandbox; made ready ahead: ${megabytes([spare.spareBytes.cloned])} MB per clone that waits, ${megabytes([spare.spareBytes.prepared])} MB per kernel`,
  );
  say(`took ${Math.round(tookMs / 1000)} s`);
}

function sayPhase(name: string, { load, starts: all }: Phase): void {
  const [kind = "none"] = mostFrequent(all.map((start) => start.kind));
  const fitting = all.filter((start) => start.kind === kind);
  const others = all.length - fitting.length;
  const steps = STEPS.map((step) => `${step} ${medianAndP95(fitting.map((start) => start.steps[step]))}`).join("  ");
  say(
    `  ${name}  ${medianAndP95(fitting.map(({ totalMs }) => totalMs))}  (${fitting.length} ${kind}${others === 0 ? "" : `, ${others} others left out`}; load before ${load.toFixed(1)})`,
  );
  say(`        ${steps}`);
}

function mostFrequent(values: readonly string[]): string[] {
  const count = (value: string): number => values.filter((other) => other === value).length;
  return [...new Set(values)].sort((a, b) => count(b) - count(a));
}

function megabytes(bytes: readonly number[]): string {
  return bytes.length === 0 ? "?" : (figures(bytes).median / 1e6).toFixed(0);
}
