import { hasEnded, nextIntentState, type IntentEnd, type IntentEvent, type IntentState } from "./lifeCycle.ts";

/** What a runner has asked for: put me to sleep while this run waits at this snapshot. */
export interface IntentKey {
  readonly runId: string;
  /** The runner's name at the gateway, whatever it calls itself. */
  readonly runnerId: string;
  /** The engine snapshot at which the run waits. */
  readonly snapshotId: string;
}

/** A memory image whose sandbox waits for the platform's word. */
export interface WrittenImage {
  readonly imageId: string;
  /** False: the gateway knows no holding, the sandbox runs on meanwhile. */
  readonly isHeld: boolean;
  readonly frozenMs: number;
  readonly sizeBytes: number;
  /** Monotonic: when the gateway would thaw it by itself. */
  readonly deadlineMs: number;
}

/** Each phase owns what exists only in it. */
export type IntentPhase =
  | { readonly state: "scheduled"; readonly dueAtMs: number }
  | { readonly state: "due" }
  | { readonly state: "checking" }
  | { readonly state: "freezing"; readonly nonce: string; readonly startedMs: number }
  | { readonly state: "held"; readonly image: WrittenImage; /** Once told, only the platform's word counts. */ readonly reported: boolean }
  | { readonly state: "accepted"; readonly image: WrittenImage }
  | { readonly state: IntentEnd; readonly reason: string };

/** One intent on its way. `signal` fires when it is cancelled, and reaches whatever is being done for it. */
export class Intent implements IntentKey {
  readonly runId: string;
  readonly runnerId: string;
  readonly snapshotId: string;
  /** How many failed for the same wait before this one. */
  readonly failures: number;
  /** Monotonic: no sooner may it come due, whoever hastens it. */
  readonly notBeforeMs: number;
  #phase: IntentPhase;
  readonly #abort = new AbortController();
  readonly #settled = Promise.withResolvers<void>();
  #poke = Promise.withResolvers<void>();

  constructor(key: IntentKey, options: { readonly dueAtMs: number; readonly failures: number; readonly notBeforeMs?: number }) {
    this.runId = key.runId;
    this.runnerId = key.runnerId;
    this.snapshotId = key.snapshotId;
    this.failures = options.failures;
    this.notBeforeMs = options.notBeforeMs ?? options.dueAtMs;
    this.#phase = { state: "scheduled", dueAtMs: options.dueAtMs };
  }

  get phase(): IntentPhase {
    return this.#phase;
  }

  get state(): IntentState {
    return this.#phase.state;
  }

  get ended(): boolean {
    return hasEnded(this.#phase.state);
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Resolves when it has ended. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  /** Resolves at the next sign that something about the run has changed. */
  get poked(): Promise<void> {
    return this.#poke.promise;
  }

  /** The only way its state changes; the table decides whether it may. */
  move(event: IntentEvent, phase: IntentPhase): void {
    const to = nextIntentState(this.#phase.state, event);
    if (to !== phase.state) throw new Error(`Cannot ${event} an intent into ${phase.state}: it leads to ${to}`);
    this.#phase = phase;
    if (event === "cancel") this.#abort.abort();
    if (this.ended) this.#settled.resolve();
  }

  /** Comes due sooner. False: it does already. */
  hasten(dueAtMs: number): boolean {
    if (this.#phase.state !== "scheduled" || this.#phase.dueAtMs <= dueAtMs) return false;
    this.#phase = { state: "scheduled", dueAtMs };
    return true;
  }

  /** From here on only the platform's word decides. */
  markReported(): void {
    if (this.#phase.state === "held") this.#phase = { ...this.#phase, reported: true };
  }

  poke(): void {
    this.#poke.resolve();
    this.#poke = Promise.withResolvers<void>();
  }
}
