// A small gateway: sandboxes that do nothing, snapshots that take as long as they are told to.
import { createHmac } from "node:crypto";
import {
  CALLBACK_KEY_LABEL,
  gateway as routes,
  TorporError,
  type InstanceEvent,
  type InstanceExit,
  type InstanceState,
  type SnapshotBody,
  type SnapshotFailure,
} from "@torpor/contracts";
import { mounter, type Mounted } from "@torpor/http";
import type { Clock } from "@torpor/kernel";

const mount = mounter<{ gateway: null }>();

interface FakeInstance {
  readonly id: string;
  readonly name: string;
  readonly address: string | null;
  readonly metadata: Record<string, unknown>;
  readonly env: Record<string, string>;
  state: InstanceState;
  imageId: string | null;
  readonly createdAt: Date;
}

interface FakeImage {
  readonly id: string;
  readonly name: string;
  state: "writing" | "held" | "stored" | "reserved" | "consumed";
  /** The sandbox that it is reserved for. */
  reservedFor?: string;
  readonly createdAt: Date;
}

interface Pending {
  readonly instance: FakeInstance;
  readonly image: FakeImage;
  readonly body: SnapshotBody;
}

/** What stands behind the sandboxes, when something does. */
export interface FakeHost {
  create(name: string, env: Readonly<Record<string, string>>): Promise<void>;
  freeze(name: string): void;
  thaw(name: string): void;
  destroy(name: string): void;
  /** The frozen process goes on under a new name. */
  restore(oldName: string, newName: string, metadata: Readonly<Record<string, string>>): void;
  /** The original of a stored image is gone: what was frozen is an image now. */
  store(name: string): void;
}

export interface FakeGatewayOptions {
  readonly host?: FakeHost;
  readonly clock: Clock;
  readonly token: string;
  /** Where callbacks go: the supervisor's door. */
  readonly deliver: (body: Buffer, headers: Record<string, string>) => Promise<number>;
  /** False: knows the shared contract alone, no holding, no lists, no events. */
  readonly isOurs?: boolean;
  readonly addresses?: boolean;
}

export class FakeGateway {
  readonly instances = new Map<string, FakeInstance>();
  readonly images = new Map<string, FakeImage>();
  /** True: a snapshot is done as soon as it is asked for. */
  autoFinish = true;
  canSnapshot = true;
  memoryTotalBytes = 8 * 1024 ** 3;
  /** Null: all of it. */
  memoryAvailableBytes: number | null = null;
  /** How fresh sandboxes are said to start. */
  startOf: { start?: "clone" | "cold"; start_reason?: string } = {};
  readonly log: string[] = [];
  readonly callbackStatuses: number[] = [];
  lastCallback: { body: Buffer; headers: Record<string, string> } | null = null;
  readonly #options: FakeGatewayOptions;
  readonly #pending = new Map<string, Pending>();
  readonly #events: InstanceEvent[] = [];
  /** Ended by themselves, and not deleted since. */
  readonly #ended = new Map<string, { readonly instance: FakeInstance; readonly exit: InstanceExit }>();
  readonly #listeners: (() => void)[] = [];
  #serial = 0;

  constructor(options: FakeGatewayOptions) {
    this.#options = options;
  }

  instance(name: string): FakeInstance {
    const instance = this.instances.get(name);
    if (instance === undefined) throw new TorporError("not_found", `Cannot find instance ${name}`);
    return instance;
  }

  names(): string[] {
    return [...this.instances.keys()];
  }

