import type { IncomingHttpHeaders } from "node:http";
import type { Random } from "@torpor/kernel";

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
const MAX_TRACESTATE = 512;

/**
 * The W3C context that a run's spans belong to: in the caller's trace, under a span of its own. A caller that asks for a link
 * (`x-trigger-span-parent-as-link`), or has no trace, gets a new one.
 */
export function traceContextOf(headers: IncomingHttpHeaders, random: Random): Record<string, string> {
  const given = TRACEPARENT.exec(textOf(headers["traceparent"]) ?? "");
  const joins = given !== null && headers["x-trigger-span-parent-as-link"] === undefined;
  const fresh = Buffer.from(random.bytes(24)).toString("hex");
  const traceId = joins ? (given[1] ?? "") : fresh.slice(16);
  const tracestate = textOf(headers["tracestate"]);
  return {
    traceparent: `00-${traceId}-${fresh.slice(0, 16)}-01`,
    ...(joins && tracestate !== undefined && tracestate.length <= MAX_TRACESTATE ? { tracestate } : {}),
  };
}

function textOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header;
}
