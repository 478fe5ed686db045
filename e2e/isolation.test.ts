import { createServer, type Server } from "node:http";
import { networkInterfaces } from "node:os";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import type { Deployed } from "./harness/deployed.ts";
import { TestPlane } from "./harness/testPlane.ts";

const GUEST_HOST = "169.254.169.254";
/** Stands in every part's environment, and must not be seen by a task. */
const MARKER = "marker-of-the-host-4711";

interface ProbeReport {
  readonly uid: number;
  readonly gid: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly status: string;
  readonly reach: Readonly<Record<string, string>>;
  readonly requests: readonly ({ readonly status: number; readonly body: string } | { readonly error: string })[];
  readonly read: Readonly<Record<string, string>>;
  readonly write: Readonly<Record<string, string>>;
}

let plane: TestPlane;
let probes: Deployed;
let hostServer: Server;
let hostPort: number;
/** A run of somebody else, which waits awake in its own sandbox. */
let other: { readonly runId: string; readonly runnerId: string; readonly address: string; readonly snapshotId: string };

beforeAll(async () => {
  hostServer = createServer((_request, response) => void response.end("a service of the host"));
  await new Promise<void>((resolve) => hostServer.listen(0, "0.0.0.0", resolve));
  const address = hostServer.address();
  hostPort = typeof address === "object" && address !== null ? address.port : 0;
  plane = await TestPlane.start({ env: { COMPUTE_SNAPSHOT_DELAY_MS: "60000", HOST_MARKER: MARKER } });
  probes = await plane.deploy(inject("prepared").images.probes);
  other = await somebodyElse();
});

afterAll(async () => {
  await new Promise((resolve) => hostServer.close(resolve));
  await plane?.remove();
});

async function somebodyElse(): Promise<typeof other> {
  const runId = await probes.trigger("listen", { port: 9_999, token: await probes.createToken() });
  const { snapshotId } = await probes.untilEvent(runId, "snapshot.scheduled");
  const { name, address } = await probes.untilSandbox(runId, "running");
  if (snapshotId === undefined || address === null) throw new Error("the other run has no snapshot or no address");
  return { runId, runnerId: name, address, snapshotId };
}

async function probe(payload: unknown): Promise<ProbeReport> {
  const runId = await probes.trigger("probe", payload);
  const run = await probes.untilEnded(runId);
  expect(run).toMatchObject({ status: "COMPLETED" });
  return run.output as ProbeReport;
}

function hostAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((all) =>
    (all ?? []).filter(({ family }) => family === "IPv4").map(({ address }) => address),
  );
}

