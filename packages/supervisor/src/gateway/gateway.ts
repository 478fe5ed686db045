import {
  gateway as routes,
  type CreateInstanceBody,
  type MemoryImageId,
  type RunnerId,
  type SnapshotBody,
  type BodyOf,
} from "@torpor/contracts";
import { RouteClient } from "@torpor/http";
import type { RouteCaller } from "../callers.ts";
import type { SupervisorConfig } from "../config.ts";

// Names and ids come from a gateway or from the wire and go back to it: they are opaque here, so a foreign
// gateway's ids, which look otherwise, work too.
const nameOf = (name: string) => ({ name: name as RunnerId });
const imageOf = (imageId: string) => ({ snapshotId: imageId as MemoryImageId });

/** How long the gateway may take to say what happened; its own calls to sandboxes are bounded by less. */
const EVENTS_WAIT_MS = 20_000;
const SHORT_TIMEOUT_MS = 10_000;

/** The compute gateway of this node. Nothing here retries. */
export class Gateway {
  readonly #caller: RouteCaller;

  constructor(caller: RouteCaller) {
    this.#caller = caller;
  }

  create(body: Omit<CreateInstanceBody, "name"> & { readonly name: string }) {
    return this.#caller.call(routes.createInstance, { body: { ...body, name: body.name as RunnerId } });
  }

  restore(imageId: string, body: Omit<BodyOf<typeof routes.restoreSnapshot>, "name"> & { readonly name: string }) {
    return this.#caller.call(routes.restoreSnapshot, { params: imageOf(imageId), body: { ...body, name: body.name as RunnerId } });
  }

  /** With `id` only that one, not another that has got its name since. */
  remove(name: string, id: string | null = null) {
    return this.#caller.call(routes.deleteInstance, { params: nameOf(name), query: id === null ? {} : { id } });
  }

  instance(name: string) {
    return this.#caller.call(routes.getInstance, { params: nameOf(name), timeoutMs: SHORT_TIMEOUT_MS });
  }

  /** Those that ended by themselves included, until they are removed. A gateway of another make may not name them. */
  instances() {
    return this.#caller.call(routes.listInstances, { query: { ended: "true" }, timeoutMs: SHORT_TIMEOUT_MS });
  }

  snapshot(name: string, body: SnapshotBody) {
    return this.#caller.call(routes.snapshotInstance, { params: nameOf(name), body });
  }

  cancelSnapshot(name: string) {
    return this.#caller.call(routes.cancelSnapshot, { params: nameOf(name) });
  }

  images() {
    return this.#caller.call(routes.listSnapshots, { timeoutMs: SHORT_TIMEOUT_MS });
  }

  commit(imageId: string, keepMs = 0) {
    return this.#caller.call(routes.commitSnapshot, {
      params: imageOf(imageId),
      ...(keepMs === 0 ? {} : { body: { keep_ms: Math.round(keepMs) } }),
    });
  }

  abort(imageId: string) {
    return this.#caller.call(routes.abortSnapshot, { params: imageOf(imageId) });
  }

  removeImage(imageId: string) {
    return this.#caller.call(routes.deleteSnapshot, { params: imageOf(imageId), timeoutMs: SHORT_TIMEOUT_MS });
  }

  events(after: number, signal: AbortSignal) {
    return this.#caller.call(routes.events, {
      query: { after, wait_ms: EVENTS_WAIT_MS },
      timeoutMs: EVENTS_WAIT_MS + SHORT_TIMEOUT_MS,
      signal,
    });
  }

  node() {
    return this.#caller.call(routes.node, { timeoutMs: SHORT_TIMEOUT_MS });
  }
}

/** An HTTP client for the gateway; the caller closes it. */
export function gatewayClient(config: SupervisorConfig): RouteClient {
  const { url, token, timeoutMs } = config.gateway;
  return new RouteClient({
    baseUrl: url,
    timeoutMs,
    headers: () => (token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
  });
}
