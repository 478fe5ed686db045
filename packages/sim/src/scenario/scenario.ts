// What a simulated plane is made of and what goes wrong in it: plain data, so that a failing one can be made smaller and printed.

export type LinkName =
  | "supervisor>platform"
  | "supervisor>gateway"
  | "supervisor>broker"
  | "gateway>supervisor"
  | "platform>supervisor"
  | "runner>supervisor"
  | "runner>platform";

/** Moments of a run's way that a fault can aim at. */
export type Point =
  | "suspend_asked"
  | "wait_checked"
  | "snapshot_asked"
  | "frozen"
  | "saving"
  | "written"
  | "callback_sent"
  | "reported"
  | "accepted"
  | "commit_asked"
  | "destroyed"
  | "handed_out"
  | "restore_asked"
  | "restoring"
  | "restored"
  | "continued"
  | "started"
  | "completing"
  | "thawed"
  | "idle";

export type When =
  | { readonly atMs: number }
  /** The n-th time that some run gets there (from 1), and then some. */
  | { readonly point: Point; readonly nth: number; readonly delayMs: number };

export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

export type DriverCall = "create" | "prepare" | "restore" | "freeze" | "save" | "thaw" | "destroy";

export type Fault =
  /** `reset`: what is lost is noticed at once; otherwise the caller's patience runs out. */
  | (Window & {
      readonly kind: "link";
      readonly link: LinkName;
      readonly effect: "lose_request" | "lose_answer" | "delay" | "double";
      readonly probability: number;
      readonly delayMs: number;
    })
  | {
      readonly kind: "crash";
      readonly part: "supervisor" | "gateway" | "platform" | "runner";
      readonly node: number;
      readonly downMs: number;
      readonly when: When;
    }
  | { readonly kind: "drain"; readonly node: number; readonly downMs: number; readonly when: When }
  | (Window & {
      readonly kind: "driver";
      readonly node: number;
      readonly call: DriverCall;
      readonly effect: "hang" | "refuse" | "lose_answer" | "dies";
      readonly hangMs: number;
      readonly times: number;
    })
  | (Window & { readonly kind: "disk"; readonly node: number; readonly effect: "slow" | "full"; readonly slowMs: number })
  | { readonly kind: "clock"; readonly node: number; readonly byMs: number; readonly when: When }
  /** `isCut`: its calls are lost as well. */
  | { readonly kind: "socket"; readonly awayMs: number; readonly isCut: boolean; readonly when: When }
  | { readonly kind: "wake"; readonly when: When }
  | { readonly kind: "cancel"; readonly when: When }
  /** Somebody else asks the gateway for the same memory image, under another name. */
  | { readonly kind: "rival"; readonly when: When }
  /** The platform takes the run away, as if nothing had been heard of it for long. */
  | { readonly kind: "stall"; readonly when: When }
  /** Somebody sends a snapshot's callback again, or one that he has made up. */
  | { readonly kind: "forge"; readonly how: "replay" | "other_run" | "unsigned"; readonly when: When };

export type TaskStep =
  | { readonly kind: "work"; readonly ms: number }
  /** `giveUpMs`: the task ends although it still waits (a limit on its duration, an error elsewhere in it). */
  | { readonly kind: "wait"; readonly for: "time" | "token"; readonly ms: number; readonly giveUpMs: number | null }
  | { readonly kind: "fail"; readonly onAttempt: number; readonly retryDelayMs: number };

export interface RunPlan {
  readonly triggerAtMs: number;
  readonly maxAttempts: number;
  readonly steps: readonly TaskStep[];
}

export interface PlaneSettings {
  readonly nodes: number;
  readonly warmStarts: boolean;
  readonly snapshotDelayMs: number;
  /** Loops that ask for runs, of each node. */
  readonly consumers: number;
  readonly dispatchLimit: number;
  readonly maxSnapshots: number;
  readonly holdMs: number;
  readonly socketGraceMs: number;
  readonly pollSeconds: number;
  readonly heartbeatSeconds: number;
  readonly saveMs: number;
  /** What a guest's timers do while it is frozen: `stand_still`, or `overdue` at its thaw. */
  readonly guestClock: "stand_still" | "overdue";
  readonly executingStallMs: number;
  readonly pendingExecutingStallMs: number;
}

export interface Scenario {
  readonly seed: number;
  readonly settings: PlaneSettings;
  readonly runs: readonly RunPlan[];
  readonly faults: readonly Fault[];
  /** From here on nothing goes wrong any more. */
  readonly quietAtMs: number;
}
