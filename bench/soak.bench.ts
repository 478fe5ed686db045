// Sleeping and waking over and over, for real: several sandboxes at once, wakes aimed at each phase of falling asleep, and `kill -9`
// of one part after another while sandboxes are frozen or restored. After each wake the task checks its memory. Nothing may be lost,
// run twice, damaged or left behind; the command fails when something is.
import { gateway, sdkWaits, type InstanceState, type InstanceView } from "@torpor/contracts";
import { leftoversOf } from "@torpor/cli";
import { startBenchPlane, type BenchPlane } from "./lib/benchPlane.ts";
import { figures } from "./lib/figures.ts";
import { machineLine } from "./lib/machine.ts";
import { pause, quietly, retried, until } from "./lib/patience.ts";

const RUNS = 8;
const cycles = Number(process.argv[process.argv.indexOf("--cycles") + 1]) || 240;
const cyclesPerRun = Math.ceil(cycles / RUNS);
/** Enough that writing and reading it takes a while, so that wakes and kills find it half done. */
const FILL_MB = 48;
const LOOK_EVERY_MS = 10;
const json = process.argv.includes("--json");
const repoDir = process.env["TORPOR_REPO_DIR"] ?? process.cwd();
const stateDir = process.env["TORPOR_STATE_DIR"] ?? ".torpor";

/** Where a wake hits. */
const PHASES = ["awake", "freezing", "held", "asleep"] as const;
type Phase = (typeof PHASES)[number];

/** What is killed, and which state some sandbox is in at that moment. */
const KILLS = [
  ["gateway", "freezing"],
  ["supervisor", "held"],
  ["platform", "freezing"],
  ["postgresql", "held"],
  ["gateway", "starting"],
  ["supervisor", "starting"],
  ["gateway", "held"],
  ["supervisor", "freezing"],
] as const;

/** Between two kills the plane may get some work done. */
const KILL_PAUSE_MS = 15_000;

interface Cycle {
  readonly run: number;
  /** Where it was aimed, and the state in which the sandbox really was. */
  readonly aimed: Phase;
  readonly hit: InstanceState | "none";
  readonly completedAtMs: number;
}

const failures: string[] = [];
const kills: string[] = [];

const bench = await startBenchPlane({
  repoDir,
  stateDir,
  driver: "gvisor",
  splitNode: true,
  project: "bench/fixtures/soak",
  env: {
    PATH: process.env["PATH"] ?? "",
    COMPUTE_SNAPSHOT_DELAY_MS: "500",
    TRIGGER_WARM_START_KEEPALIVE_MS: "0",
    TORPOR_RUNSC: process.env["TORPOR_RUNSC"] ?? "",
  },
});
let left: readonly string[] = [];
try {
  const result = await soak(bench);
  await untilNothingIsLeft(bench);
  await bench.close();
  left = await leftoversOf(bench.plane.file.planeId);
  report(result);
} finally {
  await bench.close();
}
process.exitCode = failures.length > 0 || left.length > 0 ? 1 : 0;

async function soak(plane: BenchPlane) {
  const startedMs = performance.now();
  const over = new AbortController();
  const all = Promise.all(Array.from({ length: RUNS }, (_, index) => soakRun(plane, index))).finally(() => over.abort());
  const [runs] = await Promise.all([all, killParts(plane, over.signal)]);
  return { runs, durationMs: performance.now() - startedMs };
}

