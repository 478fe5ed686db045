// Calls between simulated processes: the declared routes, validated as over HTTP, with everything that a network does to them.
import type { BodyOf, ParamsOf, QueryOf, ReplyOf, Route } from "@torpor/contracts";
import { ERRORS, TorporError, type ErrorCode } from "@torpor/contracts";
import { Answer, errorAnswer, validated, type CallInput, type CallOutcome, type Mounted } from "@torpor/http";
import type { RouteCaller } from "@torpor/supervisor";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { LinkFaults } from "./linkFaults.ts";
import type { LinkName } from "../scenario/scenario.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";

/** A server: routes of one process, reachable while it lives. */
export interface Endpoint {
  readonly process: SimProcess;
  readonly routes: ReadonlyMap<string, Mounted>;
  authenticate(route: Route, request: { headers: Record<string, string>; remoteAddress: string }): Promise<unknown>;
  /** Told that a request is open; the result is called when its answer has left. */
  onRequest?(headers: Record<string, string>, remoteAddress: string): () => void;
}

export interface Message {
  readonly link: LinkName;
  readonly from: SimProcess;
  readonly route: Route;
  readonly input: CallInput<Route>;
  readonly remoteAddress: string;
}

/** What an answer is on the wire. */
export interface WireAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly shouldRetry: string | undefined;
}

/** Hears every message when it leaves and arrives; `answered` when its answer has reached the caller. */
export interface NetworkWatcher {
  sent(message: Message): void;
  arrived(message: Message, at: Endpoint): void;
  /** Its answer has left, or its client has gone. */
  closed(message: Message, at: Endpoint): void;
  served(message: Message, answer: WireAnswer): void;
  answered(message: Message, answer: WireAnswer): void;
  /** The caller has given up; `no`: it certainly did not arrive. */
  unanswered(message: Message, happened: "no" | "maybe"): void;
  /** A handler threw what nobody foresaw. */
  failed(message: Message, error: unknown): void;
}

export type WireOutcome =
  | { readonly kind: "answered"; readonly answer: WireAnswer }
  | { readonly kind: "unreachable"; readonly happened: "no" | "maybe"; readonly message: string };

/** Any reason will do; one that is not made anew each time costs nothing. */
const GONE = "the client is gone";
const DEFAULT_TIMEOUT_MS = 30_000;

export interface CallOptions {
  readonly link: LinkName;
  readonly from: SimProcess;
  readonly to: () => Endpoint | null;
  readonly remoteAddress?: string;
  /** Sent with every call. */
  readonly headers?: Readonly<Record<string, string>>;
}

export class Network {
  readonly #time: VirtualTime;
  readonly #faults: LinkFaults;
  readonly #watcher: NetworkWatcher;

  constructor(deps: { time: VirtualTime; faults: LinkFaults; watcher: NetworkWatcher }) {
    this.#time = deps.time;
    this.#faults = deps.faults;
    this.#watcher = deps.watcher;
  }

  /** A client as the parts' own code uses it. */
  caller(options: CallOptions): RouteCaller {
    return {
      call: async <R>(declared: R, input: CallInput<R> = {}): Promise<CallOutcome<ReplyOf<R>>> => {
        const route = declared as Route;
        const outcome = await this.call(options, route, input as CallInput<Route>);
        return (outcome.kind === "unreachable" ? outcome : read(route, outcome.answer)) as CallOutcome<ReplyOf<R>>;
      },
    };
  }

