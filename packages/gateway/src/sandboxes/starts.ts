// How a sandbox starts, from whatever it does: its request is known by name and body (S1), it waits for its turn, and what
// certainly did not start is told apart from what may have (S2).
import { TorporError } from "@torpor/contracts";
import { Limiter } from "@torpor/kernel";
import type { Core } from "../core.ts";
import type { StartOutcome } from "../drivers/driver.ts";
import { concludeExit, endSandbox } from "./ending.ts";
import type { SandboxRecord } from "./record.ts";
import type { Sandbox } from "./sandboxTable.ts";

export interface StartsOptions {
  /** Starts at once; each takes about a CPU second. */
  readonly maxStarts: number;
  /** Starts that wait for their turn; more are refused. */
  readonly maxWaitingStarts: number;
  /** Ends something that holds memory and that nobody needs. False: there is no such thing. */
  readonly giveWay: () => Promise<boolean>;
}

export interface Started {
  readonly id: string;
  readonly address: string | null;
  readonly _timing?: Record<string, number>;
}

const NEVER = new AbortController().signal;

export class Starts {
  readonly #core: Core;
  readonly #giveWay: StartsOptions["giveWay"];
  readonly #limiter: Limiter;
  #closed = false;

  constructor(core: Core, options: StartsOptions) {
    this.#core = core;
    this.#giveWay = options.giveWay;
    this.#limiter = new Limiter({ limit: options.maxStarts, maxWaiting: options.maxWaitingStarts });
  }

  /** Whether a sandbox is being started, or waits for its turn. */
  get isStarting(): boolean {
    return this.#limiter.runningCount > 0;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** From now on nothing starts; what is starting goes on. */
  close(): void {
    this.#closed = true;
  }

  /** The answer that this very request got, or undefined when it is new (S1). Waits for a start that is under way. */
  async repeated(name: SandboxRecord["name"], hash: string): Promise<Started | undefined> {
    const known = this.#core.table.find(name);
    if (known === undefined) return undefined;
    if (known.record.requestHash !== hash) {
      if (known.record.state === "gone") return undefined;
      throw new TorporError(
        "name_taken",
        `Cannot use name ${name}: instance ${known.record.id} has it, and was asked for with another body`,
        { param: "name" },
      );
    }
    if (known.record.state === "starting") await known.serial.idle();
    if (this.#core.table.find(name) !== known) return undefined; // that start failed and was forgotten
    return { id: known.record.id, address: known.record.address };
  }

  /** Takes the name and starts, or answers as the same request was answered before. */
  async launch(record: SandboxRecord, start: () => Promise<StartOutcome>): Promise<Started> {
    const { table, clock, metrics } = this.#core;
    const how = record.restoredFrom === null ? "create" : "restore";
    let full = await this.#core.room();
    while (full !== undefined && ((await this.#core.frozen.dropOldest("pressure")) || (await this.#giveWay())))
      full = await this.#core.room();
    if (full !== undefined) throw new TorporError("no_capacity", `Cannot start ${record.name}: ${full}`);
    if (table.find(record.name)?.record.requestHash === record.requestHash) {
      const repeated = await this.repeated(record.name, record.requestHash); // the same came in while we looked at the image
      if (repeated !== undefined) return repeated;
    }
    if (this.#closed) throw new TorporError("no_capacity", `Cannot start ${record.name}: this gateway is stopping`);
    const startedMs = clock.monotonicMs();
    // Taking the name and queueing the start happen before anything is awaited: nobody sees a `starting` one that is idle
    const adding = table.add(record);
    const sandbox = table.findById(record.id);
    if (sandbox === undefined) return await adding.then(() => neverAdded(record));
    return await sandbox.serial.run(async () => {
      await adding;
      const outcome = await this.#inTurn(sandbox, start);
      metrics.count("torpor_gateway_starts_total", { how, outcome: outcome.kind });
      metrics.observeMs("torpor_gateway_start_seconds", clock.monotonicMs() - startedMs, { how });
      if (outcome.kind === "started") return await this.#started(sandbox, outcome);
      if (outcome.kind === "unknown") await endSandbox(this.#core, sandbox);
      await table.forget(sandbox);
      throw startError(record, outcome);
    });
  }

  /** A start that throws did not run: what was made ready for it is destroyed, and it is forgotten. */
  async #inTurn(sandbox: Sandbox, start: () => Promise<StartOutcome>): Promise<StartOutcome> {
    try {
      const limited = await this.#limiter.run(NEVER, start);
      if (limited.kind === "done") return limited.value;
      return { kind: "refused", reason: "no_capacity", message: "too many starts are waiting on this node" };
    } catch (error) {
      await endSandbox(this.#core, sandbox);
      await this.#core.table.forget(sandbox);
      throw error;
    }
  }

  async #started(sandbox: Sandbox, outcome: StartOutcome & { kind: "started" }): Promise<Started> {
    const { id } = sandbox.record;
    await this.#core.table.move(sandbox, "started", { address: outcome.address });
    this.#core.log.info({ sandbox: id, name: sandbox.record.name, address: outcome.address, ...outcome.timingMs }, "a sandbox started");
    if (sandbox.exit !== null) void sandbox.serial.run(() => concludeExit(this.#core, sandbox));
    return { id, address: outcome.address, _timing: { ...outcome.timingMs } };
  }
}

/** `add` refused the name, so its promise rejects and this is not reached. */
function neverAdded(record: SandboxRecord): never {
  throw new Error(`Cannot find sandbox ${record.id} right after it was added`);
}

function startError(record: SandboxRecord, outcome: Exclude<StartOutcome, { kind: "started" }>): TorporError {
  if (outcome.kind === "unknown")
    return new TorporError("sandbox_maybe_started", `Cannot tell whether ${record.name} ran: ${outcome.message}`);
  if (outcome.reason === "no_capacity") return new TorporError("no_capacity", `Cannot start ${record.name}: ${outcome.message}`);
  if (outcome.reason === "bad_image")
    return new TorporError("request_unprocessable", `Cannot start ${record.name}: ${outcome.message}`, { param: "image" });
  return new TorporError("sandbox_not_started", `Cannot start ${record.name}: ${outcome.message}`);
}
