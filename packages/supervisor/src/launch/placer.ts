// Asks the gateway for a sandbox and finds out what became of it.
//
// G1  "Certainly did not start" is tried again, under a new name when an answer came: the old name may be half taken.
// G2  "May have started" is looked up, never asked for twice on a guess.
// G3  A taken name is ours when it was made for this very hand-out. Otherwise it is a leftover of an earlier one: removed, and not reused.
import { sleep, type Clock } from "@torpor/kernel";
import type { CallOutcome } from "@torpor/http";
import type { Gateway } from "../gateway/gateway.ts";

export interface Sandbox {
  readonly instanceId: string | null;
  readonly address: string | null;
}

export type Placement =
  | { readonly kind: "placed"; readonly name: string; readonly sandbox: Sandbox }
  /** `certain`: nothing was started. */
  | { readonly kind: "failed"; readonly reason: PlaceFailure; readonly message: string };

export type PlaceFailure =
  | "no_capacity"
  | "sandbox_not_started"
  | "gateway_unreachable"
  | "gateway_refused"
  | "memory_image_gone"
  | "memory_image_refused";

export interface PlacerDeps {
  readonly gateway: Gateway;
  readonly clock: Clock;
  readonly attempts: number;
  readonly retryBaseMs: number;
  readonly stop: AbortSignal;
}

export interface PlaceRequest {
  /** The name for the n-th try. */
  readonly nameOf: (tryNumber: number) => string;
  readonly ask: (name: string) => Promise<CallOutcome<{ readonly id: string; readonly address?: string | null | undefined }>>;
  /** The hand-out: `TRIGGER_SNAPSHOT_ID` in the metadata of the sandbox that it is for. */
  readonly snapshotId: string;
  /** Restores only: an image that is held yet is waited for, and one that is not there is gone. */
  readonly isRestore: boolean;
  /** Told before each try, and after a try that did not start. */
  readonly onTry: (name: string) => void;
  readonly onNotStarted: (name: string) => void;
}

type Found =
  | { readonly kind: "there"; readonly sandbox: Sandbox }
  | { readonly kind: "leftover" }
  | { readonly kind: "absent" }
  | { readonly kind: "unknown" };

const LOOKUP_MS = 250;
const LOOKUP_WITHIN_MS = 20_000;
/** A memory image whose original is still being destroyed is refused until that is done (L5): that takes tens of milliseconds. */
const HELD_RETRY_MS = 50;
const HELD_WITHIN_MS = 15_000;

export class Placer {
  readonly #deps: PlacerDeps;

  constructor(deps: PlacerDeps) {
    this.#deps = deps;
  }

  /** Places a sandbox, or says why not. Never throws for what the gateway does. */
  async place(request: PlaceRequest): Promise<Placement> {
    const { attempts, retryBaseMs, clock, stop } = this.#deps;
    let nameNumber = 1;
    for (let attempt = 1; ; attempt++) {
      const name = request.nameOf(nameNumber);
      request.onTry(name);
      const step = await this.#try(request, name);
      if (step.kind === "placed") return step;
      request.onNotStarted(name);
      if (step.kind === "failed" || attempt >= attempts || stop.aborted) return step.kind === "failed" ? step : step.failure;
      if (step.newName) nameNumber++;
      await sleep(clock, retryBaseMs * attempt, stop);
    }
  }

  async #try(
    request: PlaceRequest,
    name: string,
  ): Promise<Placement | { readonly kind: "again"; readonly newName: boolean; readonly failure: Placement & { kind: "failed" } }> {
    const outcome = await this.#askUntilFree(request, name);
    if (outcome.kind === "ok") return placed(name, { instanceId: outcome.body.id, address: outcome.body.address ?? null });
    if (outcome.kind === "unreachable" && outcome.happened === "no") return again(false, "gateway_unreachable", outcome.message);
    const isTaken = outcome.kind === "refused" && outcome.status === 409;
    const mayHaveStarted = outcome.kind === "unreachable" || outcome.status === 502 || outcome.status === 504 || outcome.status < 400;
    if (!isTaken && !mayHaveStarted) return refusal(outcome, request.isRestore);
    const found = await this.#lookUp(name, request.snapshotId);
    if (found.kind === "there") return placed(name, found.sandbox);
    if (found.kind === "unknown")
      return { kind: "failed", reason: "gateway_unreachable", message: `Cannot learn whether ${name} was started: ${outcome.message}` };
    if (found.kind === "leftover") await this.#deps.gateway.remove(name);
    return again(true, "sandbox_not_started", outcome.message);
  }

  /** A memory image that is still held is a matter of moments. */
  async #askUntilFree(request: PlaceRequest, name: string): ReturnType<PlaceRequest["ask"]> {
    const { clock, stop } = this.#deps;
    const untilMs = clock.monotonicMs() + HELD_WITHIN_MS;
    for (;;) {
      const outcome = await request.ask(name);
      const isHeld = request.isRestore && outcome.kind === "refused" && outcome.status === 409 && outcome.code !== "name_taken";
      if (!isHeld || clock.monotonicMs() > untilMs || stop.aborted) return outcome;
      await sleep(clock, HELD_RETRY_MS, stop);
    }
  }

  async #lookUp(name: string, snapshotId: string): Promise<Found> {
    const { gateway, clock, stop } = this.#deps;
    const untilMs = clock.monotonicMs() + LOOKUP_WITHIN_MS;
    for (;;) {
      const outcome = await gateway.instance(name);
      if (outcome.kind === "refused" && outcome.status === 404) return { kind: "absent" };
      if (outcome.kind === "ok") {
        const { state, metadata, id, address } = outcome.body;
        if (metadata["TRIGGER_SNAPSHOT_ID"] !== snapshotId) return { kind: "leftover" };
        if (state === "gone") return { kind: "leftover" };
        if (state !== "starting") return { kind: "there", sandbox: { instanceId: id, address } };
      }
      if (clock.monotonicMs() > untilMs || stop.aborted) return { kind: "unknown" };
      await sleep(clock, LOOKUP_MS, stop);
    }
  }
}

function placed(name: string, sandbox: Sandbox): Placement {
  return { kind: "placed", name, sandbox };
}

function again(newName: boolean, reason: PlaceFailure, message: string) {
  return { kind: "again", newName, failure: { kind: "failed", reason, message } } as const;
}

function refusal(outcome: Extract<CallOutcome<unknown>, { kind: "refused" }>, isRestore: boolean) {
  const { status, code, message } = outcome;
  if (isRestore && (code === "memory_image_gone" || status === 404))
    return { kind: "failed", reason: "memory_image_gone", message } as const;
  if (code === "memory_image_refused") return { kind: "failed", reason: "memory_image_refused", message } as const;
  if (status === 503 || status === 429) return again(true, "no_capacity", message);
  if (status >= 500) return again(true, "sandbox_not_started", message);
  return { kind: "failed", reason: "gateway_refused", message } as const;
}
