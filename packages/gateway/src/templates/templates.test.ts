import { createServer } from "node:http";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { RunnerId } from "@torpor/contracts";
import { REFUSED_LINE } from "@torpor/image";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contract, FakeNode, ok, type FakeGateway } from "../testing/fakeGateway.ts";

const IMAGE = "torpor/p@1";
const MACHINE = { cpu: 1, memory_gb: 0.5 };
const ON = { templates: { enabled: true, maxCount: 2, maxBytes: 1_000_000 } };

let node: FakeNode;
let gateway: FakeGateway;
let names: number;

beforeEach(async () => {
  node = await FakeNode.make();
  gateway = await node.start({ config: ON });
  names = 0;
});
afterEach(() => node.close());

/** Answers of the gateway wait for files, and those for the clock. */
async function turning<T>(answer: Promise<T>, stepMs = 5): Promise<T> {
  const done = new AbortController();
  const settled = answer.finally(() => done.abort());
  settled.catch(() => undefined);
  while (!done.signal.aborted) {
    await gateway.clock.advance(stepMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return await settled;
}

const make = async (image = IMAGE, more: object = {}, stepMs?: number) =>
  ok(await turning(gateway.client.call(contract.createTemplate, { body: { image, machine_configs: [MACHINE], ...more } }), stepMs));
const create = async (image = IMAGE) =>
  ok(
    await turning(
      gateway.client.call(contract.createInstance, {
        body: { name: RunnerId.parse(`runner-${++names}`), image, env: { SECRET: "tr_prod_secret" }, ...MACHINE, metadata: {} },
      }),
    ),
  );
const folders = async () => (await readdir(join(node.dir, "gateway", "templates"))).toSorted();
const backgroundEnds = () => turning(gateway.running.close());

describe("a sandbox that is asked for", () => {
  it("boots from its image while there is no template, and one is made behind it for the next", async () => {
    expect(await create()).toMatchObject({ start: "cold", start_reason: "no_template" });
    await make(); // joins who is at it
    expect(node.host.calls.filter((call) => call.startsWith("save"))).toHaveLength(1);
    expect(await create()).toMatchObject({ start: "clone" });
  });

  it("boots when templates are off, and so it says", async () => {
    gateway = await node.start();
    expect(await create()).toMatchObject({ start: "cold", start_reason: "templates_off" });
    expect(node.host.calls.filter((call) => call.startsWith("save"))).toEqual([]);
  });

  it("is no clone of a template for another machine", async () => {
    await make();
    const body = { name: RunnerId.parse("runner-x"), image: IMAGE, env: {}, cpu: 1, memory_gb: 1, metadata: {} };
    expect(ok(await turning(gateway.client.call(contract.createInstance, { body })))).toMatchObject({ start: "cold" });
  });

  it("gets its own environment, of which nothing is in the template", async () => {
    await make();
    await create();
    const [template] = await folders();
    for (const name of await readdir(join(node.dir, "gateway", "templates", template ?? "")))
      expect(await readFile(join(node.dir, "gateway", "templates", template ?? "", name), "utf8")).not.toContain("tr_prod_secret");
    const clone = [...node.host.sandboxes.values()].find(({ state }) => state === "running");
    expect(clone?.spec.env).toEqual({ SECRET: "tr_prod_secret" });
  });

  it("boots when its clone is refused, and the template is thrown away", async () => {
    await make();
    node.host.failNext("restore", "refuse");
    expect(await create()).toMatchObject({ start: "cold", start_reason: "clone_failed" });
    expect(await folders()).toEqual([]);
    expect(await create()).toMatchObject({ start: "cold", start_reason: "template_failed" });
  });

  it("boots when its template is thrown away while it is made ready", async () => {
    await make();
    node.host.failNext("prepare", "hang").failNext("restore", "refuse");
    const slow = create();
    while (!node.host.calls.some((call) => call.startsWith("prepare"))) await new Promise((resolve) => setImmediate(resolve));
    expect(await create()).toMatchObject({ start: "cold", start_reason: "clone_failed" });
    expect(await turning(slow, 1_000)).toMatchObject({ start: "cold", start_reason: "clone_failed" });
    const asked = [...node.host.sandboxes].filter(([id]) => id.startsWith("sbx"));
    expect(asked.map(([, { state }]) => state)).toEqual(["running", "running"]);
  });

  it("may have run when its clone died on the way: the caller is told so, and the template is thrown away", async () => {
    await make();
    node.host.failNext("restore", "dies");
    const body = { name: RunnerId.parse("runner-x"), image: IMAGE, env: {}, ...MACHINE, metadata: {} };
    const outcome = await turning(gateway.client.call(contract.createInstance, { body }));
    expect(outcome).toMatchObject({ kind: "refused", code: "sandbox_maybe_started" });
    expect(await folders()).toEqual([]);
    expect([...node.host.sandboxes.values()].filter(({ state }) => state === "running")).toEqual([]);
  });

  it("boots when a byte of its template has flipped, although sizes and names are right", async () => {
    await make();
    const [key = ""] = await folders();
    const file = join(node.dir, "gateway", "templates", key, "memory.img");
    const text = await readFile(file, "utf8");
    await writeFile(file, text.replace(/^./, text.startsWith("0") ? "1" : "0"));
    expect(await create()).toMatchObject({ start: "cold", start_reason: "template_damaged" });
    expect(await folders()).toEqual([]);
  });
});

describe("a template that cannot be made", () => {
  it("leaves no sandbox and no file, and its reason is told", async () => {
    node.host.templateOutput = `something\n${REFUSED_LINE} a library is missing\n`;
    expect(await make()).toMatchObject({
      error: "a library is missing",
      results: [{ machine_config: MACHINE, error: "a library is missing" }],
    });
    expect(await folders()).toEqual([]);
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("is given up when it is not ready in two minutes", async () => {
    node.host.templateOutput = "still booting";
    expect((await make(IMAGE, {}, 1_000))?.error).toContain("120 s");
    expect(node.host.sandboxes.size).toBe(0);
  });

  it.each(["refuse", "lose_reply"] as const)("leaves nothing when its sandbox does not start (%s)", async (fault) => {
    node.host.failNext("create", fault);
    expect((await make())?.error).toContain("did not start");
    expect(node.host.sandboxes.size).toBe(0);
    expect(await folders()).toEqual([]);
  });

  it("leaves nothing when its memory cannot be saved", async () => {
    node.host.failNext("save", "disk_full");
    expect((await make())?.error).toContain("not saved");
    expect(node.host.sandboxes.size).toBe(0);
    expect(await folders()).toEqual([]);
  });

  it("is not tried at every start: after the second failure not for two minutes, and when it is asked for by name at once", async () => {
    node.host.failNext("save", "disk_full").failNext("save", "disk_full");
    await make();
    await make();
    expect(await create()).toMatchObject({ start_reason: "template_failed" });
    expect(node.host.calls.filter((call) => call.startsWith("save"))).toHaveLength(2);
    expect((await make())?.error).toBeUndefined();
    expect(await create()).toMatchObject({ start: "clone" });
  });

  it("ends with its gateway, and leaves nothing", async () => {
    node.host.templateOutput = "still booting";
    await create();
    await backgroundEnds();
    expect([...node.host.sandboxes.keys()].filter((id) => id.startsWith("tpl"))).toEqual([]);
    expect(await folders()).toEqual([]);
  });
});

describe("templates over restarts and time", () => {
  it("are found again, checked anew, and cloned", async () => {
    await make();
    await node.kill(gateway);
    gateway = await node.start({ config: ON });
    expect(await create()).toMatchObject({ start: "clone" });
  });

  it("that were half written when the gateway was killed are removed, with the sandbox that nobody knows", async () => {
    node.host.templateOutput = "still booting";
    void gateway.client.call(contract.createTemplate, { body: { image: IMAGE, machine_configs: [MACHINE] } });
    while (node.host.sandboxes.size === 0) await new Promise((resolve) => setImmediate(resolve));
    await node.kill(gateway);
    gateway = await node.start({ config: ON });
    expect(await folders()).toEqual([]);
    expect(node.host.sandboxes.size).toBe(0);
  });

  it("without a manifest that can be read are removed", async () => {
    await make();
    const [key = ""] = await folders();
    await writeFile(join(node.dir, "gateway", "templates", key, "manifest.json"), "{");
    await mkdir(join(node.dir, "gateway", "templates", "something-else"));
    await node.kill(gateway);
    gateway = await node.start({ config: ON });
    expect(await folders()).toEqual([]);
  });

  it("that another runsc has made are removed", async () => {
    await make();
    await node.kill(gateway);
    gateway = await node.start({ config: ON, driver: { fingerprint: { driver: "fake", version: "2" } } });
    expect(await folders()).toEqual([]);
  });

  it("are bounded: of one too many the one goes that was used longest ago", async () => {
    for (const image of ["torpor/a@1", "torpor/b@1"]) await make(image);
    await create("torpor/a@1");
    await make("torpor/c@1");
    expect(await create("torpor/a@1")).toMatchObject({ start: "clone" });
    expect(await create("torpor/b@1")).toMatchObject({ start: "cold" });
    await make("torpor/b@1"); // joins the one that is made behind the start, or finds it
    expect(await folders()).toHaveLength(2);
  });
});

describe("POST /api/templates", () => {
  it("answers 202 at once when it is to happen in the background, and tells its callback, signed", async () => {
    const taken = Promise.withResolvers<{ body: unknown; signature: unknown }>();
    const server = createServer((request, response) => {
      let text = "";
      request.on("data", (chunk: Buffer) => void (text += chunk.toString()));
      request.on("end", () => {
        taken.resolve({ body: JSON.parse(text) as unknown, signature: request.headers["x-torpor-signature"] });
        response.end("{}");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/made`;
    expect(await make(IMAGE, { background: true, callback: { url, metadata: { nonce: "1" } } })).toBeUndefined();
    expect(await turning(taken.promise)).toMatchObject({
      body: { status: "completed", image: IMAGE, metadata: { nonce: "1" }, results: [{ machine_config: MACHINE }] },
      signature: expect.stringMatching(/^t=\d+,v1=[0-9a-f]{64}$/) as string,
    });
    server.closeAllConnections();
    await new Promise<void>((resolve) => server.close(() => resolve()));
  });

  it("makes one for each machine, one after the other, and does not make again what is there", async () => {
    const configs = [MACHINE, { cpu: 2, memory_gb: 4 }, MACHINE];
    expect(await make(IMAGE, { machine_configs: configs })).toEqual({ results: configs.map((machine_config) => ({ machine_config })) });
    expect(node.host.calls.filter((call) => call.startsWith("save"))).toHaveLength(2);
    await make();
    expect(node.host.calls.filter((call) => call.startsWith("save"))).toHaveLength(2);
  });
});
