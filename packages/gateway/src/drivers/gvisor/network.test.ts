import { describe, expect, it } from "vitest";
import { BLOCK_PREFIX, formatBlock, freeBlocks, parseAddress, parseBlock, POOLS } from "./addressBlock.ts";
import { needsForwarding, nftScript, type NetworkPolicy } from "./nftRules.ts";
import { gvisorSupport } from "./supports.ts";

describe("addresses of a plane", () => {
  it("refuses what is not an address or a block, and says what it was", () => {
    for (const text of ["1.2.3", "1.2.3.256", "a.b.c.d", "1.2.3.4/33"]) expect(() => parseBlock(text)).toThrow(text);
  });

  it("takes no block that overlaps one in use, larger or smaller", () => {
    const used = [parseBlock("100.64.0.0/11"), parseBlock("100.96.0.5/32")];
    const first = freeBlocks(used, 0).next().value;
    expect(first === undefined ? undefined : formatBlock(first)).toBe(`100.96.4.0/${BLOCK_PREFIX}`);
  });

  it("goes to the second pool when the first is in use, as with Tailscale", () => {
    const first = freeBlocks([parseBlock("100.64.0.0/10")], 3).next().value;
    expect(first === undefined ? undefined : formatBlock(first)).toBe("10.224.12.0/22");
  });

  it("offers nothing when everything is in use", () => {
    expect([...freeBlocks(POOLS, 1)]).toEqual([]);
  });

  it("starts at different places for different planes", () => {
    const [a, b] = [freeBlocks([], 1).next().value, freeBlocks([], 2).next().value];
    expect(a).not.toEqual(b);
  });

  it("reads an address as a number", () => {
    expect(parseAddress("1.0.0.1")).toBe(16_777_217);
  });
});

describe("the rules of a plane", () => {
  const policy: NetworkPolicy = {
    interfacePrefix: "tpx-",
    table: "torpor_x",
    block: parseBlock("100.64.8.0/22"),
    services: [{ guestPort: 80, address: "127.0.0.1", port: 4000 }],
    egress: "none",
    resolver: "10.0.0.53",
  };

  it("let nothing but the named services through without egress, names included", () => {
    const script = nftScript(policy);
    expect(script).toContain("ip daddr 169.254.169.254 tcp dport { 80 } accept");
    expect(script).not.toContain("dport 53");
    expect(script).not.toContain("fib daddr type");
  });

  it("never let private ranges or the host through with egress", () => {
    const script = nftScript({ ...policy, egress: "internet" });
    const rule = script.split("\n").find((line) => line.includes("fib daddr type != local accept")) ?? "";
    for (const block of ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8", "224.0.0.0/3"])
      expect(rule).toContain(block);
    expect(script).toContain("dnat ip to 10.0.0.53:53");
  });

  it("replace the table in one step", () => {
    expect(nftScript(policy)).toMatch(/^add table inet torpor_x\ndelete table inet torpor_x\ntable inet torpor_x \{/);
  });

  it("need forwarding only when packets leave the machine", () => {
    expect(needsForwarding(policy)).toBe(false);
    expect(needsForwarding({ ...policy, egress: "internet" })).toBe(true);
    expect(needsForwarding({ ...policy, services: [{ guestPort: 90, address: "10.0.0.9", port: 1 }] })).toBe(true);
  });
});

describe("what a host lacks for sandboxes", () => {
  it("is named, with what mends it", async () => {
    const support = await gvisorSupport({ runscBinary: "/nowhere/runsc", runDir: "/nowhere/at/all" });
    expect(support.kind).toBe("unsupported");
    if (support.kind !== "unsupported" || process.platform !== "linux") return;
    expect(support.missing).toContainEqual({
      what: expect.stringContaining("/nowhere/runsc"),
      mend: expect.stringContaining("TORPOR_RUNSC"),
    });
    expect(support.missing).toContainEqual({
      what: expect.stringContaining("/nowhere/at/all"),
      mend: expect.stringContaining("TORPOR_GATEWAY_RUN_DIR"),
    });
  });
});
