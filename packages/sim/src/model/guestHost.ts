import type { Route } from "@torpor/contracts";
import type { CallInput } from "@torpor/http";
import type { SimProcess } from "../kernel/simProcess.ts";
import type { WireOutcome } from "../network/message.ts";
import type { CallOptions } from "../network/network.ts";
import type { RunPlan } from "../scenario/scenario.ts";
import type { SocketHost } from "./guestSocket.ts";
import type { ExecutionMemory, RunnerMemory } from "./runnerMemory.ts";

/** What the plane gives to its guests. */
export interface GuestHost extends SocketHost {
  readonly pollMs: number;
  readonly heartbeatMs: number;
  readonly guestClock: "stand_still" | "overdue";
  nowMs(): number;
  call(options: Omit<CallOptions, "to">, route: Route, input: CallInput<Route>): Promise<WireOutcome>;
  planOf(index: number): RunPlan;
  planIndexOf(runId: string): number;
  stepped(sandboxId: string, execution: ExecutionMemory): void;
  noted(sandboxId: string, what: string, facts: Readonly<Record<string, unknown>>): void;
}

export interface GuestOptions {
  readonly host: GuestHost;
  readonly id: string;
  readonly node: number;
  readonly process: SimProcess;
  readonly address: string;
  readonly memory: RunnerMemory;
  /** What `/env` answers; null when nobody serves it right now. */
  readonly metadata: () => Readonly<Record<string, string>> | null;
  readonly onExit: (code: number | null) => void;
}
