// L1 and L4: nobody is frozen for a run that its supervisor knows, or could have known, to have moved on; and whoever learns so
// while a freeze is under way undoes it at once.
import { gateway as gatewayRoutes, workerActions, workload, WORKLOAD_HEADERS, type Route } from "@torpor/contracts";
import { snapshotComplete } from "@torpor/supervisor";
import type { SimProcess } from "../kernel/simProcess.ts";
import { keyOf, type Message, type WireAnswer } from "../network/message.ts";
import type { Context } from "../world/context.ts";

const key = (declared: unknown): string => keyOf(declared as Route);
const SNAPSHOT = key(gatewayRoutes.snapshotInstance);
const CANCEL = key(gatewayRoutes.cancelSnapshot);
const ABORT = key(gatewayRoutes.abortSnapshot);
const REPORT = key(workerActions.completeSuspension);
const LATEST = key(workerActions.latestSnapshot);
const CALLBACK = key(snapshotComplete);
const ENDS_WAIT: ReadonlySet<string> = new Set([workload.completeAttempt, workload.continueRun, workload.startAttempt].map(key));
const RUNNER_CALLS: ReadonlySet<string> = new Set([workload.heartbeat, workload.snapshotsSince].map(key));

/** A look at the platform is fresh for this long: the wait for the runner's open requests lies between it and the freeze. */
const FRESH_MS = 6_500;
/** Within this of learning that the run has moved on, the freeze is being undone. */
const UNDO_WITHIN_MS = 20;

interface Freezing {
  readonly runnerId: string;
  readonly snapshotId: string;
  reported: boolean;
  /** A report was not answered: a refusal of the next may be about an image that was accepted, until a look tells. */
  inDoubt: boolean;
  /** It was refused in doubt. */
  refusedInDoubt: boolean;
}

/** What one supervisor process knows of one run. */
interface Known {
  newest: string;
  /** The last look at the platform, and what it showed. */
  checked: { readonly atMs: number; readonly snapshotId: string; readonly waits: boolean } | null;
  /** Runners that have ended the wait themselves, and the snapshot at which they did. */
  readonly ended: Map<string, string>;
  freezing: Freezing | null;
}

export class FreezeCheck {
  readonly #context: Context;
  /** Requests of each runner that are open at a supervisor. */
  readonly #open = new WeakMap<SimProcess, Map<string, number>>();
  readonly #known = new WeakMap<SimProcess, Map<string, Known>>();

  constructor(context: Context) {
    this.#context = context;
  }

  sent(name: string, message: Message): void {
    if (message.link === "supervisor>gateway") {
      if (name === SNAPSHOT) this.#freezeAsked(message);
      if (name === CANCEL || name === ABORT) this.#undone(message);
    }
    if (message.link === "supervisor>platform" && name === REPORT) {
      const known = this.#of(message.from, paramsOf(message).runId);
      if (known.freezing !== null) known.freezing.reported = true;
    }
  }

  arrived(name: string, message: Message, process: SimProcess): void {
    if (message.link === "gateway>supervisor" && name === CALLBACK) return this.#calledBack(message, process);
    if (message.link !== "runner>supervisor") return;
    const { runId, snapshotId } = paramsOf(message);
    const runnerId = runnerOf(message);
    this.#countOpen(process, runnerId, 1);
    const known = this.#of(process, runId);
    if (RUNNER_CALLS.has(name)) this.#saw(process, runId, snapshotId, "its runner");
    if (!ENDS_WAIT.has(name)) return;
    if (snapshotId < (known.ended.get(runnerId) ?? "")) return; // a late copy of an earlier call ends nothing that came after it
    known.ended.set(runnerId, snapshotId);
    const { freezing } = known;
    if (freezing?.runnerId === runnerId && snapshotId >= freezing.snapshotId)
      this.#mustUndo(process, runId, `${runnerId} has ended its wait`);
  }

  /** A freeze that was refused needs no undoing. */
  notBegun(name: string, message: Message): void {
    if (name === SNAPSHOT) this.#undone(message);
  }

  /** Nobody knows what became of it. */
  unanswered(name: string, message: Message): void {
    const { freezing } = this.#of(message.from, paramsOf(message).runId);
    if (name === REPORT && freezing !== null) freezing.inDoubt = true;
  }

  closed(message: Message, process: SimProcess): void {
    if (message.link === "runner>supervisor") this.#countOpen(process, runnerOf(message), -1);
  }

