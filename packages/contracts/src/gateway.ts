import { z } from "zod";
import { MemoryImageId, RunnerId } from "./ids.ts";
import { route } from "./route.ts";

// The seam between a supervisor and the compute gateway of a node. Instances are addressed by name (the runner's id).
// What goes beyond the shared contract is asked for by name in `extensions` and echoed when granted, never assumed.

const Text = z.record(z.string().max(256), z.string().max(64 * 1024));
/** Free labels: the gateway keeps them and gives them no meaning. */
const Labels = z.record(z.string().max(256), z.string().max(1024));

export const CreateInstanceBody = z.object({
  name: RunnerId,
  image: z.string().min(1).max(1024),
  env: Text,
  cpu: z.number().positive().max(1024),
  memory_gb: z.number().positive().max(4096),
  metadata: z.record(z.string(), z.unknown()).default({}),
  labels: Labels.optional(),
});
export type CreateInstanceBody = z.infer<typeof CreateInstanceBody>;

/** `kept`: frozen, and its memory image may be restored; it is nobody's, and is destroyed or thawed before that happens. */
export const InstanceState = z.enum(["starting", "running", "freezing", "held", "kept", "gone"]);
export type InstanceState = z.infer<typeof InstanceState>;

/** How a sandbox ended that nobody had ended. */
export const InstanceExit = z.object({ exitCode: z.number().int().nullable(), reason: z.string() });
export type InstanceExit = z.infer<typeof InstanceExit>;

export const InstanceView = z.object({
  id: z.string(),
  name: RunnerId,
  state: InstanceState,
  image: z.string(),
  address: z.string().nullable(),
  metadata: z.record(z.string(), z.unknown()),
  createdAt: z.coerce.date(),
  /** Memory image that is being written or is held, when there is one. */
  memoryImageId: MemoryImageId.nullable(),
  /** Memory image that is reserved for it: it was made ready ahead of time, and its run has not gone on. */
  reservedImageId: MemoryImageId.nullish(),
  /** Resident memory of the sandbox in bytes, when the driver can tell. */
  memoryBytes: z.number().nullable(),
  /** Processes on the host that belong to the sandbox, when the driver can tell. */
  processCount: z.number().nullable(),
  /** How it ended, of one that is `gone`. */
  exit: InstanceExit.nullish(),
});
export type InstanceView = z.infer<typeof InstanceView>;

const Timing = z.record(z.string(), z.number());
const Extensions = z.array(z.string().max(64)).max(16);
const InstanceReply = z.object({
  id: z.string(),
  address: z.string().nullish(),
  _timing: Timing.optional(),
  /** How a fresh sandbox was started, and why it is no clone of a template. */
  start: z.enum(["clone", "cold"]).optional(),
  start_reason: z.string().optional(),
  /** Those that were asked for and granted; `thawed`, unasked, when the sandbox was kept frozen and goes on where it stood. */
  extensions: Extensions.optional(),
});

/**
 * `hold`: the sandbox stays frozen after its files are written, until `commit` (destroys it) or `abort` (thaws it and deletes
 * the files). A held one is thawed by itself after `hold_ms`. Without it the sandbox goes on as soon as its files are written.
 */
export const SnapshotBody = z.object({
  callback: z.object({ url: z.url({ protocol: /^https?$/ }).max(2048), metadata: Text }),
  extensions: Extensions.optional(),
  hold_ms: z.number().int().min(1000).max(300_000).optional(),
});
export type SnapshotBody = z.infer<typeof SnapshotBody>;

/** Empty for a caller that asked for no extension. */
export const SnapshotAccepted = z.object({ snapshot_id: MemoryImageId, extensions: z.array(z.string()) }).optional();

export const SnapshotFailure = z.enum([
  "canceled",
  "sandbox_gone",
  "no_room",
  "disk_full",
  "quota_exceeded",
  "checkpoint_failed",
  "timed_out",
  "shutdown",
]);
export type SnapshotFailure = z.infer<typeof SnapshotFailure>;

/** What the gateway tells its caller when a snapshot is over. Signed over the whole body, see CALLBACK_SIGNATURE_HEADER. */
export const SnapshotCallback = z.discriminatedUnion("status", [
  z.object({
    status: z.literal("completed"),
    snapshot_id: MemoryImageId,
    instance_id: z.string(),
    metadata: Text.optional(),
    duration_ms: z.number().optional(),
    /** How long the guest stood still until its files were safe on disk. */
    frozen_ms: z.number().optional(),
    size_bytes: z.number().optional(),
    held: z.boolean().optional(),
  }),
  z.object({
    status: z.literal("failed"),
    instance_id: z.string(),
    error: z.string().optional(),
    reason: SnapshotFailure.optional(),
    metadata: Text.optional(),
    duration_ms: z.number().optional(),
  }),
]);
export type SnapshotCallback = z.infer<typeof SnapshotCallback>;

