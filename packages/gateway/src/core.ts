// What the pieces of the gateway share. Built once, in `gateway.ts`.
import type { Clock, Random } from "@torpor/kernel";
import type { Log, Metrics } from "@torpor/observe";
import type { ComputeDriver } from "./drivers/driver.ts";
import type { ImageSource } from "./images.ts";
import type { EventLog } from "./sandboxes/events.ts";
import type { SandboxTable } from "./sandboxes/sandboxTable.ts";
import type { FrozenTier } from "./snapshots/frozenTier.ts";
import type { MemoryImages } from "./snapshots/memoryImages.ts";
import type { StagingArea } from "./snapshots/stagingArea.ts";

export interface Core {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly driver: ComputeDriver;
  readonly images: ImageSource;
  readonly table: SandboxTable;
  readonly memory: MemoryImages;
  readonly staging: StagingArea;
  /** How much disk memory images may take. */
  readonly quotaBytes: () => Promise<number>;
  readonly frozen: FrozenTier;
  readonly events: EventLog;
  /** Why no further sandbox may start on this node, or undefined when one may. */
  readonly room: () => Promise<string | undefined>;
  /** Why no further memory image may be written, or undefined when one may. */
  readonly diskRoom: () => Promise<string | undefined>;
}