  #countOpen(process: SimProcess, runnerId: string, by: 1 | -1): void {
    const open = this.#open.get(process) ?? new Map<string, number>();
    this.#open.set(process, open);
    open.set(runnerId, (open.get(runnerId) ?? 0) + by);
  }

  answered(name: string, message: Message, answer: WireAnswer): void {
    if (name === REPORT && (answer.body as { accepted?: boolean }).accepted === false) this.#refused(message);
    if (message.link === "supervisor>gateway" && answer.status >= 400) return this.notBegun(name, message);
    if (message.link !== "supervisor>platform" || answer.status >= 300) return;
    const { runId } = paramsOf(message);
    const known = this.#of(message.from, runId);
    if (name === LATEST && known.freezing?.refusedInDoubt === true) this.#mustGoOn(message.from, known);
    for (const { friendlyId, executionStatus } of snapshotsIn(answer.body)) {
      if (name === LATEST) {
        const checked = { atMs: this.#context.time.nowMs, snapshotId: friendlyId, waits: executionStatus === "EXECUTING_WITH_WAITPOINTS" };
        this.#of(message.from, runId).checked = checked;
      }
      this.#saw(message.from, runId, friendlyId, `the platform: ${executionStatus}`);
    }
  }

  #freezeAsked(message: Message): void {
    const { name: runnerId } = message.input.params as unknown as { name: string };
    const { metadata } = (message.input.body as unknown as { callback: { metadata: Record<string, string> } }).callback;
    const { runId = "", snapshotFriendlyId: snapshotId = "" } = metadata;
    const known = this.#of(message.from, runId);
    if (known.newest > snapshotId) this.#broken(`${runnerId} is frozen for ${snapshotId}, although ${known.newest} was seen`);
    const { checked } = known;
    const isFresh =
      checked !== null && checked.waits && checked.snapshotId === snapshotId && this.#context.time.nowMs - checked.atMs < FRESH_MS;
    if (!isFresh) this.#broken(`${runnerId} is frozen for ${snapshotId} without a look at whether the run still waits there`);
    const endedAt = known.ended.get(runnerId);
    if (endedAt !== undefined && endedAt >= snapshotId) this.#broken(`${runnerId} is frozen for ${snapshotId}, which it has ended itself`);
    if ((this.#open.get(message.from)?.get(runnerId) ?? 0) > 0) this.#broken(`${runnerId} is frozen amid a request`);
    known.freezing = { runnerId, snapshotId, reported: false, inDoubt: false, refusedInDoubt: false };
  }

  /** The platform does not want the image: the sandbox goes on at once. */
  #refused(message: Message): void {
    const known = this.#of(message.from, paramsOf(message).runId);
    const { freezing } = known;
    const { checkpoint } = message.input.body as unknown as { checkpoint: { location: string } };
    const isAccepted = this.#context.engine.liveLocations([checkpoint.location]).length > 0; // by an earlier report of it
    if (freezing === null || isAccepted) return;
    freezing.refusedInDoubt = freezing.inDoubt;
    if (!freezing.inDoubt) this.#mustGoOn(message.from, known);
  }

  /** Its supervisor knows that its image is not wanted. */
  #mustGoOn(process: SimProcess, known: Known): void {
    const { freezing } = known;
    if (freezing === null) return;
    this.#context.time.after(UNDO_WITHIN_MS, () => {
      if (process.alive && known.freezing === freezing) this.#broken(`${freezing.runnerId} stands still, although its image was refused`);
    });
  }

  #saw(process: SimProcess, runId: string, snapshotId: string, where: string): void {
    const known = this.#of(process, runId);
    if (snapshotId <= known.newest) return;
    known.newest = snapshotId;
    if (known.freezing !== null && known.freezing.snapshotId < snapshotId)
      this.#mustUndo(process, runId, `${snapshotId} was seen from ${where}`);
  }

  #mustUndo(process: SimProcess, runId: string, why: string): void {
    const known = this.#of(process, runId);
    const { freezing } = known;
    if (freezing === null || freezing.reported) return;
    this.#context.time.after(UNDO_WITHIN_MS, () => {
      if (!process.alive || known.freezing !== freezing || freezing.reported) return;
      this.#broken(`${freezing.runnerId} is being frozen for ${freezing.snapshotId} and that is not undone, although ${why}`);
    });
  }

  #undone(message: Message): void {
    const { name, snapshotId } = message.input.params as unknown as { name?: string; snapshotId?: string };
    for (const known of this.#known.get(message.from)?.values() ?? [])
      if (known.freezing !== null && (known.freezing.runnerId === name || snapshotId !== undefined)) known.freezing = null;
  }

  #calledBack(message: Message, process: SimProcess): void {
    if (message.from.name.startsWith("stranger")) return;
    const body = JSON.parse(String(message.input.body)) as { status: string; metadata: Record<string, string> };
    if (body.status !== "failed") return;
    const known = this.#of(process, body.metadata["runId"] ?? "");
    if (known.freezing?.snapshotId === body.metadata["snapshotFriendlyId"]) known.freezing = null;
  }

  #broken(text: string): void {
    this.#context.violation("L1", text);
  }

  #of(process: SimProcess, runId: string): Known {
    const byRun = this.#known.get(process) ?? new Map<string, Known>();
    this.#known.set(process, byRun);
    const known = byRun.get(runId) ?? { newest: "", checked: null, ended: new Map<string, string>(), freezing: null };
    byRun.set(runId, known);
    return known;
  }
}

function paramsOf(message: Message): { runId: string; snapshotId: string } {
  const { runId = "", snapshotId = "" } = (message.input.params ?? {}) as { runId?: string; snapshotId?: string };
  return { runId, snapshotId };
}

function runnerOf(message: Message): string {
  return message.headers[WORKLOAD_HEADERS.runnerId] ?? "";
}

interface Seen {
  readonly friendlyId: string;
  readonly executionStatus: string;
}

/** Every snapshot that an answer tells of. */
function snapshotsIn(body: unknown): Seen[] {
  const { execution, snapshots, snapshot, result } = (body ?? {}) as {
    execution?: { snapshot: Seen };
    snapshots?: { snapshot: Seen }[];
    snapshot?: Seen;
    result?: { snapshot: Seen };
  };
  return [execution?.snapshot, ...(snapshots ?? []).map((one) => one.snapshot), snapshot, result?.snapshot].filter(
    (one) => one !== undefined,
  );
}
