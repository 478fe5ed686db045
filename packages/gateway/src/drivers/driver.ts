// The port to whatever runs sandboxes. A driver knows no runs, no callbacks and no HTTP: it starts, freezes, saves and ends
// sandboxes, and after a restart of this process it says which of them are still there.
import type { Closable } from "@torpor/kernel";

/** Names one start of a sandbox. It is never used twice: a restored sandbox has an id of its own. */
export type SandboxId = string;

/** The files and the command that a sandbox is made of. Immutable: sandboxes share it and never write to it. */
export interface SandboxImage {
  /** sha256 (hex) of the content. A memory image fits only the image it was made with. */
  readonly digest: string;
  /** Folder on the host that is the sandbox's root. */
  readonly rootfs: string;
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly user: { readonly uid: number; readonly gid: number };
  readonly env: Readonly<Record<string, string>>;
}

export interface SandboxSpec {
  readonly id: SandboxId;
  readonly image: SandboxImage;
  /** Added to the image's own; a restored sandbox keeps what it was created with. */
  readonly env: Readonly<Record<string, string>>;
  /** vCPUs. */
  readonly cpu: number;
  readonly memoryBytes: number;
  /** What the sandbox's metadata address answers at `/env`, before its first instruction runs. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** A sandbox that is made ready before anybody asks for one: who it will be is not known yet. */
export type SpareSpec = Omit<SandboxSpec, "env" | "metadata">;

/**
 * What became of a start.
 * - `refused`: no instruction of it ran and nothing of it is left: the same may be tried again.
 * - `unknown`: it may have run, and may be running. The caller draws the consequence and then calls `destroy`.
 */
export type StartOutcome =
  | { readonly kind: "started"; readonly address: string | null; readonly timingMs: Readonly<Record<string, number>> }
  | { readonly kind: "refused"; readonly reason: "no_capacity" | "bad_image" | "failed"; readonly message: string }
  | { readonly kind: "unknown"; readonly message: string };

export type FreezeOutcome = { readonly kind: "frozen" } | { readonly kind: "gone" } | { readonly kind: "failed"; readonly message: string };

export type ThawOutcome = { readonly kind: "thawed" } | { readonly kind: "gone" } | { readonly kind: "failed"; readonly message: string };

export type SaveFailure = "no_room" | "disk_full" | "checkpoint_failed" | "timed_out" | "sandbox_gone";
export type SaveOutcome =
  | { readonly kind: "saved" }
  | { readonly kind: "canceled" }
  | { readonly kind: "failed"; readonly reason: SaveFailure; readonly message: string };

/** `refused`: nothing of it is left. */
export type PrepareOutcome = { readonly kind: "prepared" } | (StartOutcome & { readonly kind: "refused" });

/** A sandbox found at start. `never_ran`: a start began and certainly came to nothing; `ended`: it may have run. */
export interface FoundSandbox {
  readonly id: SandboxId;
  readonly state: "running" | "frozen" | "ended" | "never_ran";
  readonly address: string | null;
}

export interface SandboxUsage {
  /** Memory on the host that the sandbox occupies, its kernel included. */
  readonly memoryBytes: number | null;
  readonly processCount: number | null;
}

/** A sandbox ended without being told to. */
export interface SandboxExit {
  readonly id: SandboxId;
  /** Null when it cannot be known: killed, or ended while nobody watched. */
  readonly exitCode: number | null;
  /** It was killed for want of memory. Unset where that cannot be known. */
  readonly outOfMemory?: true;
}

export interface ComputeDriver extends Closable {
  readonly name: "gvisor" | "process" | "fake";
  /** Abilities as data: `freeze`, `save`, `prepare` and `restore` are called only when `snapshot` is true. */
  readonly can: Readonly<{ snapshot: boolean }>;
  /** How a sandbox of this driver reaches services of this node, and where its metadata is; see `GuestReach`. */
  readonly reach: GuestReach;
  /** What a memory image must have in common with this driver to be restored here: version, platform, flags. */
  readonly fingerprint: Readonly<Record<string, string>>;
  /** Limits that this host cannot enforce, as sentences for the operator. */
  readonly warnings: readonly string[];

  /** Starts a sandbox. Not idempotent: an id is used once. Returns when its first process exists. */
  create(spec: SandboxSpec): Promise<StartOutcome>;
  /**
   * Makes everything ready that a restore needs besides the memory's files, which are being checked meanwhile. Nothing of the
   * guest runs. Not idempotent. What was prepared and is not wanted is given to `destroy`. Of a spare that nothing was restored
   * into it makes this sandbox at once; the spec is then the spare's, with an environment and metadata.
   */
  prepare(spec: SandboxSpec): Promise<PrepareOutcome>;
  /** Like `prepare`, for nobody in particular. A template may be restored into it: that clone waits before its runner begins. */
  spare(spec: SpareSpec): Promise<PrepareOutcome>;
  /** Starts what was prepared from files that `save` wrote. Not idempotent. The files may be removed when it returns. */
  restore(id: SandboxId, dir: string): Promise<StartOutcome>;
  /**
   * Makes a spare that a template was restored into this sandbox: gives it its environment and metadata, and its runner begins.
   * The rest of the spec is the spare's. Not idempotent. `refused`: its environment was not handed out; it is left to `destroy`.
   */
  assign(spec: SandboxSpec): Promise<StartOutcome>;
  /** Stops the sandbox's clock: no instruction runs until `thaw`. Idempotent: freezing what is frozen succeeds. */
  freeze(id: SandboxId): Promise<FreezeOutcome>;
  /**
   * Writes a frozen sandbox's memory into `dir`, which exists and is empty. The sandbox stays frozen, whatever the outcome
   * (except `sandbox_gone`). Nothing is synced to disk. After `signal` fires it returns `canceled` as soon as `thaw` may be called.
   */
  save(id: SandboxId, dir: string, signal: AbortSignal): Promise<SaveOutcome>;
  /** Lets a frozen sandbox go on. Idempotent: thawing what runs succeeds. */
  thaw(id: SandboxId): Promise<ThawOutcome>;
  /** Ends a sandbox in any state and frees everything it had. Idempotent: destroying what is absent succeeds. Throws when something is left. */
  destroy(id: SandboxId): Promise<void>;

  /** Every sandbox of this plane that exists or left something behind, those of an earlier process included. */
  list(): Promise<FoundSandbox[]>;
  /** Takes over a sandbox that `list` found: exits are watched and metadata is served again. Idempotent. */
  adopt(id: SandboxId, metadata: Readonly<Record<string, string>>): Promise<"adopted" | "gone">;
  /** Asking is never an error; undefined for what is absent. */
  usage(id: SandboxId): Promise<SandboxUsage | undefined>;
  /** The last 16 KiB that a sandbox printed; empty for what is absent. A driver that cannot tell makes no templates. */
  output?(id: SandboxId): Promise<string>;
  /** `listener` hears of each exit that `destroy` did not cause, once. */
  onExit(listener: (exit: SandboxExit) => void): void;

  /** Stops serving. Sandboxes keep running, to be found by the next start. */
  close(): Promise<void>;
  /** Frees what belongs to the plane and not to one sandbox. Called after every sandbox was destroyed, before `close`. */
  dispose(): Promise<void>;
}

/** Where a sandbox finds services. Whoever writes a sandbox's environment asks the gateway for this. */
export interface GuestReach {
  /** For each service of the gateway's setting, by its `host:port`: where a sandbox finds it. */
  readonly services: Readonly<Record<string, { readonly host: string; readonly port: number }>>;
  /** Origin of the metadata address; null when the driver has none. */
  readonly metadataUrl: string | null;
}
