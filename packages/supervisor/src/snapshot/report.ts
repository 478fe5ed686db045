// Tells the platform of a written memory image and learns whether it was accepted.
import { backoffMs, sleep, type Clock } from "@torpor/kernel";
import type { CallOutcome } from "@torpor/http";
import { isPassing, type Platform } from "../platform/platform.ts";
import type { Intent, WrittenImage } from "./intent.ts";
import { judgeAcceptance } from "./verdict.ts";

/**
 * - `accepted`, `refused`: the platform's word
 * - `canceled`: the intent was cancelled before anything was told; whoever cancelled it has thawed the sandbox
 * - `platform_unreachable`: the platform was never reached, so it cannot have accepted
 * - `outcome_unknown`: it may have accepted, and could not be asked until the gateway's patience ended. The sandbox goes on;
 *   if the platform did accept, its runner learns so at its first poll and leaves, and the restore starts the attempt over
 * - `stopped`: this process stops; the sandbox stays held for the next one
 */
export type Report = "accepted" | "refused" | "canceled" | "platform_unreachable" | "outcome_unknown" | "stopped";

export interface ReportDeps {
  readonly platform: Platform;
  readonly clock: Clock;
  readonly random: () => number;
  readonly stop: AbortSignal;
}

const BACKOFF = { baseMs: 100, factor: 2, maxMs: 5_000 };
/** Before the gateway thaws by itself, there must be time to do it on purpose. */
const DEADLINE_MARGIN_MS = 3_000;

/** Reports until the platform has answered. From the first try on, no cancel is taken any more: only the answer counts. */
export async function reportSuspension(deps: ReportDeps, intent: Intent, image: WrittenImage): Promise<Report> {
  if (intent.signal.aborted) return "canceled";
  intent.markReported();
  let mayHaveHappened = false;
  for (let attempt = 1; ; attempt++) {
    const told = await tell(deps, intent, image);
    if (told === "accepted" || (told === "refused" && !mayHaveHappened)) return told;
    mayHaveHappened ||= told !== "not_reached";
    const learned = told === "not_reached" ? "unknown" : await learn(deps, intent, image);
    if (learned === "accepted" || (learned === "refused" && told !== "lost")) return learned;
    if (deps.stop.aborted) return "stopped";
    const leftMs = image.deadlineMs - DEADLINE_MARGIN_MS - deps.clock.monotonicMs();
    if (leftMs <= 0) return mayHaveHappened ? "outcome_unknown" : "platform_unreachable";
    await pause(deps, intent, Math.min(leftMs, backoffMs(attempt, { ...BACKOFF, random: deps.random })));
  }
}

type Told = "accepted" | "refused" | "not_reached" | "lost" | "unsaid";

/** One report. `lost`: it may have been taken, and no answer came. `unsaid`: processed, but a foreign platform does not say how. */
async function tell(deps: ReportDeps, intent: Intent, image: WrittenImage): Promise<Told> {
  const checkpoint = { type: "COMPUTE" as const, location: image.imageId };
  const outcome = await deps.platform.completeSuspension(intent, { success: true, checkpoint }, { runnerId: intent.runnerId });
  if (outcome.kind === "refused" && outcome.status < 300) return "unsaid"; // an answer that is not understood is no refusal
  if (outcome.kind !== "ok") return isPassing(outcome) ? (certainlyNot(outcome) ? "not_reached" : "lost") : "refused";
  if (outcome.body.accepted === undefined) return "unsaid";
  return outcome.body.accepted ? "accepted" : "refused";
}

function certainlyNot(outcome: CallOutcome<unknown>): boolean {
  return outcome.kind === "unreachable" && outcome.happened === "no";
}

/** The platform's latest word on the run tells whether our image is its checkpoint. */
async function learn(deps: ReportDeps, intent: Intent, image: WrittenImage): Promise<"accepted" | "refused" | "unknown"> {
  const latest = await deps.platform.latest(intent.runId);
  if (latest.kind === "ok") return judgeAcceptance(latest.body, image.imageId) === "yes" ? "accepted" : "refused";
  return isPassing(latest) ? "unknown" : "refused";
}

/** Waits before the next try, or until something about the run is heard. */
async function pause(deps: ReportDeps, intent: Intent, delayMs: number): Promise<void> {
  const awake = new AbortController();
  await Promise.race([sleep(deps.clock, delayMs, AbortSignal.any([deps.stop, awake.signal])), intent.poked]);
  awake.abort();
}