/** One run, through all its cycles. */
async function soakRun(plane: BenchPlane, index: number) {
  const tokens: string[] = [];
  for (let count = 0; count < cyclesPerRun; count++)
    tokens.push((await retried(() => plane.sdk.call(sdkWaits.createToken, { body: { timeout: "2h" } }))).id);
  const runId = await plane.trigger("soak", { tokens, fillMb: FILL_MB });
  const done: Cycle[] = [];
  for (const [count, tokenId] of tokens.entries()) {
    const aimed = PHASES[(index + count) % PHASES.length] ?? "asleep";
    const hit = await untilPhase(plane, runId, count, aimed);
    const completedAtMs = Date.now();
    await retried(() => plane.sdk.call(sdkWaits.completeToken, { params: { tokenId }, body: { data: count } }));
    done.push({ run: index, aimed, hit, completedAtMs });
    if (!json && done.length % 5 === 0) console.error(`run ${index + 1}: ${done.length} of ${cyclesPerRun} cycles`);
  }
  const ended = await until(`run ${index} ends`, async () => {
    const seen = await quietly(() => plane.run(runId));
    return seen !== undefined && (seen.isCompleted || seen.isFailed) ? seen : undefined;
  });
  const wakes = judge(index, ended.status, ended.output);
  const events = await plane.timeline(runId);
  const frozen = events.filter(({ name }) => name === "snapshot.frozen");
  return { cycles: done, wakes, events, freezeMs: frozen.flatMap(({ durationMs }) => (durationMs === undefined ? [] : [durationMs])) };
}

interface SoakOutput {
  readonly attempt: number;
  readonly wakes: readonly { readonly atMs: number; readonly inOrder: boolean; readonly isWhole: boolean }[];
}

/** Notes what a run should not have come to; returns when it woke. */
function judge(index: number, status: string, output: unknown): SoakOutput["wakes"] {
  const said = output as SoakOutput | undefined;
  if (status !== "COMPLETED" || said === undefined) {
    failures.push(`run ${index} ended with ${status}`);
    return [];
  }
  if (said.attempt !== 1) failures.push(`run ${index} needed ${said.attempt} attempts`);
  if (said.wakes.length !== cyclesPerRun) failures.push(`run ${index} woke ${said.wakes.length} times instead of ${cyclesPerRun}`);
  for (const [count, wake] of said.wakes.entries()) {
    if (!wake.isWhole) failures.push(`run ${index} had damaged memory after cycle ${count}`);
    if (!wake.inOrder) failures.push(`run ${index} went through cycle ${count} out of order`);
  }
  return said.wakes;
}

/** Waits until the run waits for its token number `count`, and its sandbox is where the wake is to hit. */
async function untilPhase(plane: BenchPlane, runId: string, count: number, aimed: Phase): Promise<Cycle["hit"]> {
  await until(`${runId} waits for token ${count}`, async () => {
    const events = (await quietly(() => plane.timeline(runId))) ?? [];
    return events.filter(({ name }) => name === "EXECUTING_WITH_WAITPOINTS").length > count ? true : undefined;
  });
  const wanted: readonly string[] = {
    awake: ["running"],
    freezing: ["freezing", "held", "none"],
    held: ["held", "none"],
    asleep: ["none"],
  }[aimed];
  const look = async (): Promise<Cycle["hit"] | undefined> => {
    const sandboxes = await instances(plane);
    if (sandboxes === undefined) return undefined;
    const state = stateOf(sandboxes, runId);
    return wanted.includes(state) ? state : undefined;
  };
  return await until(`the sandbox of ${runId} is ${aimed}`, look, () => story(plane, runId));
}

/** What a reader needs to see when a run does not go on. */
async function story(plane: BenchPlane, runId: string): Promise<unknown> {
  const events = (await quietly(() => plane.timeline(runId))) ?? [];
  return {
    kills,
    sandboxes: (await instances(plane))?.map(({ name, state }) => `${name} ${state}`),
    timeline: events.map(({ at, name, reason }) => [at.toISOString().slice(14), name, reason].filter(Boolean).join(" ")),
  };
}

function stateOf(sandboxes: readonly InstanceView[], runId: string): Cycle["hit"] {
  return sandboxes.find(({ metadata }) => metadata["TRIGGER_RUN_ID"] === runId || metadata["runId"] === runId)?.state ?? "none";
}