  /** One call. Settles never when its caller dies. */
  call(options: CallOptions, route: Route, input: CallInput<Route>): Promise<WireOutcome> {
    const { from, link, to, remoteAddress = "127.0.0.1" } = options;
    const headers = { ...options.headers, ...input.headers };
    const message: Message = { link, from, route, input: { ...input, headers }, remoteAddress };
    return new Promise((resolve) => {
      if (!from.alive) return;
      const gone = new AbortController();
      // who repeats a request has lost its former connection: nobody reads that answer, and the server sees so
      const copyGone = new AbortController();
      let open = true;
      let unwatch = (): void => undefined;
      // a killed process's connections are closed, and the other side sees that
      const unwatchCaller = from.onKill(() => void this.#time.after(1, () => gone.abort(GONE)));
      const settle = (outcome: WireOutcome): void => {
        if (!open || !from.alive) return;
        open = false;
        timeout.cancel();
        unwatch();
        unwatchCaller();
        if (outcome.kind === "answered") this.#watcher.answered(message, outcome.answer);
        else {
          gone.abort(GONE);
          this.#watcher.unanswered(message, outcome.happened);
        }
        resolve(outcome);
      };
      const lost = (text: string): void => settle({ kind: "unreachable", happened: "maybe", message: text });
      const timeout = from.clock.after(input.timeoutMs ?? DEFAULT_TIMEOUT_MS, () => lost("timed out"));
      if (input.signal?.aborted === true) return lost("aborted");
      input.signal?.addEventListener("abort", () => lost("aborted"), { once: true });
      this.#watcher.sent(message);
      const fate = this.#faults.fateOf(link);
      if (fate.loses === "request") return fate.reset ? void this.#time.after(fate.delayMs, () => lost("reset")) : undefined;
      const deliver = (isFirst: boolean): void => {
        const endpoint = to();
        if (endpoint === null || !endpoint.process.alive) {
          if (isFirst) settle({ kind: "unreachable", happened: "no", message: "refused" });
          return;
        }
        if (isFirst) unwatch = endpoint.process.onKill(() => void this.#time.after(1, () => lost("reset")));
        void this.#serve(endpoint, message, isFirst ? gone.signal : copyGone.signal)
          .then((answer) => {
            if (!isFirst) copyGone.abort(GONE);
            if (!isFirst || !endpoint.process.alive) return;
            if (fate.loses === "answer") return fate.reset ? lost("reset") : undefined;
            this.#time.after(fate.answerDelayMs, () => settle({ kind: "answered", answer }));
          })
          .catch((error: unknown) => this.#watcher.failed(message, error));
      };
      this.#time.after(fate.delayMs, () => deliver(true));
      if (fate.doubledAfterMs !== null) this.#time.after(fate.delayMs + fate.doubledAfterMs, () => deliver(false));
    });
  }

  async #serve(endpoint: Endpoint, message: Message, signal: AbortSignal): Promise<WireAnswer> {
    const { route, input, remoteAddress } = message;
    const headers = { ...input.headers } as Record<string, string>;
    this.#watcher.arrived(message, endpoint);
    const done = endpoint.onRequest?.(headers, remoteAddress) ?? ((): void => undefined);
    let isOpen = true;
    const closed = (): void => {
      if (isOpen) done();
      if (isOpen) this.#watcher.closed(message, endpoint);
      isOpen = false;
    };
    signal.addEventListener("abort", closed, { once: true });
    const answer = await answerOf(endpoint, route, {
      input,
      headers,
      remoteAddress,
      signal,
      onUnforeseen: (error) => this.#watcher.failed(message, error),
    });
    closed();
    this.#watcher.served(message, answer);
    return answer;
  }
}

interface Request {
  readonly input: CallInput<Route>;
  readonly headers: Record<string, string>;
  readonly remoteAddress: string;
  readonly signal: AbortSignal;
  readonly onUnforeseen: (error: unknown) => void;
}

async function answerOf(endpoint: Endpoint, route: Route, request: Request): Promise<WireAnswer> {
  const { input, headers, remoteAddress, signal } = request;
  try {
    const mounted = endpoint.routes.get(keyOf(route));
    if (mounted === undefined) throw new TorporError("not_found", `Cannot find ${keyOf(route)}`);
    const caller = await endpoint.authenticate(mounted.route, { headers, remoteAddress });
    const result = await mounted.handler({
      params: validated(mounted.route.params, input.params ?? {}, "params") as ParamsOf<Route>,
      query: validated(mounted.route.query, input.query ?? {}, "query") as QueryOf<Route>,
      body: validated(mounted.route.body, wire(input.body), "body") as BodyOf<Route>,
      caller,
      headers,
      remoteAddress,
      signal,
    });
    const answer = result instanceof Answer ? result : new Answer(result);
    return { status: answer.status ?? route.status, body: wire(answer.body), shouldRetry: answer.headers["x-should-retry"] };
  } catch (error) {
    const answer = errorAnswer(error);
    if (!answer.expected) request.onUnforeseen(error);
    return { status: answer.status, body: answer.body, shouldRetry: answer.headers["x-should-retry"] };
  }
}

/** As the real client reads an answer. */
function read(route: Route, { status, body, shouldRetry }: WireAnswer): CallOutcome<unknown> {
  if (status < 300) {
    const parsed = route.reply.safeParse(body);
    if (parsed.success) return { kind: "ok", status, body: parsed.data };
    throw new Error(`Cannot understand the answer of ${keyOf(route)}: ${parsed.error.message}`);
  }
  const { error = "", code } = body as { error?: string; code?: ErrorCode };
  const byCode = code === undefined ? status >= 500 || status === 408 || status === 429 : ERRORS[code].retry === "later";
  return { kind: "refused", status, code, message: error, mayRetry: shouldRetry === undefined ? byCode : shouldRetry === "true" };
}

export function keyOf(route: Pick<Route, "method" | "path">): string {
  return `${route.method} ${route.path}`;
}

export function routeMap(routes: readonly Mounted[]): ReadonlyMap<string, Mounted> {
  return new Map(routes.map((mounted) => [keyOf(mounted.route), mounted]));
}

/** What is left of a value after it was sent as JSON. */
function wire(value: unknown): unknown {
  return value === undefined || Buffer.isBuffer(value) ? value : JSON.parse(JSON.stringify(value));
}
