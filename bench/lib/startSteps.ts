// What the timeline of a run says about how it started, and how long each step took.
import type { TimelineLineView } from "@torpor/contracts";
import type { BenchPlane } from "./benchPlane.ts";
import { pause } from "./patience.ts";

/** How nodes say that a run came to its runner. */
const KINDS: Readonly<Record<string, string>> = { "launch.warm": "warm", "launch.cloned": "clone", "launch.created": "cold" };
const TOLD_WITHIN_MS = 10_000;

/** Steps of a start, in milliseconds, in their order. Together they are the whole. */
export const STEPS = ["queue", "dequeue", "dispatch", "sandbox", "runner", "child", "userCode"] as const;
export type Step = (typeof STEPS)[number];
export interface Start {
  readonly kind: string;
  readonly steps: Readonly<Record<Step, number>>;
  /** From the engine's hand-out until the runner shows that it has the run; what a hand-over costs by itself. */
  readonly handOverMs: number;
  readonly totalMs: number;
}

export interface Triggered {
  readonly runId: string;
  readonly calledMs: number;
  readonly output: unknown;
}

/** What the timelines say, when the node has told all of it. */
export async function gather(bench: BenchPlane, runs: readonly Triggered[]): Promise<Start[]> {
  const all: Start[] = [];
  for (const run of runs) {
    const start = await startOf(bench, run);
    if (start !== undefined) all.push(start);
  }
  return all;
}

async function startOf(bench: BenchPlane, { runId, calledMs, output }: Triggered): Promise<Start | undefined> {
  const untilMs = performance.now() + TOLD_WITHIN_MS;
  for (;;) {
    const events = await bench.timeline(runId);
    const launched = events.find(({ name }) => KINDS[name] !== undefined);
    if (launched !== undefined) return stepsOf(events, launched, { calledMs, output });
    if (performance.now() > untilMs) return undefined; // its line was lost: timelines are for people, and may
    await pause(50);
  }
}

function stepsOf(
  events: readonly TimelineLineView[],
  launched: TimelineLineView,
  { calledMs, output }: Pick<Triggered, "calledMs" | "output">,
): Start {
  const at = (name: string): number => events.find((event) => event.name === name)?.at.getTime() ?? Number.NaN;
  const kind = KINDS[launched.name] ?? "?";
  const [handedOutMs, executingMs, placedMs] = [at("PENDING_EXECUTING"), at("EXECUTING"), launched.at.getTime()];
  const [loadedMs, firstLineMs] = [numberIn(output, "loadedAtMs"), numberIn(output, "startedAtMs")];
  const launchMs = launched.durationMs ?? Number.NaN;
  // A worker of an idle runner may have loaded the code before there was a run
  const codeMs = Math.min(Math.max(loadedMs, executingMs), firstLineMs);
  const isWarm = kind === "warm";
  return {
    kind,
    steps: {
      queue: handedOutMs - calledMs,
      dequeue: placedMs - launchMs - handedOutMs,
      dispatch: isWarm ? launchMs : 0,
      sandbox: isWarm ? 0 : launchMs,
      runner: executingMs - placedMs,
      child: codeMs - executingMs,
      userCode: firstLineMs - codeMs,
    },
    handOverMs: placedMs - handedOutMs,
    totalMs: firstLineMs - calledMs,
  };
}

export function numberIn(output: unknown, key: string): number {
  return typeof output === "object" && output !== null && key in output ? Number((output as Record<string, unknown>)[key]) : Number.NaN;
}