/** Ends one part after another as a fault would, each when some sandbox is in the named state. */
async function killParts(plane: BenchPlane, signal: AbortSignal): Promise<void> {
  for (let turn = 0; !signal.aborted; turn++) {
    const [part, at] = KILLS[turn % KILLS.length] ?? KILLS[0];
    const isThere = (await instances(plane))?.some(({ state }) => state === at) === true;
    if (!isThere) {
      turn--;
      await pause(LOOK_EVERY_MS);
      continue;
    }
    const { pid } = plane.plane.part(part);
    plane.plane.part(part).kill("SIGKILL");
    kills.push(`${part} while a sandbox was ${at}`);
    await until(`the ${part} is started again`, async () => {
      const now = plane.plane.part(part).pid;
      return now !== undefined && now !== pid ? true : undefined;
    });
    await pause(KILL_PAUSE_MS);
  }
}

/** Live sandboxes; undefined while the gateway is away. */
async function instances(plane: BenchPlane): Promise<readonly InstanceView[] | undefined> {
  const outcome = await plane.node.call(gateway.listInstances);
  return outcome.kind === "ok" ? outcome.body.instances.filter(({ state }) => state !== "gone") : undefined;
}

async function untilNothingIsLeft(plane: BenchPlane): Promise<void> {
  await until("no sandbox and no memory image is left", async () => {
    const sandboxes = await instances(plane);
    const images = await plane.node.call(gateway.listSnapshots);
    return sandboxes?.length === 0 && images.kind === "ok" && images.body.snapshots.length === 0 ? true : undefined;
  });
}

/** From the completion of the token to the task's next line, for wakes of one kind. */
function wakeMs(runs: Awaited<ReturnType<typeof soak>>["runs"], kind: (cycle: Cycle) => boolean): number[] {
  return runs.flatMap(({ cycles: done, wakes }) =>
    done.flatMap((cycle, count) => {
      const wake = wakes[count];
      return wake !== undefined && kind(cycle) ? [wake.atMs - cycle.completedAtMs] : [];
    }),
  );
}

function report({ runs, durationMs }: Awaited<ReturnType<typeof soak>>): void {
  const all = runs.flatMap((run) => run.cycles);
  const names = (name: string): number => runs.flatMap(({ events }) => events).filter((event) => event.name === name).length;
  const result = {
    machine: machineLine(),
    runs: RUNS,
    cycles: all.length,
    durationMs: Math.round(durationMs),
    suspended: names("SUSPENDED"),
    restored: names("launch.restored"),
    kills,
    failures,
    leftovers: left,
    freezeMs: figures(runs.flatMap(({ freezeMs }) => freezeMs)),
    wakeAsleepMs: figures(wakeMs(runs, ({ hit }) => hit === "none")),
    wakeAwakeMs: figures(wakeMs(runs, ({ hit }) => hit === "running")),
    wakeFreezingMs: figures(wakeMs(runs, ({ hit }) => hit === "freezing" || hit === "held")),
  };
  if (json) return console.log(JSON.stringify(result, null, 2));
  const took = (durationMs / 1000).toFixed(0);
  console.log(`${result.machine}; ${RUNS} runs at once, ${FILL_MB} MB of random bytes each, ${result.cycles} cycles in ${took} s`);
  console.log(`  slept on disk          ${result.suspended} times, woke from disk ${result.restored} times`);
  console.log(`  killed with -9         ${kills.length} times: ${[...new Set(kills)].join(", ")}`);
  console.log(line("frozen", result.freezeMs));
  console.log(line("woken from disk", result.wakeAsleepMs));
  console.log(line("woken while freezing", result.wakeFreezingMs));
  console.log(line("woken while awake", result.wakeAwakeMs));
  console.log(`  failures               ${failures.length}${failures.map((one) => `\n    ${one}`).join("")}`);
  console.log(`  left behind            ${left.length}${left.map((one) => `\n    ${one}`).join("")}`);
}

function line(name: string, { count, median, p95, max }: ReturnType<typeof figures>): string {
  return `  ${name.padEnd(22)} ${count} times, ${median.toFixed(0)} / ${p95.toFixed(0)} / ${max.toFixed(0)} ms (median / p95 / most)`;
}
