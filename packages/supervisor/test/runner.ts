import { workload, WORKLOAD_HEADERS } from "@torpor/contracts";
import type { CallOutcome } from "@torpor/http";
import type { TestNode } from "./node.ts";

/** A runner as the supervisor sees it: its calls, with its id. */
export class TestRunner {
  readonly #node: TestNode;
  readonly runId: string;
  name: string;
  /** What it says it is. */
  claim: string;
  snapshotId: string;
  remoteAddress = "127.0.0.1";

  constructor(node: TestNode, runId: string, name: string) {
    this.#node = node;
    this.runId = runId;
    this.name = name;
    this.claim = name;
    this.snapshotId = node.platform.latest(runId).snapshot.friendlyId;
  }

  async start(): Promise<CallOutcome<unknown>> {
    const outcome = await this.call(workload.startAttempt, {});
    if (outcome.kind === "ok") this.snapshotId = (outcome.body as { snapshot: { friendlyId: string } }).snapshot.friendlyId;
    return outcome;
  }

  suspend(): Promise<CallOutcome<unknown>> {
    return this.call(workload.suspend);
  }

  continue(snapshotId = this.snapshotId): Promise<CallOutcome<unknown>> {
    this.snapshotId = snapshotId;
    return this.call(workload.continueRun);
  }

  heartbeat(): Promise<CallOutcome<unknown>> {
    return this.call(workload.heartbeat, {});
  }

  complete(
    completion: Record<string, unknown> = { ok: true, id: this.runId, outputType: "application/json" },
  ): Promise<CallOutcome<unknown>> {
    return this.call(workload.completeAttempt, { completion });
  }

  async since(): Promise<string[]> {
    const outcome = await this.call(workload.snapshotsSince);
    if (outcome.kind !== "ok") throw new Error(`since: ${outcome.message}`);
    const { snapshots } = outcome.body as { snapshots: { snapshot: { friendlyId: string; executionStatus: string } }[] };
    this.snapshotId = snapshots.at(-1)?.snapshot.friendlyId ?? this.snapshotId;
    return snapshots.map(({ snapshot }) => snapshot.executionStatus);
  }

  /** Makes a call as this runner; `withId: false` as one so old that it does not say who it is. */
  call(route: unknown, body?: unknown, options: { readonly withId?: boolean } = {}): Promise<CallOutcome<unknown>> {
    const { workload: link } = this.#node;
    link.remoteAddress = this.remoteAddress;
    const headers = {
      [WORKLOAD_HEADERS.deploymentVersion]: "1",
      [WORKLOAD_HEADERS.projectRef]: "proj",
      ...(options.withId === false ? {} : { [WORKLOAD_HEADERS.runnerId]: this.claim }),
    };
    return link.call(route as never, {
      params: { runId: this.runId, snapshotId: this.snapshotId } as never,
      headers,
      ...(body === undefined ? {} : { body: body as never }),
    });
  }
}
