// All sandboxes of this node: the one place that changes a sandbox's state, in memory at once and then on disk.
import { TorporError, type RunnerId } from "@torpor/contracts";
import type { Clock } from "@torpor/kernel";
import type { Log } from "@torpor/observe";
import { Serial } from "../serial.ts";
import { nextSandboxState, type SandboxEvent } from "./lifeCycle.ts";
import type { RecordStore, SandboxRecord } from "./record.ts";

/** A sandbox in memory. Only the table writes `record`. */
export interface Sandbox {
  readonly record: Readonly<SandboxRecord>;
  /** What changes the sandbox goes through here, one after the other. */
  readonly serial: Serial;
  /** It ended, or must end, while it was starting or frozen, and nobody has drawn the consequence yet. */
  exit: { readonly exitCode: number | null; readonly reason: string } | null;
}

/** How long the answer to a request that is over can be repeated, and how many such answers are kept. */
const KEEP_GONE_MS = 15 * 60_000;
const KEEP_GONE_COUNT = 4_096;

export class SandboxTable {
  readonly #store: RecordStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #byName = new Map<RunnerId, Sandbox>();
  readonly #byId = new Map<string, Sandbox>();
  /** Writes of one file must not overtake each other. */
  readonly #writes = new Serial();

  constructor(store: RecordStore, { clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
  }

  /** The sandbox with this name, those that are gone but still remembered included. */
  find(name: RunnerId): Sandbox | undefined {
    return this.#byName.get(name);
  }

  /** Throws `not_found` when there is none, or it is gone. */
  live(name: RunnerId): Sandbox {
    const sandbox = this.#byName.get(name);
    if (sandbox === undefined || sandbox.record.state === "gone")
      throw new TorporError("not_found", `Cannot find instance ${name}: this node has none by that name`);
    return sandbox;
  }

  findById(id: string): Sandbox | undefined {
    return this.#byId.get(id);
  }

  /** Those that are not gone. */
  all(): Sandbox[] {
    return [...this.#byId.values()].filter((sandbox) => sandbox.record.state !== "gone");
  }

  /** Those that ended by themselves, until somebody deletes them, or nobody did for long. */
  ended(): Sandbox[] {
    return [...this.#byId.values()].filter(({ record }) => record.state === "gone" && record.exit !== null);
  }

  /** Takes the name at once and resolves when the record is on disk. The name must be free, or its owner gone. */
  async add(record: SandboxRecord): Promise<Sandbox> {
    const old = this.#byName.get(record.name);
    if (old !== undefined && old.record.state !== "gone")
      throw new TorporError("name_taken", `Cannot use name ${record.name}: instance ${old.record.id} has it`);
    const sandbox = this.#remember(record);
    if (old !== undefined) this.#byId.delete(old.record.id);
    try {
      await this.#writes.run(async () => {
        if (old !== undefined) await this.#store.remove(old.record.id);
        await this.#store.write(record);
      });
    } catch (error) {
      this.#drop(sandbox);
      throw new TorporError("sandbox_not_started", `Cannot start ${record.name}: its record cannot be written`, { cause: error });
    }
    return sandbox;
  }

  /**
   * Moves a sandbox by the table of its life; throws when that has no such step. In memory it has happened when this returns its
   * promise. When the record cannot be written (a full disk) life goes on: the next start looks at what is really there.
   */
  async move(sandbox: Sandbox, event: SandboxEvent, patch: Partial<SandboxRecord> = {}): Promise<void> {
    const state = nextSandboxState(sandbox.record.state, event);
    const ended = state === "gone" ? { endedAtMs: this.#clock.nowMs(), snapshot: null } : {};
    Object.assign(sandbox.record, { ...patch, state, ...ended });
    await this.#write(sandbox);
    if (state === "gone") await this.#sweep();
  }

  /** A kept sandbox goes on as another's: under a new name, which must be free, and with what is asked for now. */
  async renew(sandbox: Sandbox, renewal: Partial<SandboxRecord> & Pick<SandboxRecord, "name">): Promise<void> {
    const former = this.#byName.get(renewal.name);
    if (former !== undefined && former !== sandbox) await this.forget(former);
    if (this.#byName.get(sandbox.record.name) === sandbox) this.#byName.delete(sandbox.record.name);
    this.#byName.set(renewal.name, sandbox);
    await this.move(sandbox, "thaw", { ...renewal, metadata: {}, snapshot: null });
  }

  /** Changes what is remembered of a sandbox, not its state. */
  async patch(sandbox: Sandbox, patch: Partial<Omit<SandboxRecord, "state">>): Promise<void> {
    Object.assign(sandbox.record, patch);
    await this.#write(sandbox);
  }

  /** As if it had never been: its start failed and the caller was told so. */
  async forget(sandbox: Sandbox): Promise<void> {
    this.#drop(sandbox);
    await this.#writes.run(() => this.#store.remove(sandbox.record.id));
  }

  /** Reads what an earlier process remembered. */
  async load(): Promise<Sandbox[]> {
    return (await this.#store.load(this.#log)).map((record) => this.#remember(record));
  }

  #remember(record: SandboxRecord): Sandbox {
    const sandbox: Sandbox = { record: { ...record }, serial: new Serial(), exit: null };
    this.#byName.set(record.name, sandbox);
    this.#byId.set(record.id, sandbox);
    return sandbox;
  }

  #drop(sandbox: Sandbox): void {
    if (this.#byName.get(sandbox.record.name) === sandbox) this.#byName.delete(sandbox.record.name);
    this.#byId.delete(sandbox.record.id);
  }

  async #write(sandbox: Sandbox): Promise<void> {
    try {
      await this.#writes.run(async () => {
        if (this.#byId.get(sandbox.record.id) === sandbox) await this.#store.write(sandbox.record);
      });
    } catch (error) {
      this.#log.error({ err: error, sandbox: sandbox.record.id, state: sandbox.record.state }, "cannot write a sandbox's record");
    }
  }

  async #sweep(): Promise<void> {
    const gone = [...this.#byId.values()].filter((sandbox) => sandbox.record.state === "gone");
    const oldest = gone.toSorted((a, b) => (a.record.endedAtMs ?? 0) - (b.record.endedAtMs ?? 0));
    const beforeMs = this.#clock.nowMs() - KEEP_GONE_MS;
    const surplus = oldest.length - KEEP_GONE_COUNT;
    for (const [index, sandbox] of oldest.entries()) {
      if (index < surplus || (sandbox.record.endedAtMs ?? 0) < beforeMs) await this.forget(sandbox);
    }
  }
}
