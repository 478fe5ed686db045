// What sleeping costs: cold start, freeze, wake, bytes on disk and memory, over cycles on an idle plane, with the share of each step.
// The baseline is the same project on the same plane without sandboxes, where waits stay in memory.
import { gateway, type RetrievedRun, type TimelineLineView } from "@torpor/contracts";
import { unwrap } from "@torpor/cli";
import { startBenchPlane, type BenchPlane } from "./lib/benchPlane.ts";
import { figures, medianAndP95 } from "./lib/figures.ts";
import { machineLine, measureIdle } from "./lib/machine.ts";

/** Shortest wait that is not an ordinary timer of the SDK is above 5 s. */
const NAP_SECONDS = 7;
const cycles = Number(process.argv[process.argv.indexOf("--cycles") + 1]) || 20;
/** The baseline is there for its middle, not for its tail. */
const BASELINE_CYCLES = Math.min(cycles, 8);
const json = process.argv.includes("--json");
const repoDir = process.env["TORPOR_REPO_DIR"] ?? process.cwd();
const stateDir = process.env["TORPOR_STATE_DIR"] ?? ".torpor";

type Steps = Readonly<Record<string, number>>;

interface Measured {
  /** Parts of the plane, PostgreSQL and the process that started them, with no run. */
  readonly idle: { readonly bytes: number; readonly cpuSecondsPerHour: number };
  readonly coldStarts: readonly Steps[];
  readonly wakes: readonly Steps[];
  readonly freezeMs: readonly number[];
  readonly sizeBytes: readonly number[];
  readonly awakeBytes: readonly number[];
  readonly asleepProcesses: readonly number[];
}

const env = {
  PATH: process.env["PATH"] ?? "",
  COMPUTE_SNAPSHOT_DELAY_MS: "500",
  TORPOR_GATEWAY_TEMPLATES: "off", // each start that is measured here boots
  TRIGGER_WARM_START_KEEPALIVE_MS: "0", // and leaves when its run has ended
  TORPOR_RUNSC: process.env["TORPOR_RUNSC"] ?? "",
};
const results = {
  machine: machineLine(),
  cycles,
  sandboxed: await measureOn("gvisor", cycles),
  plain: await measureOn("process", BASELINE_CYCLES),
};
if (json) console.log(JSON.stringify(results, null, 2));
else print();

async function measureOn(driver: "gvisor" | "process", times: number): Promise<Measured> {
  const bench = await startBenchPlane({ repoDir, stateDir, driver, env });
  try {
    const idle = await measureIdle(process.pid);
    await coldStart(bench); // the first start reads the image from disk
    const coldStarts: Steps[] = [];
    for (let cycle = 0; cycle < times; cycle++) coldStarts.push(await coldStart(bench));
    const naps = [];
    for (let cycle = 0; cycle < times; cycle++) naps.push(await nap(bench, driver === "gvisor"));
    return {
      idle,
      coldStarts,
      wakes: naps.map(({ wake }) => wake),
      freezeMs: naps.flatMap(({ freezeMs }) => (freezeMs === undefined ? [] : [freezeMs])),
      sizeBytes: naps.flatMap(({ sizeBytes }) => (sizeBytes === undefined ? [] : [sizeBytes])),
      awakeBytes: naps.map(({ awakeBytes }) => awakeBytes),
      asleepProcesses: naps.flatMap(({ asleepProcesses }) => (asleepProcesses === undefined ? [] : [asleepProcesses])),
    };
  } finally {
    await bench.close();
  }
}

/** From the call of trigger to the task's first line, which says itself when that was. */
async function coldStart(bench: BenchPlane): Promise<Steps> {
  const calledMs = Date.now();
  const runId = await bench.trigger("hello", {});
  const run = await bench.until(runId, ({ isCompleted }) => isCompleted);
  const events = await settledTimeline(bench, runId, "launch.created");
  const handedOutMs = atOf(events, "PENDING_EXECUTING");
  const created = events.find(({ name }) => name === "launch.created");
  const createdMs = created?.at.getTime() ?? Number.NaN;
  const startedMs = atOf(events, "EXECUTING");
  const firstLineMs = numberIn(run.output, "startedAtMs");
  await waitForQuiet(bench);
  return {
    queue: handedOutMs - calledMs,
    dispatch: createdMs - handedOutMs - (created?.durationMs ?? 0),
    sandbox: created?.durationMs ?? Number.NaN,
    runner: startedMs - createdMs,
    child: firstLineMs - startedMs,
    total: firstLineMs - calledMs,
  };
}

