// `AbortController` and `AbortSignal` for simulated processes. Node's own are event targets with weak references and finalizers, made
// for streams and sockets, and cost more than all the rest of a message. These do what the parts use, in the
// same order: listeners as they came, then signals that depend on this one.

/** What a listener is told; nobody here reads it. */
const ABORTED = Object.freeze({ type: "abort" });

type Listener = (event: typeof ABORTED) => void;

interface ListenerOptions {
  readonly once?: boolean;
  readonly signal?: unknown;
}

class SimAbortSignal {
  #aborted = false;
  #reason: unknown = undefined;
  #listeners: Set<Listener> | null = null;
  /** Signals made by `any` that this one aborts. */
  #dependents: Set<SimAbortSignal> | null = null;
  /** What a signal made by `any` follows; none of them follows others. */
  #sources: readonly SimAbortSignal[] | null = null;

  /** Aborted as soon as one of these is. */
  static any(signals: Iterable<SimAbortSignal>): SimAbortSignal {
    const result = new SimAbortSignal();
    const given = Array.from(signals);
    const already = given.find((signal) => signal.#aborted);
    if (already !== undefined) {
      result.#aborted = true;
      result.#reason = already.#reason;
      return result;
    }
    const sources = given.flatMap((signal) => signal.#sources ?? [signal]);
    result.#sources = sources;
    for (const source of sources) (source.#dependents ??= new Set()).add(result);
    return result;
  }

  static abort(reason?: unknown): SimAbortSignal {
    const signal = new SimAbortSignal();
    signal.fire(reason);
    return signal;
  }

  /** Would wait for real time. */
  static timeout(): never {
    throw new Error("Cannot use AbortSignal.timeout in a simulation: use the clock that was passed in");
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    if (this.#aborted && this.#reason === undefined) this.#reason = new DOMException("This operation was aborted", "AbortError");
    return this.#reason;
  }

  /** What its controller does. */
  fire(reason: unknown): void {
    if (this.#aborted) return;
    this.#abort(reason);
    const dependents = Array.from(this.#dependents ?? []);
    this.#dependents = null;
    for (const dependent of dependents) dependent.#abort(reason);
    this.#tell();
    for (const dependent of dependents) dependent.#tell();
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.reason;
  }

  addEventListener(type: string, listener: Listener, options?: ListenerOptions): void {
    if (type !== "abort" || options?.signal !== undefined) throw new Error("Cannot listen to a simulated signal in this way");
    (this.#listeners ??= new Set()).add(listener);
  }

  removeEventListener(_type: string, listener: Listener): void {
    this.#listeners?.delete(listener);
  }

  #abort(reason: unknown): void {
    this.#aborted = true;
    this.#reason = reason;
    for (const source of this.#sources ?? []) source.#dependents?.delete(this);
    this.#sources = null;
  }

  /** It happens once, so everybody's listener has done its duty then. */
  #tell(): void {
    for (const listener of Array.from(this.#listeners ?? [])) {
      if (this.#listeners?.has(listener) !== true) continue; // taken back by one before it
      try {
        listener(ABORTED);
      } catch (error) {
        process.nextTick(() => {
          throw error; // as an event target: nobody who aborts is told what went wrong in a listener
        });
      }
    }
    this.#listeners = null;
  }
}

class SimAbortController {
  readonly signal = new SimAbortSignal();

  abort(reason?: unknown): void {
    this.signal.fire(reason);
  }
}

/** From now on whoever cancels something in this thread does so with these. */
export function installAbort(): void {
  Object.assign(globalThis, { AbortController: SimAbortController, AbortSignal: SimAbortSignal });
}
