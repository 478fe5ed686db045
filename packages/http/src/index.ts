export * from "./client.ts";
export * from "./errors.ts";
export * from "./mount.ts";
export * from "./server.ts";
export * from "./status.ts";