async function nap(bench: BenchPlane, sleeps: boolean) {
  const runId = await bench.trigger("child", { number: 3, seconds: NAP_SECONDS });
  await untilTimeline(bench, runId, "EXECUTING_WITH_WAITPOINTS");
  const awakeBytes = await memoryOf(bench);
  let asleepProcesses: number | undefined;
  if (sleeps) {
    await bench.until(runId, ({ isWaiting, isCompleted }) => isWaiting || isCompleted);
    await new Promise((resolve) => setTimeout(resolve, 300)); // destroying the frozen sandbox takes some tens of ms
    asleepProcesses = (await instances(bench)).reduce((sum, { processCount }) => sum + (processCount ?? 0), 0);
  }
  const run = await bench.until(runId, ({ isCompleted, isFailed }) => isCompleted || isFailed);
  const events = await settledTimeline(bench, runId, sleeps ? "wake.continued" : "FINISHED");
  await waitForQuiet(bench);
  const frozen = events.find(({ name }) => name === "snapshot.frozen");
  const size = frozen?.properties?.["sizeBytes"];
  return {
    wake: wakeSteps(run, events, sleeps),
    freezeMs: frozen?.durationMs,
    sizeBytes: typeof size === "number" ? size : undefined,
    awakeBytes,
    asleepProcesses,
  };
}

/** From the planned end of the wait to the task's next line; a run that was handed out ahead of that begins below zero (bench wake has restores). */
function wakeSteps(run: RetrievedRun, events: readonly TimelineLineView[], sleeps: boolean): Steps {
  const nextLineMs = numberIn(run.output, "wokeAtMs");
  const until = /Waits until (\S+)/.exec(events.find(({ name }) => name === "EXECUTING_WITH_WAITPOINTS")?.reason ?? "")?.[1];
  const endMs = until === undefined ? Number.NaN : Date.parse(until);
  const last = (name: string): number => events.findLast((event) => event.name === name)?.at.getTime() ?? Number.NaN;
  if (!sleeps) return { timer: last("EXECUTING") - endMs, resume: nextLineMs - last("EXECUTING"), total: nextLineMs - endMs };
  return {
    timer: last("QUEUED") - endMs,
    handOut: last("PENDING_EXECUTING") - last("QUEUED"),
    continued: last("EXECUTING") - Math.max(last("PENDING_EXECUTING"), endMs),
    resume: nextLineMs - last("EXECUTING"),
    total: nextLineMs - endMs,
  };
}

async function instances(bench: BenchPlane) {
  return unwrap(await bench.node.call(gateway.listInstances)).instances.filter(({ state }) => state !== "gone");
}

async function memoryOf(bench: BenchPlane): Promise<number> {
  return (await instances(bench)).reduce((sum, { memoryBytes }) => sum + (memoryBytes ?? 0), 0);
}

/** Until no sandbox is left: each cycle begins on an idle node. */
async function waitForQuiet(bench: BenchPlane): Promise<void> {
  while ((await instances(bench)).length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
}

async function untilTimeline(bench: BenchPlane, runId: string, name: string): Promise<void> {
  while (!(await bench.timeline(runId)).some((event) => event.name === name)) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Nodes tell their lines some hundred ms later. */
async function settledTimeline(bench: BenchPlane, runId: string, name: string): Promise<readonly TimelineLineView[]> {
  await untilTimeline(bench, runId, name);
  return await bench.timeline(runId);
}

function atOf(events: readonly TimelineLineView[], name: string): number {
  return events.find((event) => event.name === name)?.at.getTime() ?? Number.NaN;
}

function numberIn(output: unknown, key: string): number {
  return typeof output === "object" && output !== null && key in output ? Number((output as Record<string, unknown>)[key]) : Number.NaN;
}

function print(): void {
  console.log(`${results.machine}; ${cycles} cycles (baseline: ${BASELINE_CYCLES}) on an otherwise idle plane; median / p95`);
  for (const [name, measured] of [
    ["gVisor sandboxes", results.sandboxed],
    ["plain processes", results.plain],
  ] as const) {
    console.log(`\n${name}`);
    console.log(
      `  idle plane       ${(measured.idle.bytes / 2 ** 20).toFixed(0)} MiB with this process, ${measured.idle.cpuSecondsPerHour.toFixed(0)} CPU s per hour`,
    );
    console.log(`  cold start, ms   ${stepsLine(measured.coldStarts)}`);
    console.log(`  wake, ms         ${stepsLine(measured.wakes)}`);
    if (measured.freezeMs.length > 0) console.log(`  freeze, ms       ${medianAndP95(measured.freezeMs)}`);
    if (measured.sizeBytes.length > 0)
      console.log(
        `  on disk, MB      ${medianAndP95(
          measured.sizeBytes.map((bytes) => bytes / 1e6),
          1,
        )}`,
      );
    console.log(
      `  awake, MB        ${medianAndP95(
        measured.awakeBytes.map((bytes) => bytes / 1e6),
        1,
      )} of memory while it waits in memory`,
    );
    if (measured.asleepProcesses.length > 0)
      console.log(`  asleep           ${figures(measured.asleepProcesses).max} processes and no memory, at most`);
  }
}

function stepsLine(all: readonly Steps[]): string {
  const names = Object.keys(all[0] ?? {});
  return names.map((name) => `${name} ${medianAndP95(all.map((steps) => steps[name] ?? Number.NaN))}`).join("   ");
}
