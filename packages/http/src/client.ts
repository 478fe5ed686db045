import { ERRORS, type BodyOf, type ErrorCode, type ParamsOf, type QueryOf, type ReplyOf, type Route } from "@torpor/contracts";
import { backoffMs, sleep, type Clock, type Closable } from "@torpor/kernel";
import { Agent, request } from "undici";
import { z } from "zod";

/**
 * What became of a call.
 * - `ok`: it was done.
 * - `refused`: the other side answered that it was not.
 * - `unreachable`: no answer. `happened: "no"` when no connection was made, `"maybe"` when it may have been done all the same.
 */
export type CallOutcome<T> =
  | { readonly kind: "ok"; readonly status: number; readonly body: T }
  | {
      readonly kind: "refused";
      readonly status: number;
      readonly code: string | undefined;
      readonly message: string;
      readonly mayRetry: boolean;
    }
  | { readonly kind: "unreachable"; readonly happened: "no" | "maybe"; readonly message: string };

export interface CallInput<R> {
  readonly params?: ParamsOf<R>;
  readonly query?: QueryOf<R>;
  readonly body?: BodyOf<R>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface RouteClientOptions {
  readonly baseUrl: string;
  /** Sent with every call: authorization and the like. */
  readonly headers?: () => Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

/** Calls declared routes of one server. */
export class RouteClient implements Closable {
  readonly #options: RouteClientOptions;
  readonly #agent = new Agent({ keepAliveTimeout: 4_000, connections: 128 });

  constructor(options: RouteClientOptions) {
    this.#options = options;
  }

  /** Makes one call. Never throws for what the network or the other side do. */
  async call<R>(declared: R, input: CallInput<R> = {}): Promise<CallOutcome<ReplyOf<R>>> {
    const route = declared as Route;
    const timeout = AbortSignal.timeout(input.timeoutMs ?? this.#options.timeoutMs);
    const signal = input.signal === undefined ? timeout : AbortSignal.any([timeout, input.signal]);
    try {
      const response = await request(this.#url(route, input as CallInput<Route>), {
        method: route.method,
        dispatcher: this.#agent,
        signal,
        headers: {
          ...this.#options.headers?.(),
          ...(input.body === undefined ? {} : { "content-type": "application/json" }),
          ...input.headers,
        },
        body: input.body === undefined ? null : JSON.stringify(input.body),
      });
      return outcomeOf(route, response.statusCode, response.headers, await response.body.text()) as CallOutcome<ReplyOf<R>>;
    } catch (error) {
      return unreachable(error);
    }
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  #url(route: Route, input: CallInput<Route>): string {
    const params = (input.params ?? {}) as Record<string, unknown>;
    const path = route.path.replace(/:(\w+)/g, (_match, name: string) => encodeURIComponent(String(params[name])));
    const query = Object.entries((input.query ?? {}) as Record<string, unknown>).filter(([, value]) => value !== undefined);
    const search =
      query.length === 0 ? "" : `?${new URLSearchParams(query.map(([name, value]): [string, string] => [name, String(value)]))}`;
    return `${this.#options.baseUrl.replace(/\/$/, "")}${path}${search}`;
  }
}

function outcomeOf(route: Route, status: number, headers: Record<string, unknown>, text: string): CallOutcome<unknown> {
  if (status >= 200 && status < 300) return acceptedOutcome(route, status, text);
  const body = ErrorBody.safeParse(jsonOrNull(text));
  const message = body.success ? errorText(body.data.error) : text.slice(0, 500);
  const code = body.success ? body.data.code : undefined;
  return { kind: "refused", status, code, message, mayRetry: mayRetry(status, code, headers["x-should-retry"]) };
}

function acceptedOutcome(route: Route, status: number, text: string): CallOutcome<unknown> {
  const parsed = route.reply.safeParse(text === "" ? undefined : jsonOrNull(text));
  if (parsed.success) return { kind: "ok", status, body: parsed.data };
  const message = `Cannot understand the answer of ${route.method} ${route.path}: ${z.prettifyError(parsed.error)}`;
  return { kind: "refused", status, code: "reply_invalid", message, mayRetry: false };
}

const ErrorBody = z.object({ error: z.union([z.string(), z.object({ message: z.string() })]), code: z.string().optional() });

function errorText(error: string | { message: string }): string {
  return typeof error === "string" ? error : error.message;
}

/** The other side's word counts most, then what we know of the code, then the status. */
function mayRetry(status: number, code: string | undefined, header: unknown): boolean {
  if (header === "true") return true;
  if (header === "false") return false;
  if (code !== undefined && code in ERRORS) return ERRORS[code as ErrorCode].retry === "later";
  return status === 408 || status === 429 || status >= 500;
}

const NOT_SENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
  "ENOENT",
  "UND_ERR_DESTROYED",
]);

function unreachable(error: unknown): CallOutcome<never> {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return {
    kind: "unreachable",
    happened: NOT_SENT.has(code) ? "no" : "maybe",
    message: error instanceof Error ? error.message || code : String(error),
  };
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // an answer that is not JSON does not satisfy any schema, and is reported as such
  }
}

export interface RetryPolicy {
  readonly attempts: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly clock: Clock;
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** Which outcomes are worth another try; by default those that say so, and those without an answer. */
  readonly retryable?: (outcome: CallOutcome<unknown>) => boolean;
}

/** Repeats an idempotent call until it is answered for good, the attempts are spent, or the signal fires. */
export async function withRetries<T>(policy: RetryPolicy, call: () => Promise<CallOutcome<T>>): Promise<CallOutcome<T>> {
  const retryable = policy.retryable ?? worthAnotherTry;
  for (let attempt = 1; ; attempt++) {
    const outcome = await call();
    if (attempt >= policy.attempts || !retryable(outcome) || policy.signal.aborted) return outcome;
    await sleep(
      policy.clock,
      backoffMs(attempt, { baseMs: policy.baseMs, factor: 2, maxMs: policy.maxMs, random: policy.random }),
      policy.signal,
    );
  }
}

function worthAnotherTry(outcome: CallOutcome<unknown>): boolean {
  return outcome.kind === "unreachable" || (outcome.kind === "refused" && outcome.mayRetry);
}
