import type { IncomingHttpHeaders } from "node:http";
import type { Auth, AuthOf, BodyOf, ParamsOf, QueryOf, ReplyOf, Route } from "@torpor/contracts";

/** What a handler is given: everything is validated, the caller is known. */
export interface Call<R, Caller> {
  readonly params: ParamsOf<R>;
  readonly query: QueryOf<R>;
  readonly body: BodyOf<R>;
  readonly caller: Caller;
  readonly headers: IncomingHttpHeaders;
  /** Address that the connection comes from. */
  readonly remoteAddress: string;
  /** Fires when the client has gone before it was answered. */
  readonly signal: AbortSignal;
}

/** An answer with a status or headers of its own. */
export class Answer<T> {
  readonly body: T;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;

  constructor(body: T, options: { status?: number; headers?: Readonly<Record<string, string>> } = {}) {
    this.body = body;
    this.status = options.status;
    this.headers = options.headers ?? {};
  }
}

/** A route with its handler, ready to be served. */
export interface Mounted {
  readonly route: Route;
  readonly handler: (call: Call<Route, unknown>) => Promise<unknown>;
}

/** Which caller each kind of authentication yields; `none` yields null. */
export type Callers = Partial<Record<Auth, unknown>>;

type CallerOf<R, C extends Callers> = AuthOf<R> extends keyof C ? C[AuthOf<R>] : null;

/** Joins a declared route with its handler. `Callers` says what each kind of authentication hands to it. */
export function mounter<C extends Callers>() {
  return function mount<R>(declared: R, handler: (call: Call<R, CallerOf<R, C>>) => Promise<ReplyOf<R> | Answer<ReplyOf<R>>>): Mounted {
    return { route: declared as Route, handler: handler as Mounted["handler"] };
  };
}
