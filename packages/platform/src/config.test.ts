import { describe, expect, it } from "vitest";
import { readConfig } from "./config.ts";

const env = {
  DATABASE_URL: "postgres://torpor:hunter2@127.0.0.1/torpor",
  MANAGED_WORKER_SECRET: "managed-secret-0123",
  TORPOR_ENCRYPTION_KEY: "0".repeat(64),
};

describe("the platform's settings", () => {
  it("names every variable that is missing or wrong, and shows no secret", () => {
    const read = (): unknown => readConfig({ ...env, MANAGED_WORKER_SECRET: "hunter2", PORT: "70000", DATABASE_URL: "" });
    expect(read).toThrow(/DATABASE_URL.*PORT.*MANAGED_WORKER_SECRET/);
    expect(read).not.toThrow(/hunter2/);
  });

  it("prints no secret", () => {
    const config = readConfig({ ...env, TORPOR_ADMIN_TOKEN: "admin-token-hunter2", TRIGGER_WORKER_TOKEN: "worker-token-hunter2" });
    expect(JSON.stringify(config)).not.toContain("hunter2");
  });

  it("listens on loopback and keeps admin, metrics and worker groups off unless told otherwise", () => {
    expect(readConfig(env)).toMatchObject({
      listen: { host: "127.0.0.1", port: 3030 },
      adminToken: null,
      metrics: null,
      workerGroup: null,
    });
  });

  it("takes an empty variable for one that is not set", () => {
    expect(readConfig({ ...env, TORPOR_METRICS_PORT: "" }).metrics).toBeNull();
  });

  it("cuts the slash from the end of an address", () => {
    expect(readConfig({ ...env, TORPOR_API_ORIGIN: "https://torpor.example/" }).origins.api).toBe("https://torpor.example");
  });
});