/**
 * `t=<ms epoch>,v1=<hex>`: HMAC-SHA256 over `<t>.<raw body>` with a key derived from the gateway's bearer token
 * (HMAC-SHA256(token, "torpor-snapshot-callback-v1")).
 */
export const CALLBACK_SIGNATURE_HEADER = "x-torpor-signature";
export const CALLBACK_KEY_LABEL = "torpor-snapshot-callback-v1";

/**
 * `reserve`: the memory image stays on the disk, reserved for this sandbox, until it is deleted (the run goes on) or the sandbox
 * ends (it may be restored again). For a sandbox that is made ready ahead of time and may come to nothing.
 */
export const RestoreBody = z.object({
  name: RunnerId,
  /** Served as it is at `/env` of the sandbox's metadata address, before the guest runs its first instruction. */
  metadata: Text,
  cpu: z.number().positive().max(1024),
  memory_gb: z.number().positive().max(4096),
  /** Without them it keeps those it had when it was frozen. */
  labels: Labels.optional(),
  extensions: Extensions.optional(),
});
export type RestoreBody = z.infer<typeof RestoreBody>;

/** `keep_ms`: how long the frozen sandbox is worth keeping in memory, if there is enough of it; 0, or unset: not at all. */
export const CommitBody = z.object({ keep_ms: z.number().int().min(0).max(86_400_000).optional() }).optional();
export type CommitBody = z.infer<typeof CommitBody>;

export const MemoryImageState = z.enum(["writing", "held", "stored", "consumed", "refused"]);
export const MemoryImageView = z.object({
  id: MemoryImageId,
  state: MemoryImageState,
  instanceName: RunnerId,
  image: z.string(),
  /** On the disk. */
  sizeBytes: z.number(),
  /** As a sandbox is restored from it. */
  plainBytes: z.number().optional(),
  frozenMs: z.number(),
  createdAt: z.coerce.date(),
  labels: z.record(z.string(), z.unknown()),
});
export type MemoryImageView = z.infer<typeof MemoryImageView>;

const MachineConfig = z.object({ cpu: z.number().positive().max(1024), memory_gb: z.number().positive().max(4096) });

/** What came of each template that was asked for. `error`: the first that there was. */
export const TemplateResults = z.object({
  results: z.array(z.object({ machine_config: MachineConfig, error: z.string().optional() })),
  error: z.string().optional(),
});
export type TemplateResults = z.infer<typeof TemplateResults>;

/** Something that happened to a sandbox without being asked for. */
export const InstanceEvent = z.object({
  cursor: z.number().int(),
  at: z.coerce.date(),
  type: z.enum(["exited", "thawed"]),
  name: RunnerId,
  id: z.string(),
  exitCode: z.number().int().nullable(),
  reason: z.string(),
});
export type InstanceEvent = z.infer<typeof InstanceEvent>;

const NameParams = z.object({ name: RunnerId });
const ImageParams = z.object({ snapshotId: MemoryImageId });

