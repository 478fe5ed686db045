// Sandboxes by gVisor. What was measured and where it bites is said at the call it concerns; this file holds the order of things:
//
//   G1  A sandbox's metadata and network are ready before its first instruction.
//   G2  What a sandbox has on the host is written down before it is made, and freed by `destroy` whatever step was reached.
//   G3  Saving is always pause, then checkpoint with --leave-running: whatever fails, the guest is intact and can go on.
//   G4  A restore counts when `wait --restore` says so: damaged files show there and not before.
import { SPARE_VARIABLE } from "@torpor/image";
import { SandboxFolder, TOLD_BYTES, listFolders } from "./sandboxFolder.ts";
import type {
  ComputeDriver,
  FoundSandbox,
  FreezeOutcome,
  GuestReach,
  PrepareOutcome,
  SandboxExit,
  SandboxId,
  SandboxSpec,
  SandboxUsage,
  SaveOutcome,
  SpareSpec,
  StartOutcome,
  ThawOutcome,
} from "../driver.ts";
import { bundleConfig } from "./bundle.ts";
import { cgroupUsage } from "./cgroups.ts";
import { complaintOf } from "./complaint.ts";
import { detach, disposeGvisor, type GvisorParts } from "./parts.ts";
import type { ExecResult } from "./exec.ts";
import type { Link } from "./network.ts";
import type { StartCall } from "./runsc.ts";
import { attempt, deleteContainer } from "./deletion.ts";
import { assignSpare } from "./assignment.ts";
import { freezeSandbox, saveSandbox, thawSandbox } from "./saving.ts";

/** Made by `startGvisorDriver`. */
export class GvisorDriver implements ComputeDriver {
  readonly name = "gvisor";
  readonly can = { snapshot: true } as const;
  readonly fingerprint: Readonly<Record<string, string>>;
  readonly warnings: readonly string[];
  readonly reach: GuestReach;
  readonly #parts: GvisorParts;
  readonly #links = new Map<SandboxId, Link>();

  constructor(parts: GvisorParts) {
    this.#parts = parts;
    this.fingerprint = parts.fingerprint;
    this.warnings = parts.warnings;
    this.reach = parts.reach;
  }

