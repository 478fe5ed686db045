import type { RetrievedRun, TimelineLineView } from "@torpor/contracts";
import { showBytes, showMs, table } from "../terminal/table.ts";
import type { Picture, Terminal } from "../terminal/terminal.ts";
import { sleepsOf, startsOf, wakeMs } from "./figures.ts";
import { idleOf, isOver, sandboxOf, type Sample, type Watched } from "./watch.ts";

/** The picture while runs run: what each does, and what the whole costs at this moment. */
export function liveLines(terminal: Terminal, sample: Sample, elapsedMs: number): Picture {
  const processes = sample.instances.reduce((sum, { processCount }) => sum + (processCount ?? 0), 0);
  const memoryBytes = sample.instances.reduce((sum, instance) => sum + (instance.memoryBytes ?? 0), 0);
  const idle = idleOf(sample).length;
  const diskBytes = sample.memoryImages.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const rows = sample.watched.map((one) => {
    const sandbox = sandboxOf(one, sample.instances);
    return [
      one.label,
      stateOf(terminal, one),
      String(sandbox?.processCount ?? 0),
      sandbox?.memoryBytes == null ? "–" : showBytes(sandbox.memoryBytes),
    ];
  });
  const total = terminal.paint(
    "dim",
    `${showMs(elapsedMs)}   ${processes} processes   ${showBytes(memoryBytes)} in memory   ${showBytes(diskBytes)} on disk${idle === 0 ? "" : `   ${idle} idle runners`}`,
  );
  return {
    lines: [...table(["run", "state", "processes", "memory"], rows), total],
    states: sample.watched.map((one) => `${one.label.trim()} ${one.runId.slice(-6)}  ${stateOf(terminal, one)}`),
  };
}

function stateOf(terminal: Terminal, one: Watched): string {
  const status = one.run?.status ?? "QUEUED";
  if (one.run?.isWaiting === true) return terminal.paint("cyan", "asleep on disk");
  if (!isOver(one)) return status.toLowerCase();
  return terminal.paint(one.run?.isFailed === true ? "red" : "green", status.toLowerCase());
}

export interface Outcome {
  readonly watched: Watched;
  readonly run: RetrievedRun;
  readonly timeline: readonly TimelineLineView[];
}

/** A run's figures, for the table and for machines. */
export function figuresOf({ watched, run, timeline }: Outcome) {
  const sleeps = sleepsOf(timeline);
  return {
    label: watched.label.trim(),
    runId: run.id,
    starts: startsOf(timeline),
    asleepMs: sleeps.reduce((sum, { asleepMs }) => sum + asleepMs, 0),
    sleeps: sleeps.length,
    freezeMs: sleeps.map(({ freezeMs }) => freezeMs ?? null),
    snapshotBytes: sleeps.map(({ sizeBytes }) => sizeBytes ?? null),
    wakeMs: wakeMs(sleeps, run.output) ?? null,
    processesAsleep: sleeps.length === 0 ? null : watched.processesAsleep,
    attempt: run.attemptCount,
    status: run.status,
    ok: watched.story === undefined ? run.isSuccess : run.status === watched.story.ends,
  };
}

export type RunFigures = ReturnType<typeof figuresOf>;

/** The table at the end. */
export function resultLines(terminal: Terminal, all: readonly RunFigures[]): string[] {
  const list = (values: readonly (number | null)[], show: (value: number) => string): string =>
    values.map((value) => (value === null ? "?" : show(value))).join(" + ") || "–";
  const rows = all.map((one) => [
    one.label,
    one.starts.join(" + ") || "?",
    one.sleeps === 0 ? "–" : showMs(one.asleepMs),
    list(one.freezeMs, showMs),
    list(one.snapshotBytes, showBytes),
    one.wakeMs === null ? "–" : showMs(one.wakeMs),
    one.processesAsleep === null ? "–" : String(one.processesAsleep),
    String(one.attempt),
    terminal.paint(one.ok ? "green" : "red", one.status),
  ]);
  return table(["run", "start", "asleep", "freeze", "snapshot", "wake", "processes asleep", "attempt", "result"], rows);
}