export const gateway = {
  /** Idempotent by name and body: the same again answers the same instance; a taken name with another body is 409 `name_taken`. */
  createInstance: route("POST", "/api/instances", {
    auth: "gateway",
    body: CreateInstanceBody,
    reply: InstanceReply,
    status: 201,
    bodyLimitBytes: 1024 * 1024,
  }),
  /** Idempotent: deleting what is absent succeeds. With `id` only that instance is deleted, not another that has got its name since. */
  deleteInstance: route("DELETE", "/api/instances/:name", {
    auth: "gateway",
    params: NameParams,
    query: z.object({ id: z.string().max(128).optional() }),
    reply: z.undefined(),
    status: 204,
  }),
  getInstance: route("GET", "/api/instances/:name", { auth: "gateway", params: NameParams, reply: InstanceView }),
  /** With `ended` those too that ended by themselves a short while ago and that nobody has deleted since: who was not there to hear of it finds them. */
  listInstances: route("GET", "/api/instances", {
    auth: "gateway",
    query: z.object({ ended: z.enum(["true", "false"]).default("false") }),
    reply: z.object({ instances: z.array(InstanceView) }),
  }),
  /** Begins a snapshot; its end is told by callback. A frozen sandbox is refused with 409 `sandbox_frozen`; a full queue, or
   * no memory to write it through, with 503; memory images beyond the node's quota with 507 `memory_quota_exceeded`. */
  snapshotInstance: route("POST", "/api/instances/:name/snapshot", {
    auth: "gateway",
    params: NameParams,
    body: SnapshotBody,
    reply: SnapshotAccepted,
    status: 202,
  }),
  /** Cancels a snapshot in flight, or aborts a held one: the sandbox goes on and the files are deleted. Idempotent. `none`: nothing was in flight. */
  cancelSnapshot: route("DELETE", "/api/instances/:name/snapshot", {
    auth: "gateway",
    params: NameParams,
    reply: z.object({ outcome: z.enum(["thawed", "none"]) }),
  }),
  listSnapshots: route("GET", "/api/snapshots", { auth: "gateway", reply: z.object({ snapshots: z.array(MemoryImageView) }) }),
  /**
   * Destroys the held sandbox; the memory image may be restored from now on, not before (L5). With `keep_ms` a gateway that has
   * memory to spare may keep it frozen instead: `kept`. Whoever restores the image then gets it thawed. Idempotent. 409 `snapshot_stale`
   * when it was thawed already or is still being written, 404 `memory_image_gone` when nobody remembers it.
   */
  commitSnapshot: route("POST", "/api/snapshots/:snapshotId/commit", {
    auth: "gateway",
    params: ImageParams,
    body: CommitBody,
    reply: z.object({ outcome: z.enum(["committed", "kept"]) }),
  }),
  /** Thaws the held sandbox and deletes the files. Idempotent. */
  abortSnapshot: route("POST", "/api/snapshots/:snapshotId/abort", {
    auth: "gateway",
    params: ImageParams,
    reply: z.object({ outcome: z.enum(["thawed", "none"]) }),
  }),
  /**
   * Consumes the memory image, then runs it (L6). Idempotent by name and body, like create: the same again answers the same instance.
   * For everybody else 404 `memory_image_gone` when it is absent or consumed; 409 `sandbox_frozen` before it is committed;
   * 422 `memory_image_refused`, with the reason, when it does not match this node or its files are damaged. After
   * `sandbox_not_started` it may be restored again; after `sandbox_maybe_started` it is gone.
   */
  restoreSnapshot: route("POST", "/api/snapshots/:snapshotId/restore", {
    auth: "gateway",
    params: ImageParams,
    body: RestoreBody,
    reply: InstanceReply,
    status: 201,
  }),
  /** Deletes the files. Idempotent; a held one must be aborted or committed first (409). */
  deleteSnapshot: route("DELETE", "/api/snapshots/:snapshotId", {
    auth: "gateway",
    params: ImageParams,
    reply: z.undefined(),
    status: 204,
  }),
  /**
   * Makes templates of an image, one for each machine, from which its sandboxes are then cloned. Idempotent: what is there is not
   * made again. With `background` the answer is 202 and empty, and the callback is sent the results with `status` (`completed`,
   * `failed`), `image` and its metadata, signed like a snapshot's. 501 where the node makes none.
   */
  createTemplate: route("POST", "/api/templates", {
    auth: "gateway",
    body: z.object({
      image: z.string().min(1).max(1024),
      machine_configs: z.array(MachineConfig).max(16),
      background: z.boolean().optional(),
      callback: z.object({ url: z.url({ protocol: /^https?$/ }).max(2048), metadata: Text.default({}) }).optional(),
    }),
    reply: TemplateResults.optional(),
  }),
  /** Long poll: what happened after `after`, in order; waits up to `wait_ms` for something. A cursor from before a restart of the gateway starts anew. */
  events: route("GET", "/api/events", {
    auth: "gateway",
    query: z.object({ after: z.coerce.number().int().default(0), wait_ms: z.coerce.number().int().min(0).max(30_000).default(0) }),
    reply: z.object({ events: z.array(InstanceEvent), next: z.number().int() }),
  }),
  /** What the node can do and has left. */
  node: route("GET", "/api/node", {
    auth: "gateway",
    reply: z.object({
      driver: z.string(),
      canSnapshot: z.boolean(),
      cpuTotal: z.number(),
      memoryTotalBytes: z.number(),
      memoryAvailableBytes: z.number(),
      diskFreeBytes: z.number(),
      /** Disk that memory images take, and may take. */
      memoryImages: z.object({ usedBytes: z.number(), quotaBytes: z.number() }).optional(),
      warnings: z.array(z.string()),
      /** What sandboxes are cloned from here. */
      templates: z.array(z.object({ image_digest: z.string(), cpu: z.number(), memory_gb: z.number() })).optional(),
      /** Memory that the instances occupy, as measured; absent where it cannot be. */
      instancesMemoryBytes: z.number().optional(),
      /** Sandboxes that are made ready before anybody asks for one: with a kernel alone, and with a clone of a template that waits. They go when memory is needed. */
      spares: z
        .object({ prepared: z.number().int(), cloned: z.number().int(), preparedBytes: z.number(), clonedBytes: z.number() })
        .optional(),
      /** What may be asked for beyond the shared contract: `hold`, `reserve`, `keep`. */
      extensions: z.array(z.string()).optional(),
      /**
       * Where a sandbox finds the services of the gateway's setting, by their `host:port`. Whoever writes a sandbox's environment
       * puts these in. `metadata_url` is null where a sandbox has no metadata.
       */
      reach: z
        .object({
          services: z.record(z.string(), z.object({ host: z.string(), port: z.number().int() })),
          metadata_url: z.string().nullable(),
        })
        .optional(),
    }),
  }),
} as const;
