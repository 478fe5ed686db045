// What a real sandbox may and may not do (L13, L14). Each test asks the guest itself.
import { mkdir, readdir } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { networkInterfaces } from "node:os";
import { systemClock } from "@torpor/kernel";
import { silentLog } from "@torpor/observe";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { makeRealHost, outputOf, tickAfter, until, whyNoGvisor, withProgram, type RealHost } from "../../testing/realHost.ts";
import { leftoversOf } from "../../testing/leftovers.ts";
import { PUBLIC_ADDRESS, startFakeInternet } from "../../testing/fakeInternet.ts";
import type { SandboxExit } from "../driver.ts";
import { startGvisorDriver, type GvisorDriver } from "./index.ts";

const missing = await whyNoGvisor();

describe.skipIf(missing !== undefined)(`a gVisor sandbox${missing === undefined ? "" : ` cannot run here: ${missing}`}`, () => {
  let host: RealHost;
  let driver: GvisorDriver;
  let service: Server;
  let servicePort: number;
  let count = 0;

  beforeAll(async () => {
    service = createServer((request, response) => response.end(`${request.socket.remoteAddress}`));
    await new Promise<void>((resolve) => service.listen(0, "127.0.0.1", () => resolve()));
    servicePort = (service.address() as AddressInfo).port;
  });
  afterAll(() => void service.close());
  afterEach(async () => {
    for (const { id } of await driver.list()) await driver.destroy(id);
    await driver.dispose();
    await driver.close();
    expect(await leftoversOf(host.options.planeId)).toEqual([]);
    await host.close();
  });

  async function open(egress: "none" | "internet" = "none"): Promise<void> {
    host = await makeRealHost({ egress, services: [{ guestPort: 8020, host: "127.0.0.1", port: servicePort }] });
    driver = await startGvisorDriver(host.options, { clock: systemClock, log: silentLog });
  }

  async function start(
    program: string,
    more: { env?: Record<string, string>; metadata?: Record<string, string> } = {},
  ): Promise<{ id: string; address: string }> {
    const id = `sbxiso${count++}`;
    const outcome = await driver.create({
      id,
      image: withProgram(host.image, program),
      env: more.env ?? {},
      cpu: 1,
      memoryBytes: 2 ** 29,
      metadata: more.metadata ?? {},
    });
    if (outcome.kind !== "started" || outcome.address === null) throw new Error(JSON.stringify(outcome));
    return { id, address: outcome.address };
  }

  const answer = (id: string) => until(async () => (await outputOf(host.options.stateDir, id)).match(/env (\{.*\})/)?.[1], "metadata");

  const linesOf = async (id: string, label: string): Promise<string[]> => {
    await tickAfter(host.options.stateDir, id, 0);
    return (await outputOf(host.options.stateDir, id))
      .split("\n")
      .filter((line) => line.startsWith(label))
      .map((line) => line.slice(label.length + 1));
  };

  it("is a plain user without capabilities, writes where a task may, never into the system, and not without end", async () => {
    await open();
    const { id } = await start("rights");
    expect(await linesOf(id, "rights")).toEqual(["uid=1000 caps=0000000000000000 nnp=1"]);
    const writes = Object.fromEntries((await linesOf(id, "write")).map((line) => line.split(" ")));
    expect(writes).toEqual({
      "/app/x": "ok",
      "/tmp/x": "ok",
      "/home/task/x": "ok",
      "/dev/shm/x": "ok",
      "/etc/x": "EACCES",
      "/usr/x": "EACCES",
      "/x": "EACCES",
    });
    expect((await linesOf(id, "fill"))[0]).toMatch(/^ENOSPC after (4\d|5\d|6\d) MiB$/); // the test's bound is 64 MiB
  });

  it("leaves the shared image as it was", async () => {
    await open();
    const [one, two] = [await start("ticks"), await start("ticks")];
    await Promise.all([linesOf(one.id, "tick"), linesOf(two.id, "tick")]);
    expect(await readdir(`${host.image.rootfs}/app`)).toEqual(["guest.mjs"]);
    expect((await readdir(host.image.rootfs)).filter((name) => name.startsWith("."))).toEqual([]);
  });

  it("reaches the services it was given, which see its own address, and nothing else of the host", async () => {
    await open();
    const own =
      Object.values(networkInterfaces())
        .flat()
        .find((one) => one?.family === "IPv4" && !one.internal)?.address ?? "127.0.0.1";
    const gateway = "169.254.169.254";
    const targets = [
      `${gateway}:8020`,
      `${gateway}:22`,
      `${gateway}:${servicePort}`,
      `${own}:${servicePort}`,
      `${own}:22`,
      "10.0.0.1:80",
      "192.168.0.1:80",
      "8.8.8.8:53",
    ];
    const { id, address } = await start("reaches", { env: { TARGETS: targets.join(",") } });
    const reached = Object.fromEntries(
      (await linesOf(id, "reach")).map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]),
    );
    expect(reached).toEqual({
      [`${gateway}:8020`]: `open ${address}`,
      ...Object.fromEntries(targets.slice(1).map((target) => [target, "ECONNREFUSED"])),
    });
  });

  it("reaches no other sandbox", async () => {
    await open();
    const other = await start("rights"); // it listens on 9999
    await linesOf(other.id, "rights");
    const { id } = await start("reaches", { env: { TARGETS: `${other.address}:9999` } });
    expect(await linesOf(id, "reach")).toEqual([`${other.address}:9999 ECONNREFUSED`]);
  });

  it("reaches public addresses with egress, under the host's address, but still nothing private, and no other sandbox", async () => {
    await open("internet");
    const internet = await startFakeInternet();
    try {
      const own =
        Object.values(networkInterfaces())
          .flat()
          .find((one) => one?.family === "IPv4" && !one.internal)?.address ?? "127.0.0.1";
      const other = await start("rights");
      await linesOf(other.id, "rights");
      const forbidden = [
        "10.0.0.1:80",
        "172.16.0.1:80",
        "192.168.0.1:80",
        "100.64.0.1:80",
        "169.254.1.1:80",
        "198.51.100.1:80",
        `${own}:${servicePort}`,
        `${other.address}:9999`,
        "169.254.169.254:22",
      ];
      const { id, address } = await start("reaches", {
        env: { TARGETS: [...forbidden, "169.254.169.254:8020", `${PUBLIC_ADDRESS}:80`].join(",") },
      });
      const reached = await linesOf(id, "reach");
      expect(reached.filter((line) => line.endsWith("ECONNREFUSED")).map((line) => line.split(" ")[0])).toEqual(forbidden);
      expect(reached.slice(forbidden.length)).toEqual([`169.254.169.254:8020 open ${address}`, `${PUBLIC_ADDRESS}:80 open 198.51.100.1`]);
    } finally {
      await internet.close();
    }
  });

  it("reaches no public address without egress", async () => {
    await open();
    const internet = await startFakeInternet();
    try {
      const { id } = await start("reaches", { env: { TARGETS: `${PUBLIC_ADDRESS}:80` } });
      expect(await linesOf(id, "reach")).toEqual([`${PUBLIC_ADDRESS}:80 ECONNREFUSED`]);
    } finally {
      await internet.close();
    }
  });

  it("gets its own metadata and nobody else's", async () => {
    await open();
    const [one, two] = [
      await start("metadata", { metadata: { TRIGGER_RUNNER_ID: "one" } }),
      await start("metadata", { metadata: { TRIGGER_RUNNER_ID: "two" } }),
    ];
    expect(JSON.parse(await answer(one.id))).toEqual({ TRIGGER_RUNNER_ID: "one" });
    expect(JSON.parse(await answer(two.id))).toEqual({ TRIGGER_RUNNER_ID: "two" });
  });

  it("finds its new metadata at its first question after a restore", async () => {
    await open();
    const first = await start("metadata", { metadata: { TRIGGER_RUNNER_ID: "before" } });
    const before = await tickAfter(host.options.stateDir, first.id, 1);
    await driver.freeze(first.id);
    const dir = `${host.dir}/saved`;
    await mkdir(dir);
    expect((await driver.save(first.id, dir, new AbortController().signal)).kind).toBe("saved");
    await driver.destroy(first.id);
    const spec = {
      id: "sbxisorestored",
      image: withProgram(host.image, "metadata"),
      env: {},
      cpu: 1,
      memoryBytes: 2 ** 29,
      metadata: { TRIGGER_RUNNER_ID: "after" },
    };
    await driver.prepare(spec);
    expect(await driver.restore(spec.id, dir)).toMatchObject({ kind: "started" });
    await tickAfter(host.options.stateDir, spec.id, before + 1);
    const answers = (await outputOf(host.options.stateDir, spec.id)).match(/env \{.*\}/g) ?? [];
    expect(new Set(answers)).toEqual(new Set(['env {"TRIGGER_RUNNER_ID":"after"}']));
  });

  it("is limited in memory: what grows over it is killed, which is told, and the machine is not", async () => {
    await open();
    const id = "sbxisobig";
    const outcome = await driver.create({
      id,
      image: withProgram(host.image, "heavy"),
      env: { MEGABYTES: "600" },
      cpu: 1,
      memoryBytes: 2 ** 28,
      metadata: {},
    });
    expect(outcome.kind).toBe("started");
    const exited = new Promise<SandboxExit>((resolve) => driver.onExit(resolve));
    if (driver.warnings.length > 0) return expect(driver.warnings[0]).toContain("limits are not enforced");
    expect(await exited).toMatchObject({ id, outOfMemory: true });
  });

  it("stands beside sandboxes of another plane on this machine, and neither sees the other", async () => {
    await open();
    const otherHost = await makeRealHost();
    const otherDriver = await startGvisorDriver(otherHost.options, { clock: systemClock, log: silentLog });
    try {
      const spec = { id: "sbxother", image: withProgram(otherHost.image, "rights"), env: {}, cpu: 1, memoryBytes: 2 ** 29, metadata: {} };
      const other = await otherDriver.create(spec);
      await tickAfter(otherHost.options.stateDir, spec.id, 0);
      const otherAddress = other.kind === "started" ? other.address : null;
      const { id, address } = await start("reaches", { env: { TARGETS: `${otherAddress}:9999,169.254.169.254:8020` } });
      expect(await linesOf(id, "reach")).toEqual([`${otherAddress}:9999 ECONNREFUSED`, `169.254.169.254:8020 open ${address}`]);
      expect(await driver.list()).toHaveLength(1);
      await otherDriver.destroy(spec.id);
    } finally {
      await otherDriver.dispose();
      await otherDriver.close();
      expect(await leftoversOf(otherHost.options.planeId)).toEqual([]);
      await otherHost.close();
    }
  });
});
