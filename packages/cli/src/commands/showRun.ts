import type { ListedRun, RetrievedRun } from "@torpor/contracts";
import { showMs } from "../terminal/table.ts";
import type { Terminal } from "../terminal/terminal.ts";

type Shown = Pick<RetrievedRun, "isSuccess" | "isFailed" | "isCancelled" | "isCompleted">;

/** Whether nothing will change any more. */
export function isFinal(run: Shown): boolean {
  return run.isCompleted || run.isFailed || run.isCancelled;
}

/** The status in the colour of its meaning. */
export function paintStatus(terminal: Terminal, run: Shown & { readonly status: string }): string {
  if (run.isSuccess) return terminal.paint("green", run.status);
  if (run.isFailed) return terminal.paint("red", run.status);
  return run.isCancelled ? terminal.paint("yellow", run.status) : terminal.paint("cyan", run.status);
}

/** A run in some lines, for people. */
export function showRun(run: RetrievedRun, terminal: Terminal): string[] {
  const lines = [
    `${terminal.paint("bold", run.id)}  ${run.taskIdentifier}  ${paintStatus(terminal, run)}`,
    `  triggered  ${run.createdAt.toISOString()}`,
  ];
  if (run.finishedAt !== undefined)
    lines.push(`  finished   ${run.finishedAt.toISOString()} (${showMs(run.finishedAt.getTime() - run.createdAt.getTime())} later)`);
  lines.push(`  attempts   ${run.attemptCount}`);
  if (run.version !== undefined) lines.push(`  version    ${run.version}`);
  if (run.tags.length > 0) lines.push(`  tags       ${run.tags.join(", ")}`);
  if (run.payload !== undefined) lines.push(`  payload    ${JSON.stringify(run.payload)}`);
  if (run.output !== undefined) lines.push(`  output     ${JSON.stringify(run.output)}`);
  if (run.error !== undefined) lines.push(`  error      ${run.error.name ?? "Error"}: ${run.error.message}`);
  return lines;
}

/** A run as a row of a list. */
export function runRow(terminal: Terminal, run: ListedRun): string[] {
  return [
    run.id,
    run.taskIdentifier,
    paintStatus(terminal, run),
    run.createdAt.toISOString(),
    run.finishedAt === undefined ? "–" : showMs(run.finishedAt.getTime() - run.createdAt.getTime()),
  ];
}