  /** Those that ended by themselves, and that nobody has deleted since. */
  endedNames(): string[] {
    return [...this.#ended.keys()];
  }

  /** The files of a snapshot in flight are whole: tells the supervisor. */
  async finish(name: string): Promise<void> {
    const pending = this.#pending.get(name);
    if (pending === undefined) return;
    this.#pending.delete(name);
    const { instance, image, body } = pending;
    const isHeld = body.extensions?.includes("hold") === true && this.#isOurs;
    image.state = isHeld ? "held" : "stored";
    instance.state = isHeld ? "held" : "running";
    this.log.push(`frozen ${name}`);
    await this.#tell({
      status: "completed",
      snapshot_id: image.id,
      instance_id: instance.id,
      metadata: body.callback.metadata,
      duration_ms: 150,
      frozen_ms: 120,
      size_bytes: 1000,
      held: isHeld,
    });
  }

  async fail(name: string, reason: SnapshotFailure): Promise<void> {
    const pending = this.#pending.get(name);
    if (pending === undefined) return;
    this.#thaw(pending.instance);
    await this.#tell({
      status: "failed",
      instance_id: pending.instance.id,
      reason,
      error: reason,
      metadata: pending.body.callback.metadata,
    });
  }

  /** A sandbox ends by itself. */
  exit(name: string, exitCode: number | null, reason = "exited"): void {
    const instance = this.instance(name);
    this.instances.delete(name);
    if (this.#isOurs) this.#ended.set(name, { instance, exit: { exitCode, reason } });
    this.#pending.delete(name);
    this.#giveBack(name);
    this.#event({ type: "exited", name, id: instance.id, exitCode, reason });
  }

  /** A sandbox ends while its memory is being written, which is lost with it. */
  async die(name: string, reason: SnapshotFailure): Promise<void> {
    const pending = this.#pending.get(name);
    if (pending === undefined) throw new Error(`Cannot lose the memory of ${name}: it is not being written`);
    this.images.delete(pending.image.id);
    this.exit(name, 137, "killed");
    await this.#tell({ status: "failed", instance_id: pending.instance.id, reason, metadata: pending.body.callback.metadata });
  }

  /** The files are whole, and nobody is told until the result is called. */
  finishLate(name: string): () => Promise<void> {
    const pending = this.#pending.get(name);
    if (pending === undefined) throw new Error(`Cannot finish the memory of ${name}: it is not being written`);
    pending.image.state = "held";
    pending.instance.state = "held";
    return () => this.finish(name);
  }

  /** Tells of the end of a sandbox whose memory is kept. */
  announceExit(name: string, exitCode: number, reason: string): void {
    this.#event({ type: "exited", name, id: this.instance(name).id, exitCode, reason });
  }

  /** A held sandbox whose time is over. */
  thawBySelf(name: string): void {
    const instance = this.instance(name);
    this.#thaw(instance);
    this.#event({ type: "thawed", name, id: instance.id, exitCode: null, reason: "held too long" });
  }

  /** Repeats the last callback, as it was. */
  async replay(): Promise<number> {
    if (this.lastCallback === null) throw new Error("Cannot replay: there was no callback");
    return await this.#options.deliver(this.lastCallback.body, this.lastCallback.headers);
  }

  routes(): Mounted[] {
    const shared = [
      mount(routes.createInstance, async ({ body }) => {
        const isNew = !this.instances.has(body.name);
        const reply = this.#create(body.name, body.metadata, body.env);
        if (isNew) await this.#options.host?.create(body.name, body.env);
        return { ...reply, ...this.startOf };
      }),
      mount(routes.deleteInstance, async ({ params, query }) => {
        this.log.push(`delete ${params.name}`);
        this.#ended.delete(params.name);
        if (query.id !== undefined && this.instances.has(params.name) && this.instances.get(params.name)?.id !== query.id) return undefined;
        const { imageId = null } = this.instances.get(params.name) ?? {};
        if (imageId !== null && this.images.get(imageId)?.state !== "stored") this.images.delete(imageId);
        if (this.instances.delete(params.name)) this.#options.host?.destroy(params.name);
        this.#giveBack(params.name);
        return undefined;
      }),
      mount(routes.snapshotInstance, async ({ params, body }) => this.#snapshot(params.name, body)),
      mount(routes.restoreSnapshot, async ({ params, body }) => {
        const image = this.images.get(params.snapshotId);
        if (image === undefined || image.state === "consumed")
          throw new TorporError("memory_image_gone", `Cannot restore ${params.snapshotId}: it is gone`);
        if (image.state !== "stored") throw new TorporError("sandbox_frozen", `Cannot restore ${params.snapshotId}: it is ${image.state}`);
        if (this.instances.has(body.name)) throw new TorporError("name_taken", `Cannot restore as ${body.name}`);
        const isReserved = this.#isOurs && body.extensions?.includes("reserve") === true;
        image.state = isReserved ? "reserved" : "consumed";
        if (isReserved) image.reservedFor = body.name;
        const reply = this.#create(body.name, body.metadata, {});
        this.#options.host?.restore(image.name, body.name, body.metadata);
        return isReserved ? { ...reply, extensions: ["reserve"] } : reply;
      }),
    ];
    return this.#isOurs ? [...shared, ...this.#ownRoutes()] : shared;
  }

  #ownRoutes(): Mounted[] {
    return [
      mount(routes.getInstance, async ({ params }) => this.#view(this.instance(params.name)) as never),
      mount(
        routes.listInstances,
        async ({ query }) => ({ instances: [...this.#alive(), ...(query.ended === "true" ? this.#gone() : [])] }) as never,
      ),
      mount(routes.cancelSnapshot, async ({ params }) => {
        const instance = this.instances.get(params.name);
        this.log.push(`cancel ${params.name}`);
        if (instance === undefined || instance.state === "running") return { outcome: "none" as const };
        const pending = this.#pending.get(params.name);
        this.#thaw(instance);
        if (pending !== undefined)
          await this.#tell({ status: "failed", instance_id: instance.id, reason: "canceled", metadata: pending.body.callback.metadata });
        return { outcome: "thawed" as const };
      }),
      mount(routes.listSnapshots, async () => ({
        snapshots: [...this.images.values()].map((image) => ({
          id: image.id,
          state: image.state === "reserved" ? "consumed" : image.state,
          instanceName: image.name,
          image: "img",
          sizeBytes: 1000,
          frozenMs: 120,
          createdAt: image.createdAt,
          labels: {},
        })) as never,
      })),
      mount(routes.commitSnapshot, async ({ params }) => {
        const image = this.images.get(params.snapshotId);
        if (image?.state === "stored") return { outcome: "committed" as const };
        if (image?.state !== "held") throw new TorporError("snapshot_stale", "Cannot commit: it was thawed already");
        image.state = "stored";
        this.instances.delete(image.name);
        this.#options.host?.store(image.name);
        this.log.push(`commit ${image.name}`);
        return { outcome: "committed" as const };
      }),
      mount(routes.abortSnapshot, async ({ params }) => {
        const image = this.images.get(params.snapshotId);
        if (image?.state !== "held") return { outcome: "none" as const };
        this.log.push(`abort ${image.name}`);
        this.#thaw(this.instance(image.name));
        return { outcome: "thawed" as const };
      }),
      mount(routes.deleteSnapshot, async ({ params }) => {
        this.images.delete(params.snapshotId);
        return undefined;
      }),
      mount(routes.node, async () => ({
        driver: "fake",
        canSnapshot: this.canSnapshot,
        cpuTotal: 4,
        memoryTotalBytes: this.memoryTotalBytes,
        memoryAvailableBytes: this.memoryAvailableBytes ?? this.memoryTotalBytes,
        diskFreeBytes: 1e12,
        warnings: [],
        extensions: ["hold", "reserve"],
      })),
      mount(routes.events, async ({ query, signal }) => {
        if (this.#events.every(({ cursor }) => cursor <= query.after)) {
          await new Promise<void>((resolve) => {
            this.#listeners.push(resolve);
            signal.addEventListener("abort", () => resolve(), { once: true });
            this.#options.clock.after(query.wait_ms, () => resolve());
          });
        }
        const events = this.#events.filter(({ cursor }) => cursor > query.after);
        return { events, next: events.at(-1)?.cursor ?? query.after };
      }),
    ];
  }

  /** A sandbox ended that was made ready ahead of time: its image may be restored again. */
  #giveBack(name: string): void {
    for (const image of this.images.values()) if (image.state === "reserved" && image.reservedFor === name) image.state = "stored";
  }

  get #isOurs(): boolean {
    return this.#options.isOurs ?? true;
  }

  #create(name: string, metadata: Record<string, unknown>, env: Record<string, string>) {
    const known = this.instances.get(name);
    if (known !== undefined) {
      if (known.metadata["TRIGGER_SNAPSHOT_ID"] === metadata["TRIGGER_SNAPSHOT_ID"]) return { id: known.id, address: known.address };
      throw new TorporError("name_taken", `Cannot create ${name}: it is taken`);
    }
    const serial = ++this.#serial;
    const address = this.#options.addresses === true ? `10.79.0.${serial + 1}` : null;
    const instance: FakeInstance = {
      id: `sbx-${serial}`,
      name,
      address,
      metadata,
      env,
      state: "running",
      imageId: null,
      createdAt: new Date(this.#options.clock.nowMs()),
    };
    this.instances.set(name, instance);
    this.log.push(`create ${name}`);
    return { id: instance.id, address };
  }

  async #snapshot(name: string, body: SnapshotBody) {
    const instance = this.instance(name);
    if (instance.state !== "running") throw new TorporError("sandbox_frozen", `Cannot snapshot ${name}: it is ${instance.state}`);
    const image: FakeImage = {
      id: `mem_${String(++this.#serial).padStart(12, "0")}`,
      name,
      state: "writing",
      createdAt: new Date(this.#options.clock.nowMs()),
    };
    this.images.set(image.id, image);
    instance.state = "freezing";
    instance.imageId = image.id;
    this.#pending.set(name, { instance, image, body });
    this.#options.host?.freeze(name);
    if (this.autoFinish) this.#options.clock.after(0, () => void this.finish(name));
    return this.#isOurs ? { snapshot_id: image.id as never, extensions: body.extensions ?? [] } : undefined;
  }

  #thaw(instance: FakeInstance): void {
    this.#pending.delete(instance.name);
    if (instance.imageId !== null) this.images.delete(instance.imageId);
    instance.imageId = null;
    instance.state = "running";
    this.#options.host?.thaw(instance.name);
    this.log.push(`thaw ${instance.name}`);
  }

  #alive() {
    return [...this.instances.values()].map((instance) => this.#view(instance));
  }

  #gone() {
    return [...this.#ended.values()].map(({ instance, exit }) => ({ ...this.#view(instance), state: "gone", exit }));
  }

  #view(instance: FakeInstance) {
    const { id, name, state, address, metadata, createdAt, imageId } = instance;
    const reserved = [...this.images.values()].find((image) => image.state === "reserved" && image.reservedFor === name);
    const memory = { memoryImageId: imageId, reservedImageId: reserved?.id ?? null, memoryBytes: null };
    return { id, name, state, image: "img", address, metadata, createdAt, ...memory, processCount: null };
  }

  #event(event: Omit<InstanceEvent, "cursor" | "at" | "name"> & { name: string }): void {
    this.#events.push({ ...event, cursor: this.#events.length + 1, at: new Date(this.#options.clock.nowMs()) } as InstanceEvent);
    for (const wake of this.#listeners.splice(0)) wake();
  }

  async #tell(payload: object): Promise<void> {
    const body = Buffer.from(JSON.stringify(payload));
    const at = this.#options.clock.nowMs();
    const key = createHmac("sha256", this.#options.token).update(CALLBACK_KEY_LABEL).digest();
    const digest = createHmac("sha256", key).update(`${at}.`).update(body).digest("hex");
    const headers: Record<string, string> = this.#isOurs ? { "x-torpor-signature": `t=${at},v1=${digest}` } : {};
    this.lastCallback = { body, headers };
    this.callbackStatuses.push(await this.#options.deliver(body, headers));
  }
}
