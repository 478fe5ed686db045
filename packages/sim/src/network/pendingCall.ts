import type { Fate } from "./linkFaults.ts";
import type { Endpoint, Message, WireAnswer, WireOutcome } from "./message.ts";
import type { NetworkParts } from "./network.ts";
import { answerOf } from "./wire.ts";

/** Any reason will do; one that is not made anew each time costs nothing. */
const GONE = "the client is gone";
const DEFAULT_TIMEOUT_MS = 30_000;

interface Ends {
  readonly to: () => Endpoint | null;
  readonly resolve: (outcome: WireOutcome) => void;
}

const nothing = (): void => undefined;

/** One call under way: its message travels, is served, perhaps twice, and its answer travels back, until the caller stops waiting. */
export class PendingCall {
  readonly #parts: NetworkParts;
  readonly #message: Message;
  readonly #ends: Ends;
  readonly #gone = new AbortController();
  #timeout = { cancel: nothing };
  #unwatchCaller = nothing;
  #unwatchServer = nothing;
  #open = true;

  constructor(parts: NetworkParts, message: Message, ends: Ends) {
    this.#parts = parts;
    this.#message = message;
    this.#ends = ends;
  }

  begin(): void {
    const { time, faults, watcher } = this.#parts;
    const { from, link, input } = this.#message;
    // a killed process's connections are closed, and the other side sees that
    this.#unwatchCaller = from.onKill(() => void time.after(1, () => this.#gone.abort(GONE)));
    this.#timeout = from.clock.after(input.timeoutMs ?? DEFAULT_TIMEOUT_MS, () => this.#lost("timed out"));
    if (input.signal?.aborted === true) return this.#lost("aborted");
    input.signal?.addEventListener("abort", () => this.#lost("aborted"), { once: true });
    watcher.sent(this.#message);
    const fate = faults.fateOf(link);
    if (fate.loses === "request") {
      if (fate.reset) time.after(fate.delayMs, () => this.#lost("reset"));
      return;
    }
    time.after(fate.delayMs, () => this.#deliver(fate));
    if (fate.doubledAfterMs !== null) time.after(fate.delayMs + fate.doubledAfterMs, () => this.#deliverCopy());
  }

  #deliver(fate: Fate): void {
    const { time, watcher } = this.#parts;
    const endpoint = this.#ends.to();
    if (endpoint === null || !endpoint.process.alive) return this.#settle({ kind: "unreachable", happened: "no", message: "refused" });
    this.#unwatchServer = endpoint.process.onKill(() => void time.after(1, () => this.#lost("reset")));
    void this.#serve(endpoint, this.#gone.signal)
      .then((answer) => {
        if (!endpoint.process.alive) return;
        if (fate.loses === "answer") return fate.reset ? this.#lost("reset") : undefined;
        time.after(fate.answerDelayMs, () => this.#settle({ kind: "answered", answer }));
      })
      .catch((error: unknown) => watcher.failed(this.#message, error));
  }

  /** Who repeats a request has lost its former connection: nobody reads that answer, and the server sees so. */
  #deliverCopy(): void {
    const endpoint = this.#ends.to();
    if (endpoint === null || !endpoint.process.alive) return;
    const gone = new AbortController();
    void this.#serve(endpoint, gone.signal)
      .then(() => gone.abort(GONE))
      .catch((error: unknown) => this.#parts.watcher.failed(this.#message, error));
  }

  async #serve(endpoint: Endpoint, signal: AbortSignal): Promise<WireAnswer> {
    const { watcher } = this.#parts;
    const message = this.#message;
    const headers = { ...message.headers };
    watcher.arrived(message, endpoint);
    const done = endpoint.onRequest?.(headers, message.remoteAddress) ?? nothing;
    let isOpen = true;
    const closed = (): void => {
      if (!isOpen) return;
      isOpen = false;
      done();
      watcher.closed(message, endpoint);
    };
    signal.addEventListener("abort", closed, { once: true });
    const answer = await answerOf(endpoint, { message, headers, signal, onUnforeseen: (error) => watcher.failed(message, error) });
    closed();
    watcher.served(message, answer);
    return answer;
  }

  #lost(text: string): void {
    this.#settle({ kind: "unreachable", happened: "maybe", message: text });
  }

  #settle(outcome: WireOutcome): void {
    const { watcher } = this.#parts;
    if (!this.#open || !this.#message.from.alive) return;
    this.#open = false;
    this.#timeout.cancel();
    this.#unwatchServer();
    this.#unwatchCaller();
    if (outcome.kind === "answered") watcher.answered(this.#message, outcome.answer);
    else {
      this.#gone.abort(GONE);
      watcher.unanswered(this.#message, outcome.happened);
    }
    this.#ends.resolve(outcome);
  }
}
