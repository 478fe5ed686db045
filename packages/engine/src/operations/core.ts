import type { Clock, Random } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import type { Refusal } from "../api.ts";
import { bodyOf, type IdPrefix } from "../domain/ids.ts";
import type { EngineSettings } from "../domain/settings.ts";
import type { Database } from "../sql/database.ts";

/** Wakes whoever waits for work or for a time, in this process and in the others. Called after a commit. */
export interface Wakes {
  /** A run may be handed out. */
  ready(): void;
  /** Room was made under some limit. */
  room(): void;
  /** A timer was set. */
  timer(dueAt: Date): void;
  /** The run may be able to go on: look at once, do not wait for its timer. */
  resume(runId: string): void;
}

/** What every operation needs. Lock order everywhere: environment's turn, batch, run (a parent before its child), waitpoint, timer. */
export interface Core {
  readonly db: Database;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: EngineSettings;
  readonly log: Log;
  readonly wakes: Wakes;
}

export function now(core: Core): Date {
  return new Date(core.clock.nowMs());
}

export function refuse(code: Refusal["code"], message: string, param?: string): Refusal {
  return param === undefined ? { kind: "refused", code, message } : { kind: "refused", code, message, param };
}

export function notFound(what: string, id: string): Refusal {
  return refuse("not_found", `Cannot find ${what} ${id}`);
}

/** The body of an id of that kind; a value that cannot be one is a body that exists nowhere. */
export function idBody(prefix: IdPrefix, id: string): string {
  return bodyOf(prefix, id) ?? "";
}
