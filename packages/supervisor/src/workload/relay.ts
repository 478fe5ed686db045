import { Answer, type CallOutcome } from "@torpor/http";
import { TorporError, WaitFacts } from "@torpor/contracts";
import { z } from "zod";

const MAX_PASSED_STATUS = 499;

/**
 * The platform's answer as the runner gets it. A refusal keeps its status and is marked as final, so that the loser of
 * a race does not ask for half a minute; an outage is 503, which runners try again.
 */
export function passOn(outcome: CallOutcome<unknown>): Answer<never> {
  if (outcome.kind === "ok") return new Answer(outcome.body as never, { status: outcome.status });
  if (outcome.kind === "unreachable") throw new TorporError("upstream_unreachable", `Cannot reach the platform: ${outcome.message}`);
  const { status, code, message, mayRetry } = outcome;
  if (status > MAX_PASSED_STATUS && mayRetry)
    throw new TorporError("upstream_unreachable", `Cannot use the platform's answer (${status}): ${message}`);
  return new Answer({ error: message, ...(code === undefined ? {} : { code }) } as never, {
    status: status < 400 ? 502 : status,
    headers: { "x-should-retry": mayRetry ? "true" : "false" },
  });
}

/**
 * Checks a body against its declared schema and keeps it as it came: keys that we do not know are a newer runner's or
 * platform's business, and reach the other side.
 */
export function verbatim(schema: z.ZodType<unknown>): z.ZodType<unknown> {
  return z.unknown().superRefine((value, context) => {
    const parsed = schema.safeParse(value);
    if (!parsed.success)
      for (const issue of parsed.error.issues) context.addIssue({ code: "custom", path: issue.path, message: issue.message });
  });
}

const SnapshotRef = z.object({ friendlyId: z.string(), executionStatus: z.string() });
const Started = z.object({
  snapshot: SnapshotRef,
  run: z.object({ attemptNumber: z.number().nullish() }),
  execution: z.object({ task: z.object({ id: z.string() }) }).optional(),
});
const Completed = z.object({ result: z.object({ attemptStatus: z.string(), snapshot: SnapshotRef }) });
const History = z.object({ snapshots: z.array(z.object({ snapshot: SnapshotRef, torporWait: WaitFacts.optional().catch(undefined) })) });

/** The little that we need to know of an answer that is passed on. Undefined when it does not look as it should: then the runner will say so. */
export const peek = {
  started: (body: unknown) => Started.safeParse(body).data,
  completed: (body: unknown) => Completed.safeParse(body).data?.result,
  history: (body: unknown) => History.safeParse(body).data?.snapshots.map(({ snapshot, torporWait }) => ({ ...snapshot, torporWait })),
};

/** A history to which nothing was added. */
export const NOTHING_NEW = new Answer({ snapshots: [] } as never, { status: 200 });

/** A history cut down to its last entry. */
export function latestOnly(body: unknown): unknown {
  const { snapshots, ...rest } = body as { snapshots: unknown[] };
  return { ...rest, snapshots: snapshots.slice(-1) };
}
