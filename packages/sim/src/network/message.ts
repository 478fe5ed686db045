// What goes from process to process, and who hears of it.
import type { Route } from "@torpor/contracts";
import type { CallInput, Mounted } from "@torpor/http";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { LinkName } from "../scenario/scenario.ts";

export interface Message {
  readonly link: LinkName;
  readonly from: SimProcess;
  readonly route: Route;
  /** Names the route, as `keyOf` does. */
  readonly name: string;
  readonly input: CallInput<Route>;
  /** All of them, those of the link too. */
  readonly headers: Readonly<Record<string, string>>;
  readonly remoteAddress: string;
}

/** What an answer is on the wire. */
export interface WireAnswer {
  readonly status: number;
  readonly body: unknown;
  readonly shouldRetry: string | undefined;
}

export type WireOutcome =
  | { readonly kind: "answered"; readonly answer: WireAnswer }
  | { readonly kind: "unreachable"; readonly happened: "no" | "maybe"; readonly message: string };

/** A server: routes of one process, reachable while it lives. */
export interface Endpoint {
  readonly process: SimProcess;
  readonly routes: ReadonlyMap<string, Mounted>;
  authenticate(route: Route, request: { headers: Record<string, string>; remoteAddress: string }): Promise<unknown>;
  /** Told that a request is open; the result is called when its answer has left. */
  onRequest?(headers: Record<string, string>, remoteAddress: string): () => void;
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

const KEYS = new Map<string, Map<string, string>>();

/** Names a route. The same string each time: everybody looks messages up by it. */
export function keyOf({ method, path }: Pick<Route, "method" | "path">): string {
  const byPath = KEYS.get(method) ?? new Map<string, string>();
  KEYS.set(method, byPath);
  const key = byPath.get(path) ?? `${method} ${path}`;
  byPath.set(path, key);
  return key;
}

export function routeMap(routes: readonly Mounted[]): ReadonlyMap<string, Mounted> {
  return new Map(routes.map((mounted) => [keyOf(mounted.route), mounted]));
}
