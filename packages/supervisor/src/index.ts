export { ConfigError, readConfig, type SupervisorConfig } from "./config.ts";
export { startSupervisor, type RunningSupervisor, type SupervisorDeps } from "./supervisor.ts";
export { main } from "./main.ts";
export { printLifeCycle } from "./snapshot/lifeCycle.ts";
// The graph without its ports, for whoever brings his own neighbours.
export { createCore, type Core, type CoreDeps } from "./core.ts";
export { begin, drain } from "./life.ts";
export type { RouteCaller } from "./callers.ts";
export type { RunnerSocket } from "./workload/sockets.ts";
export { snapshotComplete } from "./workload/routes.ts";
// Decisions as they are, for whoever explores them.
export { judgeAdoption, type Adoption, type SandboxNotes } from "./runners/adoption.ts";
export { hasEnded, nextIntentState, type IntentEvent, type IntentState } from "./snapshot/lifeCycle.ts";
export { judgeAcceptance, judgeWait } from "./snapshot/verdict.ts";
