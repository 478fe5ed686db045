import { RunnerId } from "@torpor/contracts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, type FakeGateway, type FakeGatewayOptions } from "../testing/fakeGateway.ts";

const IMAGE = "torpor/p@1";
const MACHINE = { cpu: 1, memory_gb: 0.5 };
const ON: FakeGatewayOptions = { config: { templates: { enabled: true, maxCount: 4, maxBytes: 1_000_000 }, maxSpares: 2 } };

let node: FakeNode;
let gateway: FakeGateway;
let names: number;

beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start(ON);
  names = 0;
});
afterEach(() => node.close());

/** Answers of the gateway wait for files, and those for the clock. */
async function turning<T>(answer: Promise<T>): Promise<T> {
  const done = new AbortController();
  const settled = answer.finally(() => done.abort());
  settled.catch(() => undefined);
  while (!done.signal.aborted) {
    await gateway.clock.advance(5);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return await settled;
}

const body = (image = IMAGE) => ({
  name: RunnerId.parse(`runner-${++names}`),
  image,
  env: { SECRET: "tr_prod_secret" },
  ...MACHINE,
  metadata: {},
});
const make = async (image = IMAGE) =>
  ok(await turning(gateway.client.call(contract.createTemplate, { body: { image, machine_configs: [MACHINE] } })));
const create = async (image = IMAGE) => ok(await turning(gateway.client.call(contract.createInstance, { body: body(image) })));
const spares = async () => ok(await gateway.client.call(contract.node)).spares;
const callsOf = (id: string) => node.host.calls.filter((call) => call.endsWith(` ${id}`)).map((call) => call.split(" ")[0]);

/** Lets time pass until there are as many spares as there should be. */
async function ready(wanted = { prepared: 1, cloned: 1 }): Promise<void> {
  for (let turns = 0; turns < 2_000; turns++) {
    const found = await spares();
    if (found?.prepared === wanted.prepared && found.cloned === wanted.cloned) return;
    await gateway.clock.advance(50);
  }
  throw new Error(`Expected ${JSON.stringify(wanted)}, there are ${JSON.stringify(await spares())}`);
}

describe("a start on a node with spares", () => {
  it("is a clone that was waiting, with the environment that it is given then, and another is made behind it", async () => {
    await make();
    await ready();
    const { id, start } = await create();
    expect([start, callsOf(id)]).toEqual(["clone", ["spare", "restore", "assign"]]);
    expect(node.host.sandboxes.get(id)?.spec).toMatchObject({ id, env: { SECRET: "tr_prod_secret" } });
    await ready();
  });

  it("finds the kernel that is there when the clone is taken, and a sandbox of its own when that is too", async () => {
    await make();
    await ready();
    const bodies = [body(), body(), body()];
    const outcomes = await turning(Promise.all(bodies.map((one) => gateway.client.call(contract.createInstance, { body: one }))));
    const started = outcomes.map(ok);
    expect(started.map(({ id }) => callsOf(id)).toSorted((a, b) => b.length - a.length)).toEqual([
      ["spare", "restore", "assign"],
      ["spare", "restore", "assign"],
      ["prepare", "restore"],
    ]);
    expect(new Set(started.map(({ address }) => address)).size).toBe(3);
  });

  it("is a clone made anew when the one that waited is of no use", async () => {
    await make();
    await ready();
    node.host.failNext("assign", "refuse");
    const { id, start } = await create();
    expect([start, callsOf(id)]).toEqual(["clone", ["spare", "restore", "assign", "destroy", "prepare", "restore"]]);
  });

  it("is not tried again when nobody knows whether the one that waited has begun", async () => {
    await make();
    await ready();
    node.host.failNext("assign", "lose_reply");
    const outcome = await turning(gateway.client.call(contract.createInstance, { body: body() }));
    expect(outcome).toMatchObject({ kind: "refused", code: "sandbox_maybe_started" });
    const running = [...node.host.sandboxes.values()].filter(({ state, isSpare }) => state === "running" && isSpare !== true);
    expect(running).toEqual([]);
  });

  it("that is repeated gets the same answer, and the spare that it borrowed stays one", async () => {
    await make();
    await ready();
    const same = body();
    const [one, other] = await turning(Promise.all([1, 2].map(() => gateway.client.call(contract.createInstance, { body: same }))));
    expect(one).toMatchObject({ kind: "ok" });
    expect(other).toMatchObject({ kind: "ok", body: { id: one?.kind === "ok" ? one.body.id : "" } });
    await ready();
    expect([...node.host.sandboxes.values()].filter(({ isSpare }) => isSpare === true)).toHaveLength(2);
  });

  it("has the places of who was started longest ago", async () => {
    await make();
    await make("torpor/q@1");
    await ready();
    await create();
    await ready();
    const digests = [...node.host.sandboxes.values()].filter(({ isSpare }) => isSpare === true).map(({ spec }) => spec.image.digest);
    expect(new Set(digests).size).toBe(1);
    expect(callsOf((await create()).id)).toEqual(["spare", "restore", "assign"]);
  });
});

describe("spares", () => {
  it("are no instances, and nobody is told of their end", async () => {
    await make();
    await ready();
    expect(ok(await gateway.client.call(contract.listInstances)).instances).toEqual([]);
    const [waiting] = [...node.host.sandboxes.values()].filter(({ state }) => state === "running");
    gateway.driver.exit(waiting?.spec.id ?? "", 1);
    expect(await spares()).toMatchObject({ prepared: 1, cloned: 0 });
    expect(ok(await gateway.client.call(contract.events, { query: { after: 0, wait_ms: 0 } })).events).toEqual([]);
  });

  it("are not made where there are none to be", async () => {
    gateway = await node.start({ config: { ...ON.config, maxSpares: 0 } });
    await make();
    await create();
    await gateway.clock.advance(60_000);
    expect(node.host.calls.filter((call) => call.startsWith("spare"))).toEqual([]);
  });

  it("make room when a sandbox needs it", async () => {
    gateway = await node.start({ config: { ...ON.config, maxSandboxes: 1 } });
    await make();
    await create();
    await ready();
    const waiting = [...node.host.sandboxes.values()].filter(({ isSpare }) => isSpare === true).map(({ spec }) => spec.id);
    expect(waiting).toHaveLength(2);
    const second = await turning(gateway.client.call(contract.createInstance, { body: body("torpor/q@1") }));
    expect(second).toMatchObject({ code: "no_capacity" });
    expect(waiting.filter((id) => node.host.sandboxes.has(id))).toEqual([]);
  });

  it("end with their gateway, while sandboxes go on", async () => {
    await make();
    await ready();
    const { id } = await create();
    await ready();
    await turning(gateway.running.close());
    expect([...node.host.sandboxes.keys()]).toEqual([id]);
  });

  it("of a gateway that was killed are destroyed by the next", async () => {
    await make();
    await ready();
    await node.kill(gateway);
    gateway = await node.start(ON);
    expect([...node.host.sandboxes.keys()]).toEqual([]);
    await create();
    await ready();
  });

  it("whose template cannot be restored go with it, and the next start boots", async () => {
    await make();
    node.host.failNext("restore", "refuse");
    await ready({ prepared: 0, cloned: 0 });
    for (let turns = 0; node.host.calls.filter((call) => call.startsWith("restore")).length === 0; turns++) {
      expect(turns).toBeLessThan(1_000);
      await gateway.clock.advance(50);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await create()).toMatchObject({ start: "cold", start_reason: "template_failed" });
  });
});
