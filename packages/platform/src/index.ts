export { readConfig, type Config } from "./config.ts";
export { startPlatform, type Platform, type PlatformDeps } from "./platform.ts";
