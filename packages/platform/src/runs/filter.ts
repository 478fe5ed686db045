import { TorporError, type ListRunsQuery, type RunStatus } from "@torpor/contracts";
import type { RunFilter } from "@torpor/engine";
import { given } from "../given.ts";
import { statusesNamed } from "./status.ts";
import { durationMs, momentOrRefuse } from "./times.ts";

/** Filters that the engine has no index for. Ignoring one would show runs that were not asked for. */
const UNSUPPORTED = ["version", "schedule", "isTest", "queue", "machine", "region", "bulkAction", "env"] as const;

/** The engine's filter for what a list asks for. */
export function runFilter(query: ListRunsQuery, nowMs: number): RunFilter {
  for (const name of UNSUPPORTED) {
    const param = `filter[${name}]`;
    if (query[param] !== undefined)
      throw new TorporError("request_unprocessable", `Cannot use ${param}: it is not supported; leave it out`, { param });
  }
  const statuses = listOf(query["filter[status]"]);
  const taskIdentifiers = listOf(query["filter[taskIdentifier]"]);
  const tags = listOf(query["filter[tag]"]);
  const batchId = query["filter[batch]"];
  return {
    ...given({ statuses: statuses === undefined ? undefined : statusesOf(statuses), taskIdentifiers, tags, batchId }),
    ...createdRange(query, nowMs),
  };
}

function createdRange(query: ListRunsQuery, nowMs: number): Pick<RunFilter, "createdAfter" | "createdBefore"> {
  const { "filter[createdAt][from]": from, "filter[createdAt][to]": to, "filter[createdAt][period]": period } = query;
  return {
    ...(period === undefined ? {} : { createdAfter: new Date(nowMs - periodMs(period)) }),
    ...(from === undefined ? {} : { createdAfter: momentOrRefuse(from, nowMs, "filter[createdAt][from]") }),
    ...(to === undefined ? {} : { createdBefore: momentOrRefuse(to, nowMs, "filter[createdAt][to]") }),
  };
}

function periodMs(period: string): number {
  const param = "filter[createdAt][period]";
  const ms = durationMs(period);
  if (ms === undefined)
    throw new TorporError("request_unprocessable", `Cannot use ${param}: ${JSON.stringify(period)} is not a duration such as "7d"`, {
      param,
    });
  return ms;
}

function statusesOf(names: readonly string[]): RunStatus[] {
  return names.flatMap((name) => {
    const statuses = statusesNamed(name);
    if (statuses.length === 0)
      throw new TorporError("request_invalid", `Cannot use filter[status]: there is no status ${JSON.stringify(name)}`, {
        param: "filter[status]",
      });
    return statuses;
  });
}

/** The entries of a comma-separated list; undefined when it was not given or is empty. */
export function listOf(text: string | undefined): string[] | undefined {
  const entries = text
    ?.split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
  return entries === undefined || entries.length === 0 ? undefined : entries;
}
