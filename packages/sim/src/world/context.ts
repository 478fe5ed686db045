// What everything in one simulated plane shares.
import type { Log, Metrics } from "@torpor/observe";
import type { History } from "../kernel/history.ts";
import type { VirtualTime } from "../kernel/virtualTime.ts";
import type { EngineModel } from "../model/engine.ts";
import type { Network } from "../network/network.ts";
import type { PlaneSettings, Point, Scenario } from "../scenario/scenario.ts";

export interface PointFacts {
  readonly runId: string | null;
  readonly node: number;
  readonly sandboxId?: string;
}

export interface Context {
  readonly scenario: Scenario;
  readonly settings: PlaneSettings;
  readonly seed: number;
  readonly time: VirtualTime;
  readonly history: History;
  readonly engine: EngineModel;
  readonly network: Network;
  /** A moment that faults may aim at. */
  point(name: Point, facts: PointFacts): void;
  /** What must not be has been. */
  violation(law: string, text: string): void;
  log(who: string): Log;
}

export const NO_METRICS: Metrics = {
  count: () => undefined,
  gauge: () => undefined,
  observeMs: () => undefined,
  observeBytes: () => undefined,
  render: async () => "",
};
