// Calls mounted routes in this process: the same declarations, the same validation, no port and no real time.
import type { BodyOf, ParamsOf, QueryOf, ReplyOf, Route } from "@torpor/contracts";
import { Answer, errorAnswer, type CallInput, type CallOutcome, type Mounted } from "@torpor/http";
import { ERRORS, type ErrorCode } from "@torpor/contracts";
import type { RouteCaller } from "../src/callers.ts";

/** What can be ordered to go wrong with the next call of a route. */
export type Fault =
  /** Nobody answers, and it did not happen. */
  | "refuse_connection"
  /** Nothing is wrong with this one: for the ones after it. */
  | "pass"
  /** It is not done, but nobody can tell. */
  | "lose_request"
  /** It is done, and the answer is lost. */
  | "lose_reply"
  /** It is done, and the answer is nonsense. */
  | "garble"
  /** It is neither done nor answered until released. */
  | { readonly hold: Promise<void> }
  /** Answers with this status and does nothing. */
  | { readonly status: number; readonly code?: ErrorCode };

export interface Recorded {
  readonly path: string;
  readonly method: string;
  readonly params: Record<string, string>;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

/** A part behind its routes, with faults that can be ordered. */
export class Loopback implements RouteCaller {
  readonly #routes = new Map<string, Mounted>();
  readonly #faults: { readonly route: string; readonly fault: Fault }[] = [];
  readonly calls: Recorded[] = [];
  /** True: nobody answers at all. */
  down = false;
  /** Address that calls come from. */
  remoteAddress = "127.0.0.1";
  #caller: (headers: Record<string, string>, remoteAddress: string) => Promise<unknown> = async () => null;

  constructor(routes: readonly Mounted[]) {
    for (const mounted of routes) this.#routes.set(key(mounted.route), mounted);
  }

  /** Who calls, for routes with a sandbox's authentication. */
  authenticate(find: (headers: Record<string, string>, remoteAddress: string) => Promise<unknown>): this {
    this.#caller = find;
    return this;
  }

  /** Orders a fault for the next call of a route. */
  failNext(route: unknown, ...faults: Fault[]): this {
    for (const fault of faults) this.#faults.push({ route: key(route as Route), fault });
    return this;
  }

  countOf(route: unknown): number {
    const wanted = key(route as Route);
    return this.calls.filter(({ method, path }) => `${method} ${path}` === wanted).length;
  }

  callsOf(route: unknown): Recorded[] {
    const wanted = key(route as Route);
    return this.calls.filter(({ method, path }) => `${method} ${path}` === wanted);
  }

  call: RouteCaller["call"] = async <R>(declared: R, input: CallInput<R> = {}): Promise<CallOutcome<ReplyOf<R>>> => {
    const route = declared as Route;
    this.calls.push({
      path: route.path,
      method: route.method,
      params: (input.params ?? {}) as Record<string, string>,
      body: wire(input.body),
      headers: { ...input.headers },
    });
    const fault = this.down ? "refuse_connection" : this.#takeFault(route);
    if (fault === "refuse_connection") return { kind: "unreachable", happened: "no", message: "ECONNREFUSED" };
    if (fault === "lose_request") return { kind: "unreachable", happened: "maybe", message: "socket hang up" };
    if (typeof fault === "object" && "hold" in fault) await fault.hold;
    if (typeof fault === "object" && "status" in fault) return refused(fault.status, fault.code, "ordered by the test");
    const outcome = await this.#answer(route, input as CallInput<Route>);
    if (fault === "garble")
      return { kind: "refused", status: 200, code: "reply_invalid", message: "Cannot understand the answer", mayRetry: false };
    return (fault === "lose_reply" ? { kind: "unreachable", happened: "maybe", message: "socket hang up" } : outcome) as CallOutcome<
      ReplyOf<R>
    >;
  };

  async #answer(route: Route, input: CallInput<Route>): Promise<CallOutcome<unknown>> {
    const mounted = this.#routes.get(key(route));
    if (mounted === undefined) return refused(404, undefined, `no route ${key(route)}`);
    const headers = { ...input.headers } as Record<string, string>;
    const params = (input.params ?? {}) as Record<string, string>;
    const isRunner = mounted.route.auth === "sandbox";
    try {
      const caller = isRunner ? await this.#caller(headers, this.remoteAddress) : null;
      const result = await mounted.handler({
        params: mounted.route.params.parse(params) as ParamsOf<Route>,
        query: mounted.route.query.parse(wire(input.query ?? {})) as QueryOf<Route>,
        body: mounted.route.body.parse(wire(input.body)) as BodyOf<Route>,
        caller,
        headers,
        remoteAddress: this.remoteAddress,
        signal: input.signal ?? new AbortController().signal,
      });
      const answer = result instanceof Answer ? result : new Answer(result);
      const status = answer.status ?? route.status;
      const text = wire(answer.body);
      if (status >= 400) {
        const { code } = (text ?? {}) as { code?: ErrorCode };
        const mayRetry = answer.headers["x-should-retry"];
        return refused(status, code, JSON.stringify(text), mayRetry ?? (isRunner ? String(RUNNER_RETRIES.has(status)) : undefined));
      }
      return { kind: "ok", status, body: route.reply.parse(text) };
    } catch (error) {
      const answer = errorAnswer(error);
      if (!answer.expected) throw error;
      return refused(answer.status, answer.body.code, answer.body.error);
    }
  }

  #takeFault(route: Route): Fault | undefined {
    const index = this.#faults.findIndex((fault) => fault.route === key(route));
    return index === -1 ? undefined : this.#faults.splice(index, 1)[0]?.fault;
  }
}

/** What the npm runner asks for again, unless it is told otherwise. */
const RUNNER_RETRIES: ReadonlySet<number> = new Set([408, 409, 429, 500, 502, 503, 504]);

/** What is left of a value after it was sent as JSON. */
function wire<T>(value: T): T {
  return value === undefined || Buffer.isBuffer(value) ? value : (JSON.parse(JSON.stringify(value)) as T);
}

function key(route: Pick<Route, "method" | "path">): string {
  return `${route.method} ${route.path}`;
}

function refused(status: number, code: ErrorCode | undefined, message: string, retryHeader?: string): CallOutcome<never> {
  const byCode = code === undefined ? status >= 500 || status === 408 || status === 429 : ERRORS[code].retry === "later";
  return { kind: "refused", status, code, message, mayRetry: retryHeader === undefined ? byCode : retryHeader === "true" };
}
