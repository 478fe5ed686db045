export { ConfigError, readConfig, type SupervisorConfig } from "./config.ts";
export { startSupervisor, type RunningSupervisor, type SupervisorDeps } from "./supervisor.ts";
export { main } from "./main.ts";
export { printLifeCycle } from "./snapshot/lifeCycle.ts";
