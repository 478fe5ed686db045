import { TorporError } from "@torpor/contracts";
import type { Refusal } from "@torpor/engine";
import { Answer } from "@torpor/http";

/** Passes on what was done; throws what was refused, so that the edge gives it its status. */
export function accepted<T extends { readonly kind: string }>(outcome: T | Refusal): Exclude<T, Refusal> {
  if (isRefusal(outcome)) throw refusalError(outcome);
  return outcome as Exclude<T, Refusal>;
}

export function isRefusal(outcome: { readonly kind: string }): outcome is Refusal {
  return outcome.kind === "refused";
}

export function refusalError(refusal: Refusal): TorporError {
  return new TorporError(refusal.code, refusal.message, refusal.param === undefined ? {} : { param: refusal.param });
}

/** What was asked for, or 404 that says what it was. */
export function found<T>(value: T | null | undefined, what: string, id: string): T {
  if (value === null || value === undefined) throw new TorporError("not_found", `Cannot find ${what} ${JSON.stringify(id.slice(0, 128))}`);
  return value;
}

/** 404 that invites to ask again: what is looked for may have been made a moment ago, through another process. */
export function notFoundYet(what: string, id: string): Answer<never> {
  const body = { error: `Cannot find ${what} ${JSON.stringify(id.slice(0, 128))}`, code: "not_found" };
  return new Answer(body as never, { status: 404, headers: { "x-should-retry": "true" } });
}
