export { ConfigError, readConfig, type WarmStartConfig } from "./config.ts";
export { startWarmStart, type RunningWarmStart, type WarmStartDeps } from "./warmStart.ts";
export { main } from "./main.ts";