describe.concurrent("a task in its sandbox (L13)", () => {
  it("reaches no port of the host, by whatever address", async () => {
    for (const address of hostAddresses())
      expect(await (await fetch(`http://${address}:${hostPort}`)).text()).toBe("a service of the host");
    const { gateway, database, workload, api } = plane.plane.file.ports as Record<string, number>;
    const ports = [hostPort, gateway, database, workload, api];
    const targets = [...hostAddresses(), "127.0.0.1"].flatMap((address) => ports.map((port) => `${address}:${port}`));
    const { reach } = await probe({
      reach: [...targets, `${GUEST_HOST}:${hostPort}`, `${GUEST_HOST}:${gateway}`, `${GUEST_HOST}:${database}`],
    });
    expect(Object.keys(reach).length).toBeGreaterThan(ports.length);
    expect(Object.entries(reach).filter(([, how]) => how === "connected")).toEqual([]);
  });

  it("reaches no other sandbox, no private range and not the internet", async () => {
    const targets = [
      `${other.address}:9999`,
      "10.0.0.1:80",
      "172.16.0.1:80",
      "192.168.0.1:80",
      "100.64.0.1:80",
      "169.254.0.1:80",
      "1.1.1.1:443",
    ];
    const { reach } = await probe({ reach: targets });
    expect(Object.entries(reach).filter(([, how]) => how === "connected")).toEqual([]);
  });

  it("reaches the platform, the supervisor and its own metadata, and nothing of another run's there", async () => {
    const { requests, environment } = await probe({
      requests: ["/env", "/", "/../env", `/${other.runId}`, `/env?runner=${other.runnerId}`].map((path) => ({
        url: `http://${GUEST_HOST}${path}`,
      })),
    });
    expect(environment["TRIGGER_API_URL"]).toBe(`http://${GUEST_HOST}:3030`);
    const [own] = requests;
    expect(own).toMatchObject({ status: 200 });
    for (const answer of requests) expect(JSON.stringify(answer)).not.toContain(other.runId.replace("run_", ""));
  });

  it("cannot act for another run with that one's runner id (L14)", async () => {
    const base = `http://${GUEST_HOST}:8020/api/v1/workload-actions/runs/${other.runId}/snapshots`;
    const headers = {
      "x-trigger-workload-runner-id": other.runnerId,
      "x-trigger-workload-deployment-id": "forged",
      "content-type": "application/json",
    };
    const completion = JSON.stringify({ completion: { ok: true, id: other.runId, output: "forged", outputType: "text/plain" } });
    const { requests } = await probe({
      requests: [
        { url: `${base}/since/${other.snapshotId}`, headers },
        { url: `${base}/${other.snapshotId}/suspend`, headers },
        { url: `${base}/${other.snapshotId}/continue`, headers },
        { method: "POST", url: `${base}/${other.snapshotId}/heartbeat`, headers, body: "{}" },
        { method: "POST", url: `${base}/${other.snapshotId}/attempts/start`, headers, body: "{}" },
        { method: "POST", url: `${base}/${other.snapshotId}/attempts/complete`, headers, body: completion },
      ],
    });
    expect(requests).toHaveLength(6);
    for (const answer of requests)
      expect(answer).toMatchObject({ status: 403, body: expect.stringContaining("it lives at another address") as string });
    expect(await probes.run(other.runId)).toMatchObject({ isExecuting: true });
  });

  it("cannot reach the route of snapshot callbacks, nor the operator's (L15)", async () => {
    const callback = {
      status: "completed",
      snapshot_id: "mem_forged",
      instance_id: "forged",
      metadata: { runId: other.runId, snapshotFriendlyId: other.snapshotId, snapshotCallbackNonce: "00", snapshotCallbackToken: "00" },
    };
    const { requests } = await probe({
      requests: [
        {
          method: "POST",
          url: `http://${GUEST_HOST}:8020/api/v1/compute/snapshot-complete`,
          headers: { "content-type": "application/json" },
          body: JSON.stringify(callback),
        },
        { url: `http://${GUEST_HOST}:3030/admin/api/v1/status` },
        {
          method: "POST",
          url: `http://${GUEST_HOST}:3030/engine/v1/worker-actions/dequeue`,
          headers: { "content-type": "application/json" },
          body: "{}",
        },
      ],
    });
    for (const answer of requests)
      expect(answer).toMatchObject({ status: expect.toSatisfy((status: number) => [401, 403, 404].includes(status)) as number });
  });

  it("sees nothing of the host's environment, files and secrets", async () => {
    const secretsFile = join(plane.dataDir, "secrets.json");
    const files = [
      secretsFile,
      plane.dataDir,
      "/proc/1/environ",
      "/proc/self/environ",
      "/etc/shadow",
      "/etc/hostname",
      "/root/.bashrc",
      join(import.meta.dirname, "isolation.test.ts"),
    ];
    const report = await probe({ read: files });
    // Below /root the guest is stopped at its own, empty /root before it can see that there is nothing.
    expect(["ENOENT", "EACCES"]).toContain(report.read[secretsFile]);
    expect(["ENOENT", "EACCES"]).toContain(report.read[join(import.meta.dirname, "isolation.test.ts")]);
    const seen = JSON.stringify(report);
    expect(seen).not.toContain(MARKER);
    const secrets = Object.values(JSON.parse(readFileSync(secretsFile, "utf8")) as Record<string, string>);
    expect(secrets.length).toBeGreaterThan(3);
    for (const secret of secrets) expect(seen).not.toContain(secret);
    for (const name of [
      "DATABASE_URL",
      "MANAGED_WORKER_SECRET",
      "COMPUTE_GATEWAY_AUTH_TOKEN",
      "TORPOR_ENCRYPTION_KEY",
      "TRIGGER_WORKER_TOKEN",
    ])
      expect(seen).not.toContain(name);
  });

  it("runs as an ordinary user without capabilities", async () => {
    const { uid, gid, status } = await probe({});
    expect({ uid, gid }).toEqual({ uid: 1000, gid: 1000 });
    for (const set of ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"]) {
      const value = new RegExp(`^${set}:\\s+([0-9a-f]+)$`, "m").exec(status)?.[1] ?? "0";
      expect(BigInt(`0x${value}`)).toBe(0n);
    }
  });

  it("writes where it may, and the next run sees nothing of it", async () => {
    const [mine, theirs] = [
      ["/tmp/mark", "/app/mark"],
      ["/usr/local/bin/node", "/etc/passwd", "/proc/sys/kernel/hostname"],
    ];
    const { write } = await probe({ write: [...mine, ...theirs] });
    for (const file of mine) expect(write[file]).toMatch(/^done/);
    for (const file of theirs) expect(write[file]).not.toMatch(/^done/);
    const { read } = await probe({ read: mine });
    for (const file of mine) expect(read[file]).toBe("ENOENT");
  });
});
