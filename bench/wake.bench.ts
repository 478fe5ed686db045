// How late sleeping runs go on: from the planned end of a timer, and from the call that completes a token, to the task's next line.
// Runs follow one another, a few seconds apart, on a plane that does nothing else; sleep is decided by cost, as an operator gets it.
import type { TimelineLineView } from "@torpor/contracts";
import { startBenchPlane, type BenchPlane } from "./lib/benchPlane.ts";
import { figures, medianAndP95 } from "./lib/figures.ts";
import { machineLine } from "./lib/machine.ts";
import { pause } from "./lib/patience.ts";

const cycles = Number(process.argv[process.argv.indexOf("--cycles") + 1]) || 50;
/** Beyond the longest break-even there is, so that the run surely sleeps. */
const TIMER_SECONDS = Number(process.env["TORPOR_BENCH_TIMER_SECONDS"]) || 75;
/** A run begins so long after the one before it. Starting, falling asleep and waking take two cores half of that: what is measured is a wake, not a queue. */
const APART_MS = Number(process.env["TORPOR_BENCH_APART_MS"]) || 8_000;
/** A break-even, and what a busy machine needs. */
const ASLEEP_WITHIN_MS = 300_000;
/** A token is completed when its run has slept this long. */
const ASLEEP_MS = 3_000;
const repoDir = process.env["TORPOR_REPO_DIR"] ?? process.cwd();
const stateDir = process.env["TORPOR_STATE_DIR"] ?? ".torpor";
const given = Object.fromEntries(Object.entries(process.env).filter(([name]) => /^(TORPOR_GATEWAY_|COMPUTE_)/.test(name)));
const env = { PATH: process.env["PATH"] ?? "", TORPOR_RUNSC: process.env["TORPOR_RUNSC"] ?? "", ...given } as Record<string, string>;

interface Wake {
  readonly lateMs: number;
  /** Made ready ahead of time, thawed, or restored; undefined: it had not slept. */
  readonly way: string | undefined;
  readonly restoreMs: number | undefined;
  /** Where the time went, one after the other, from the end of the wait on; a run that was handed out ahead of it begins below zero. */
  readonly steps: Steps;
  /** The gateway's own, of which the first two are side by side. */
  readonly restoreSteps: Steps;
}

type Steps = Readonly<Record<string, number>>;
const RESTORE_STEPS = ["unsealMs", "prepareMs", "consumeMs", "restoreMs", "confirmMs"] as const;

/** Wakes that could not be measured, each with its reason: the command fails. */
const failures: string[] = [];

const bench = await startBenchPlane({ repoDir, stateDir, driver: "gvisor", env });
try {
  await timer(bench, 7); // reads the image from disk
  const timers = await staggered(() => timer(bench, TIMER_SECONDS));
  const tokens = await staggered(() => token(bench));
  const results = { machine: machineLine(), timers, tokens, failures };
  if (process.argv.includes("--json")) console.log(JSON.stringify(results, null, 2));
  else print(results);
} finally {
  await bench.close();
}
process.exitCode = failures.length > 0 ? 1 : 0;

async function staggered(one: () => Promise<Wake>): Promise<Wake[]> {
  const wakes: Promise<Wake | undefined>[] = [];
  for (let cycle = 0; cycle < cycles; cycle++) {
    wakes.push(
      one().catch((error: unknown) => {
        failures.push(error instanceof Error ? error.message : String(error)); // the others are measured all the same
        return undefined;
      }),
    );
    await pause(APART_MS);
  }
  return (await Promise.all(wakes)).filter((wake) => wake !== undefined);
}

async function timer(plane: BenchPlane, seconds: number): Promise<Wake> {
  const runId = await plane.trigger("child", { number: 3, seconds });
  const run = await plane.until(runId, ({ isCompleted, isFailed }) => isCompleted || isFailed, { limitMs: (seconds + 120) * 1000 });
  const events = await plane.timeline(runId);
  const until = /Waits until (\S+)/.exec(events.find(({ name }) => name === "EXECUTING_WITH_WAITPOINTS")?.reason ?? "")?.[1];
  return wakeOf(run.output, Date.parse(until ?? ""), await settled(plane, runId));
}

async function token(plane: BenchPlane): Promise<Wake> {
  const runId = await plane.trigger("token", { timeout: "1h" });
  await plane.until(runId, ({ isWaiting }) => isWaiting, { limitMs: ASLEEP_WITHIN_MS });
  await pause(ASLEEP_MS);
  const calledMs = await plane.complete(runId);
  const run = await plane.until(runId, ({ isCompleted, isFailed }) => isCompleted || isFailed);
  return wakeOf(run.output, calledMs, await settled(plane, runId));
}

function wakeOf(output: unknown, sinceMs: number, events: readonly TimelineLineView[]): Wake {
  const nextLineMs = Number((output as { wokeAtMs?: number } | undefined)?.wokeAtMs);
  const woken = events.find(({ name }) => name === "wake.continued");
  const way = woken?.properties?.["way"];
  const restored = events.find(({ name }) => name === "launch.restored" || name === "wake.ready");
  return {
    lateMs: nextLineMs - sinceMs,
    way: typeof way === "string" ? way : undefined,
    restoreMs: restored?.durationMs,
    steps: stepsOf(events, sinceMs, nextLineMs),
    restoreSteps: Object.fromEntries(RESTORE_STEPS.map((step) => [step, Number(restored?.properties?.[step])])),
  };
}

function stepsOf(events: readonly TimelineLineView[], sinceMs: number, nextLineMs: number): Steps {
  const last = (name: string): number => events.findLast((event) => event.name === name)?.at.getTime() ?? Number.NaN;
  return {
    queued: last("QUEUED") - sinceMs,
    handedOut: last("PENDING_EXECUTING") - last("QUEUED"),
    continued: last("EXECUTING") - Math.max(last("PENDING_EXECUTING"), sinceMs),
    nextLine: nextLineMs - last("EXECUTING"),
  };
}

/** Nodes tell their lines some hundred ms later. */
async function settled(plane: BenchPlane, runId: string): Promise<readonly TimelineLineView[]> {
  await pause(1_000);
  return await plane.timeline(runId);
}

function print({ machine, timers, tokens }: { machine: string; timers: readonly Wake[]; tokens: readonly Wake[] }): void {
  for (const failure of failures) console.log(`not measured: ${failure}`);
  console.log(`${machine}; ${cycles} wakes of each kind, ${APART_MS / 1000} s apart; median / p95 / max, ms late`);
  for (const [name, wakes] of [
    ["timers", timers],
    ["tokens", tokens],
  ] as const) {
    const late = wakes.map(({ lateMs }) => lateMs);
    const ways = Object.entries(Object.groupBy(wakes, ({ way }) => way ?? "awake")).map(([way, group]) => `${group?.length ?? 0} ${way}`);
    console.log(`  ${name}   ${medianAndP95(late)} / ${figures(late).max.toFixed(0)}   (${ways.join(", ")})`);
    console.log(`           ${stepsLine(wakes.map(({ steps }) => steps))}`);
    const restores = wakes.flatMap(({ restoreMs }) => restoreMs ?? []);
    console.log(`           restored in ${medianAndP95(restores)}: ${stepsLine(wakes.map(({ restoreSteps }) => restoreSteps))}`);
  }
}

function stepsLine(all: readonly Steps[]): string {
  const names = Object.keys(all[0] ?? {});
  return names.map((name) => `${name} ${medianAndP95(all.flatMap((steps) => steps[name] ?? []).filter(Number.isFinite))}`).join("   ");
}
