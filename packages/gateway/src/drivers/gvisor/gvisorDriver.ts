// Sandboxes by gVisor. What was measured and where it bites is said at the call it concerns; this file holds the order of things:
//
//   G1  A sandbox's metadata and network are ready before its first instruction.
//   G2  What a sandbox has on the host is written down before it is made, and freed by `destroy` whatever step was reached.
//   G3  Saving is always pause, then checkpoint with --leave-running: whatever fails, the guest is intact and can go on.
//   G4  A restore counts when `wait --restore` says so: damaged files show there and not before.
import { SandboxFolder, listFolders } from "./sandboxFolder.ts";
import type { ComputeDriver, FoundSandbox, FreezeOutcome, GuestReach, SandboxExit, SandboxId, SandboxSpec, SandboxUsage, SaveOutcome, StartOutcome, ThawOutcome } from "../driver.ts";
import { bundleConfig } from "./bundle.ts";
import { cgroupUsage } from "./cgroups.ts";
import { detach, disposeGvisor, type GvisorParts } from "./parts.ts";
import type { ExecResult } from "./exec.ts";
import type { Link } from "./network.ts";
import { killSandboxProcess } from "./runsc.ts";

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

  create(spec: SandboxSpec): Promise<StartOutcome> {
    return this.#start(spec, (call) => this.#parts.runsc.run(call), undefined);
  }

  restore(spec: SandboxSpec, dir: string): Promise<StartOutcome> {
    return this.#start(
      spec,
      (call) => this.#parts.runsc.restore(call, dir),
      () => this.#parts.runsc.waitRestored(spec.id),
    );
  }

  async freeze(id: SandboxId): Promise<FreezeOutcome> {
    const result = await this.#parts.runsc.pause(id);
    if (result.code === 0) return { kind: "frozen" };
    const state = await this.#parts.runsc.state(id);
    if (state?.status === "paused") return { kind: "frozen" };
    if (state === undefined || state.status === "stopped") return { kind: "gone" };
    return { kind: "failed", message: textOf(result) };
  }

  async save(id: SandboxId, dir: string, signal: AbortSignal): Promise<SaveOutcome> {
    const result = await this.#parts.runsc.checkpoint(id, dir, signal);
    if (result.end === "aborted") return { kind: "canceled" };
    if (result.code === 0) return { kind: "saved" };
    const message = textOf(result);
    if (/no space left|disk quota/i.test(message)) return { kind: "failed", reason: "disk_full", message };
    const state = await this.#parts.runsc.state(id);
    if (state === undefined || state.status === "stopped") return { kind: "failed", reason: "sandbox_gone", message };
    return { kind: "failed", reason: result.end === "timed_out" ? "timed_out" : "checkpoint_failed", message };
  }

  async thaw(id: SandboxId): Promise<ThawOutcome> {
    const result = await this.#parts.runsc.resume(id);
    if (result.code === 0) return { kind: "thawed" };
    const state = await this.#parts.runsc.state(id);
    if (state?.status === "running") return { kind: "thawed" };
    if (state === undefined || state.status === "stopped") return { kind: "gone" };
    return { kind: "failed", message: textOf(result) };
  }

  async destroy(id: SandboxId): Promise<void> {
    this.#parts.watches.forget(id);
    await this.#deleteContainer(id);
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
      found.push({ id, address, state: containers.has(id) ? foundState(containers.get(id)) : "never_ran" });
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

  async #start(spec: SandboxSpec, begin: (call: StartCallArgs) => Promise<ExecResult>, confirm: (() => Promise<ExecResult>) | undefined): Promise<StartOutcome> {
    const { clock, spareLinks } = this.#parts;
    const startedMs = clock.monotonicMs();
    const link = await spareLinks.take();
    if (link === undefined) return { kind: "refused", reason: "no_capacity", message: `Cannot start ${spec.id}: no address is left for it` };
    this.#links.set(spec.id, link);
    const prepared = await attempt(() => this.#prepare(spec, link));
    if (prepared.kind === "threw") return await this.#giveUp(spec.id, { kind: "refused", reason: "failed", message: prepared.message });
    const networkMs = clock.monotonicMs() - startedMs;
    const result = await this.#begin(spec.id, begin);
    if (result.code !== 0) return await this.#giveUp(spec.id, await this.#failure(spec.id, result));
    const runMs = clock.monotonicMs() - startedMs - networkMs;
    const confirmed = confirm === undefined ? result : await confirm();
    if (confirmed.code !== 0) return await this.#giveUp(spec.id, { kind: "unknown", message: `Cannot finish restoring ${spec.id}: ${textOf(confirmed)}` });
    this.#watchSoon(spec.id);
    return { kind: "started", address: link.address, timingMs: { networkMs, runMs, confirmMs: clock.monotonicMs() - startedMs - networkMs - runMs } };
  }

  /** Not on the way of the answer: starting the watch's process takes 12 ms. */
  #watchSoon(id: SandboxId): void {
    setImmediate(() => {
      if (this.#links.has(id)) this.#parts.watches.watch(id);
    });
  }

  /** G1, G2. */
  async #prepare(spec: SandboxSpec, link: Link): Promise<void> {
    const folder = this.#folder(spec.id);
    await folder.create({ slot: link.slot });
    this.#parts.metadata.set(link.address, spec.metadata);
    const { cgroups, minCpu, resolvConf } = this.#parts;
    await folder.writeConfig(bundleConfig({ spec, namespacePath: link.namespacePath, cgroups, minCpu, resolvConf }));
  }

  async #begin(id: SandboxId, begin: (call: StartCallArgs) => Promise<ExecResult>): Promise<ExecResult> {
    const folder = this.#folder(id);
    const output = await folder.openOutput();
    try {
      return await begin({ id, bundleDir: folder.dir, pidFile: folder.pidFile, outputFd: output.fd });
    } finally {
      await output.close();
    }
  }

  /** runsc itself writes its complaint to the sandbox's output. A call that was cut off may have come far enough to run the guest. */
  async #failure(id: SandboxId, result: ExecResult): Promise<StartOutcome> {
    const message = `Cannot start ${id}: runsc ${result.end}, status ${result.code}: ${(await this.#folder(id).outputTail(2_000)).trim() || result.stderr}`;
    return result.end === "exited" || result.end === "not_started" ? { kind: "refused", reason: "failed", message } : { kind: "unknown", message };
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

  /** Forced deletion works on running, paused and half-made sandboxes; if it hangs, the sandbox's process is killed first. */
  async #deleteContainer(id: SandboxId): Promise<void> {
    const { runsc, log } = this.#parts;
    const first = await runsc.deleteForce(id);
    if (first.code === 0) return;
    const pid = (await this.#folder(id).pid()) ?? (await runsc.state(id))?.pid;
    log.warn({ sandbox: id, end: first.end, text: textOf(first) }, "cannot delete a sandbox by runsc: killing its process");
    if (pid !== undefined) await killSandboxProcess(pid, id).catch(() => false);
    const second = await runsc.deleteForce(id);
    if (second.code !== 0) throw new Error(`Cannot destroy sandbox ${id}: ${textOf(second)}`);
  }
}

interface StartCallArgs {
  readonly id: SandboxId;
  readonly bundleDir: string;
  readonly pidFile: string;
  readonly outputFd: number;
}

function foundState(status: string | undefined): FoundSandbox["state"] {
  if (status === "running") return "running";
  return status === "paused" ? "frozen" : "ended";
}

function textOf(result: ExecResult): string {
  return `${result.end}, status ${result.code}: ${result.stderr.trim().slice(-1_000)}`;
}

async function attempt(work: () => Promise<void>): Promise<{ kind: "done" } | { kind: "threw"; message: string }> {
  try {
    await work();
    return { kind: "done" };
  } catch (error) {
    return { kind: "threw", message: error instanceof Error ? error.message : String(error) };
  }
}
