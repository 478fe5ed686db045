// Hears every message of the plane: names the moments that faults aim at, and hands what matters to the checkers.
import { CALLBACK_SIGNATURE_HEADER, gateway as gatewayRoutes, warmStart, workerActions, workload, type Route } from "@torpor/contracts";
import { snapshotComplete } from "@torpor/supervisor";
import type { Checks } from "../checks/checks.ts";
import { keyOf, type Endpoint, type Message, type NetworkWatcher, type WireAnswer } from "../network/message.ts";
import type { Point } from "../scenario/scenario.ts";
import type { Context } from "./context.ts";

const key = (declared: unknown): string => keyOf(declared as Route);
const KEYS = {
  suspend: key(workload.suspend),
  complete: key(workload.completeAttempt),
  latest: key(workerActions.latestSnapshot),
  snapshot: key(gatewayRoutes.snapshotInstance),
  commit: key(gatewayRoutes.commitSnapshot),
  restore: key(gatewayRoutes.restoreSnapshot),
  report: key(workerActions.completeSuspension),
  callback: key(snapshotComplete),
  poll: key(warmStart.poll),
};

const SENT_POINTS: Readonly<Record<string, Point>> = {
  [KEYS.snapshot]: "snapshot_asked",
  [KEYS.commit]: "commit_asked",
  [KEYS.restore]: "restore_asked",
  [KEYS.report]: "reported",
  [KEYS.callback]: "callback_sent",
  [KEYS.poll]: "idle",
};

export class Watcher implements NetworkWatcher {
  /** What the last snapshot was asked with: whoever has seen it could answer in the gateway's place. */
  lastAsked: { readonly name: string; readonly metadata: Readonly<Record<string, string>> } | null = null;
  lastRestore: { readonly imageId: string; readonly body: Readonly<Record<string, unknown>> } | null = null;
  lastCallback: { readonly body: string; readonly signature: string | undefined } | null = null;
  readonly #context: Context;
  readonly #checks: Checks;

  constructor(context: Context, checks: Checks) {
    this.#context = context;
    this.#checks = checks;
  }

  sent(message: Message): void {
    const { name, input } = message;
    if (name === KEYS.callback) {
      const signature = message.headers[CALLBACK_SIGNATURE_HEADER];
      if (!message.from.name.startsWith("stranger")) this.lastCallback = { body: String(input.body), signature };
    }
    if (name === KEYS.snapshot) {
      const { callback } = input.body as unknown as { callback: { metadata: Record<string, string> } };
      this.lastAsked = { name: (input.params as unknown as { name: string }).name, metadata: callback.metadata };
    }
    if (name === KEYS.restore) {
      const { snapshotId } = input.params as unknown as { snapshotId: string };
      this.lastRestore = { imageId: snapshotId, body: input.body as unknown as Record<string, unknown> };
    }
    this.#record("sent", message);
    this.#checks.sent(name, message);
    const point = name === KEYS.poll && message.link !== "runner>supervisor" ? undefined : SENT_POINTS[name];
    if (point !== undefined) this.#point(point, message);
  }

  arrived(message: Message, at: Endpoint): void {
    const { name } = message;
    this.#checks.arrived(name, message, at.process);
    if (name === KEYS.suspend) this.#point("suspend_asked", message);
    if (name === KEYS.complete && message.link === "runner>supervisor") this.#point("completing", message);
  }

  closed(message: Message, at: Endpoint): void {
    this.#checks.closed(message, at.process);
  }

  served(message: Message, answer: WireAnswer): void {
    const { name } = message;
    if (name === KEYS.report && (answer.body as { accepted?: boolean }).accepted === true) this.#point("accepted", message);
  }

  answered(message: Message, answer: WireAnswer): void {
    const { name } = message;
    this.#record(`answered ${answer.status}`, message);
    this.#checks.answered(name, message, answer);
    if (name === KEYS.latest) this.#point("wait_checked", message);
  }

  unanswered(message: Message, happened: "no" | "maybe"): void {
    this.#record(happened === "no" ? "could not reach" : "had no answer", message);
    this.#checks.unanswered(message.name, message, happened);
  }

  failed(message: Message, error: unknown): void {
    // a machine that refuses is answered for with 500, as it is over HTTP
    if (this.#context.scenario.faults.some(({ kind }) => kind === "driver" || kind === "disk")) return;
    this.#context.violation("unforeseen", `${message.name} failed: ${error instanceof Error ? error.stack : String(error)}`);
  }

  #record(what: string, { link, from, name, input }: Message): void {
    if (IDLE.has(name)) return;
    this.#context.history.add(from.name, `${what} ${link} ${name}`, input.params as Readonly<Record<string, unknown>> | undefined);
  }

  #point(name: Point, { input, from }: Message): void {
    const params = (input.params ?? {}) as Record<string, string>;
    const metadata = (input.body as { callback?: { metadata?: Record<string, string> } } | undefined)?.callback?.metadata;
    const node = Number(/node(\d+)/.exec(from.name)?.[1] ?? 0);
    const runId = params["runId"] ?? metadata?.["runId"] ?? this.#checks.runOf(params["name"] ?? params["snapshotId"] ?? "");
    this.#context.point(name, { runId, node });
  }
}

/** What goes on all the time and tells nothing. */
const IDLE: ReadonlySet<string> = new Set(
  [
    workerActions.dequeue,
    workerActions.heartbeat,
    workerActions.timeline,
    warmStart.poll,
    warmStart.connect,
    gatewayRoutes.events,
    gatewayRoutes.node,
    gatewayRoutes.listInstances,
    gatewayRoutes.listSnapshots,
  ].map((declared) => key(declared)),
);