  async create(spec: SandboxSpec): Promise<StartOutcome> {
    const startedMs = this.#parts.clock.monotonicMs();
    const link = await this.#makeReady(spec);
    if ("kind" in link) return link;
    const networkMs = this.#parts.clock.monotonicMs() - startedMs;
    const result = await this.#begin(spec.id, (call) => this.#parts.runsc.run(call));
    if (result.code !== 0) return await this.#giveUp(spec.id, await this.#failure(spec.id, result));
    this.#watchSoon(spec.id);
    return {
      kind: "started",
      address: link.address,
      timingMs: { networkMs, runMs: this.#parts.clock.monotonicMs() - startedMs - networkMs },
    };
  }

  async prepare(spec: SandboxSpec): Promise<PrepareOutcome> {
    const spare = this.#links.get(spec.id);
    if (spare === undefined) return await this.#prepare(spec);
    this.#parts.metadata.unexpect(spare.address);
    this.#parts.metadata.set(spare.address, spec.metadata);
    return { kind: "prepared" };
  }

  async spare(spec: SpareSpec): Promise<PrepareOutcome> {
    const outcome = await this.#prepare({ ...spec, env: { [SPARE_VARIABLE]: this.reach.metadataUrl ?? "" }, metadata: {} });
    const link = this.#links.get(spec.id);
    if (outcome.kind === "prepared" && link !== undefined) this.#parts.metadata.expect(link.address);
    return outcome;
  }

  async assign(spec: SandboxSpec): Promise<StartOutcome> {
    const link = this.#links.get(spec.id);
    if (link !== undefined) return await assignSpare(this.#parts, link, spec);
    return { kind: "refused", reason: "failed", message: `Cannot start ${spec.id}: it is no spare` };
  }

  async #prepare(spec: SandboxSpec): Promise<PrepareOutcome> {
    const link = await this.#makeReady(spec);
    if ("kind" in link) return link;
    const result = await this.#begin(spec.id, (call) => this.#parts.runsc.create(call));
    if (result.code === 0) return { kind: "prepared" };
    const message = `Cannot prepare ${spec.id}: ${await this.#complaint(spec.id, result)}`;
    await this.destroy(spec.id);
    return { kind: "refused", reason: "failed", message };
  }

  async restore(id: SandboxId, dir: string): Promise<StartOutcome> {
    const { clock, runsc } = this.#parts;
    const link = this.#links.get(id);
    if (link === undefined) return { kind: "refused", reason: "failed", message: `Cannot restore ${id}: it was not prepared` };
    const startedMs = clock.monotonicMs();
    const result = await this.#begin(id, (call) => runsc.restore(call, dir));
    if (result.code !== 0) return await this.#giveUp(id, await this.#failure(id, result));
    const restoreMs = clock.monotonicMs() - startedMs;
    const confirmed = await runsc.waitRestored(id); // G4
    if (confirmed.code !== 0) return { kind: "unknown", message: `Cannot finish restoring ${id}: ${complaintOf(confirmed)}` };
    this.#watchSoon(id);
    return { kind: "started", address: link.address, timingMs: { restoreMs, confirmMs: clock.monotonicMs() - startedMs - restoreMs } };
  }

  freeze(id: SandboxId): Promise<FreezeOutcome> {
    return freezeSandbox(this.#parts, id);
  }

  save(id: SandboxId, dir: string, signal: AbortSignal): Promise<SaveOutcome> {
    return saveSandbox(this.#parts, id, dir, signal);
  }

  async thaw(id: SandboxId): Promise<ThawOutcome> {
    return await thawSandbox(this.#parts, id, () => this.#folder(id).memoryLimit());
  }

  async destroy(id: SandboxId): Promise<void> {
    this.#parts.watches.forget(id);
    await deleteContainer(this.#parts, this.#folder(id), id);
    const folder = this.#folder(id);
    const lease = await folder.lease();
    const link = this.#links.get(id) ?? (lease === undefined ? undefined : this.#parts.network.adopt(lease.slot));
    if (link !== undefined) {
      this.#parts.metadata.delete(link.address);
      await this.#parts.network.remove(link);
    }
    this.#links.delete(id);
    await folder.remove();
  }

  async list(): Promise<FoundSandbox[]> {
    const containers = new Map((await this.#parts.runsc.list()).map((container) => [container.id, container.status]));
    const ids = new Set([...(await listFolders(this.#parts.sandboxesDir)), ...containers.keys()]);
    const found: FoundSandbox[] = [];
    for (const id of ids) {
      const lease = await this.#folder(id).lease();
      const address = lease === undefined ? null : this.#parts.network.linkOf(lease.slot).address;
      const state = foundState(containers.get(id));
      // After a reboot runsc knows of nothing, and nobody can say what ran before it
      const forgotten = state === "never_ran" && lease !== undefined && lease.bootId !== this.#parts.bootId;
      found.push({ id, address, state: forgotten ? "ended" : state });
    }
    return found;
  }

  async adopt(id: SandboxId, metadata: Readonly<Record<string, string>>): Promise<"adopted" | "gone"> {
    const state = await this.#parts.runsc.state(id);
    const lease = await this.#folder(id).lease();
    if (lease === undefined || (state?.status !== "running" && state?.status !== "paused")) return "gone";
    const link = this.#parts.network.adopt(lease.slot);
    this.#links.set(id, link);
    this.#parts.metadata.set(link.address, metadata);
    this.#parts.watches.watch(id);
    return "adopted";
  }

  async usage(id: SandboxId): Promise<SandboxUsage | undefined> {
    if (!this.#links.has(id)) return undefined;
    return await cgroupUsage(this.#parts.cgroups, id);
  }

  output(id: SandboxId): Promise<string> {
    return this.#folder(id).outputTail(TOLD_BYTES);
  }

  onExit(listener: (exit: SandboxExit) => void): void {
    this.#parts.watches.listen(listener);
  }

  async close(): Promise<void> {
    await detach(this.#parts);
  }

  async dispose(): Promise<void> {
    await disposeGvisor(this.#parts);
  }

  #folder(id: SandboxId): SandboxFolder {
    return new SandboxFolder(this.#parts.sandboxesDir, id);
  }

  /** Network, folder and metadata, or why there are none. */
  async #makeReady(spec: SandboxSpec): Promise<Link | (StartOutcome & { kind: "refused" })> {
    const link = await this.#parts.spareLinks.take();
    if (link === undefined)
      return { kind: "refused", reason: "no_capacity", message: `Cannot start ${spec.id}: no network link is left for it` };
    this.#links.set(spec.id, link);
    const prepared = await attempt(() => this.#noteDown(spec, link));
    if (prepared.kind === "done") return link;
    await this.destroy(spec.id);
    return { kind: "refused", reason: "failed", message: prepared.message };
  }

  /** Not on the way of the answer: starting the watch's process takes 12 ms. */
  #watchSoon(id: SandboxId): void {
    setImmediate(() => {
      if (this.#links.has(id)) this.#parts.watches.watch(id);
    });
  }

  /** G1, G2. */
  async #noteDown(spec: SandboxSpec, link: Link): Promise<void> {
    const folder = this.#folder(spec.id);
    await folder.create({ slot: link.slot, bootId: this.#parts.bootId });
    this.#parts.metadata.set(link.address, spec.metadata);
    const { cgroups, cpuLimit, resolvConf } = this.#parts;
    await folder.writeConfig(bundleConfig({ spec, namespacePath: link.namespacePath, cgroups, cpuLimit, resolvConf }));
  }

  async #begin(id: SandboxId, begin: (call: StartCall) => Promise<ExecResult>): Promise<ExecResult> {
    const folder = this.#folder(id);
    const output = await folder.openOutput();
    try {
      return await begin({ id, bundleDir: folder.dir, pidFile: folder.pidFile, outputFd: output.fd });
    } finally {
      await output.close();
    }
  }

  /** runsc writes its complaint to the sandbox's output, among what the guest printed. */
  async #complaint(id: SandboxId, result: ExecResult): Promise<string> {
    return complaintOf({ ...result, stderr: `${result.stderr}\n${await this.#folder(id).outputTail(2_000)}` });
  }

  /** A call that was cut off may have come far enough to run the guest. */
  async #failure(id: SandboxId, result: ExecResult): Promise<StartOutcome> {
    const message = `Cannot start ${id}: ${await this.#complaint(id, result)}`;
    return result.end === "exited" || result.end === "not_started"
      ? { kind: "refused", reason: "failed", message }
      : { kind: "unknown", message };
  }

  /**
   * Frees what a refused start left. When that fails too, nobody can say what runs. What may have run is left for the caller to
   * destroy: as long as it is there, a restart of ours can tell that it was begun.
   */
  async #giveUp(id: SandboxId, outcome: StartOutcome): Promise<StartOutcome> {
    if (outcome.kind !== "refused") return outcome;
    const destroyed = await attempt(() => this.destroy(id));
    if (destroyed.kind === "done") return outcome;
    return { kind: "unknown", message: `${outcome.message}; and then: ${destroyed.message}` };
  }
}

/** A sandbox that was only created never ran: runsc says `running` from the moment it lets the guest go. */
function foundState(status: string | undefined): FoundSandbox["state"] {
  if (status === undefined || status === "creating" || status === "created") return "never_ran";
  if (status === "running") return "running";
  return status === "paused" ? "frozen" : "ended";
}
