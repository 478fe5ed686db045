// The HTTP contract: each route is one sentence about the pieces.
import { gateway as contract, TorporError, type InstanceView, type MemoryImageView } from "@torpor/contracts";
import { Answer, mounter, type Mounted } from "@torpor/http";
import type { Core } from "../core.ts";
import { measureRoom } from "../room.ts";
import type { Launcher } from "../sandboxes/launcher.ts";
import type { Sandbox } from "../sandboxes/sandboxTable.ts";
import type { FoundImage } from "../snapshots/memoryImages.ts";
import type { Snapshotter } from "../snapshots/snapshotter.ts";
import { memoryOf, type Spares } from "../templates/spares.ts";
import type { TemplateRequests } from "../templates/templateRequests.ts";

export interface RouteParts {
  readonly core: Core;
  readonly launcher: Launcher;
  readonly snapshotter: Snapshotter;
  readonly templates: TemplateRequests;
  readonly spares: Spares;
  readonly stateDir: string;
}

const mount = mounter<{ gateway: null }>();

/** What we can do beyond the shared contract; each is granted only to who asks for it by name. */
const EXTENSIONS = ["hold"] as const;
const OFFERED = ["hold", "reserve"];

export function gatewayRoutes(parts: RouteParts): Mounted[] {
  return [...instanceRoutes(parts), ...snapshotRoutes(parts), ...nodeRoutes(parts)];
}

function instanceRoutes({ core, launcher, snapshotter }: RouteParts): Mounted[] {
  return [
    mount(contract.createInstance, async ({ body }) => await launcher.create(body)),
    mount(contract.deleteInstance, async ({ params, query }) => {
      const sandbox = core.table.find(params.name);
      if (sandbox !== undefined && (query.id ?? sandbox.record.id) === sandbox.record.id) {
        await snapshotter.release(sandbox);
        await launcher.delete(sandbox);
      }
      return undefined;
    }),
    mount(contract.getInstance, async ({ params }) => await viewOf(core, core.table.live(params.name))),
    mount(contract.listInstances, async ({ query }) => {
      const sandboxes = query.ended === "true" ? [...core.table.all(), ...core.table.ended()] : core.table.all();
      return { instances: await Promise.all(sandboxes.map((sandbox) => viewOf(core, sandbox))) };
    }),
    mount(contract.snapshotInstance, async ({ params, body }) => {
      const asked = body.extensions ?? [];
      const granted = EXTENSIONS.filter((extension) => asked.includes(extension));
      const snapshotId = await snapshotter.begin(params.name, body);
      return asked.length === 0 ? undefined : { snapshot_id: snapshotId, extensions: granted };
    }),
    mount(contract.cancelSnapshot, async ({ params }) => ({ outcome: await snapshotter.cancel(params.name) })),
  ];
}

function snapshotRoutes({ core, launcher, snapshotter }: RouteParts): Mounted[] {
  return [
    mount(contract.listSnapshots, async () => ({ snapshots: core.memory.list().flatMap((image) => imageView(core, image)) })),
    mount(contract.commitSnapshot, async ({ params, body }) => {
      await snapshotter.commit(params.snapshotId, body?.keep_ms);
      return { outcome: core.frozen.holderOf(params.snapshotId) === undefined ? ("committed" as const) : ("kept" as const) };
    }),
    mount(contract.abortSnapshot, async ({ params }) => ({ outcome: await snapshotter.abort(params.snapshotId) })),
    mount(contract.restoreSnapshot, async ({ params, body }) => await launcher.restore(params.snapshotId, body)),
    mount(contract.deleteSnapshot, async ({ params }) => {
      const phase = core.memory.phase(params.snapshotId);
      await core.frozen.drop(params.snapshotId, "image_deleted");
      if (phase === "stored") await core.memory.remove(params.snapshotId);
      if (phase === "reserved" || phase === "consumed") await core.memory.consumeReserved(params.snapshotId, onRemoveError(core));
      if (phase !== "writing" && phase !== "held" && phase !== "committing") return undefined;
      throw new TorporError(
        "sandbox_frozen",
        `Cannot delete ${params.snapshotId}: its sandbox stands still for it; abort or commit it first`,
      );
    }),
  ];
}

/** Files that could not be deleted are deleted by the next start (L7). */
function onRemoveError({ log }: Core): (error: unknown) => void {
  return (error) => log.error({ err: error }, "cannot delete a memory image");
}

function nodeRoutes({ core, stateDir, templates, spares }: RouteParts): Mounted[] {
  return [
    mount(contract.createTemplate, async ({ body }) => {
      const results = await templates.take(body);
      return results ?? new Answer(undefined, { status: 202 });
    }),
    mount(contract.events, async ({ query, signal }) => await core.events.after(query.after, query.wait_ms, signal)),
    mount(contract.node, async () => ({
      driver: core.driver.name,
      canSnapshot: core.driver.can.snapshot,
      ...(await measureRoom(stateDir)),
      memoryImages: {
        usedBytes: core.memory.onDisk().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
        quotaBytes: await core.quotaBytes(),
      },
      warnings: [...core.driver.warnings, ...core.staging.warnings],
      extensions: core.driver.can.snapshot ? [...OFFERED, ...(core.frozen.isOn ? ["keep"] : [])] : [],
      templates: templates.list(),
      ...(await instancesMemory(core)),
      spares: { ...spares.counts(), preparedBytes: await spares.memoryBytes("prepared"), clonedBytes: await spares.memoryBytes("cloned") },
      reach: { services: { ...core.driver.reach.services }, metadata_url: core.driver.reach.metadataUrl },
    })),
  ];
}

async function instancesMemory({ driver, table }: Core): Promise<{ instancesMemoryBytes?: number }> {
  const bytes = await memoryOf(
    driver,
    table.all().map(({ record }) => record.id),
  );
  return bytes === undefined ? {} : { instancesMemoryBytes: bytes };
}

async function viewOf(core: Core, { record }: Sandbox): Promise<InstanceView> {
  const usage = record.state === "gone" ? undefined : await core.driver.usage(record.id);
  const { restoredFrom } = record;
  return {
    id: record.id,
    name: record.name,
    state: record.state,
    image: record.image,
    address: record.address,
    metadata: { ...record.guestMetadata, ...record.metadata },
    createdAt: new Date(record.createdAtMs),
    memoryImageId: record.snapshot?.memoryImageId ?? null,
    reservedImageId: restoredFrom !== null && core.memory.phase(restoredFrom) === "reserved" ? restoredFrom : null,
    memoryBytes: usage?.memoryBytes ?? null,
    processCount: usage?.processCount ?? null,
    ...(record.exit === null ? {} : { exit: record.exit }),
  };
}

function imageView(core: Core, { id, phase }: FoundImage): MemoryImageView[] {
  const manifest = core.memory.manifest(id);
  if (manifest === undefined) return []; // still without files worth speaking of
  return [
    {
      id,
      state: phase === "committing" ? "held" : phase === "reserved" ? "consumed" : phase,
      instanceName: manifest.instanceName,
      image: manifest.image,
      sizeBytes: core.memory.sizeBytes(id),
      plainBytes: core.memory.plainBytes(id),
      frozenMs: manifest.frozenMs,
      createdAt: new Date(manifest.createdAtMs),
      labels: manifest.labels,
    },
  ];
}
