import { Secret, type Random } from "@torpor/kernel";
import { describe, expect, it } from "vitest";
import { Callbacks } from "../src/snapshot/callbacks.ts";

const KEY = { runId: "run_1", runnerId: "runner-1", snapshotId: "snapshot_1" };

function callbacks(): Callbacks {
  let serial = 0;
  const random: Random = { unit: () => 0.5, bytes: (length) => new Uint8Array(length).fill(++serial) };
  return new Callbacks({ workerToken: new Secret("tr_wgt_x"), random });
}

describe("expected callbacks", () => {
  it("count once", () => {
    const door = callbacks();
    const { metadata } = door.expect(KEY, ["sbx-1"]);
    const failed = { status: "failed", instance_id: "sbx-1", metadata: { ...metadata } } as const;
    expect([door.receive(failed), door.receive(failed)]).toEqual(["taken", "repeated"]);
  });

  it("are not used up by a forged one", async () => {
    const door = callbacks();
    const { metadata, result } = door.expect(KEY, ["sbx-1"]);
    expect(door.receive({ status: "failed", instance_id: "sbx-2", metadata: { ...metadata } })).toBe("forged");
    expect(door.receive({ status: "failed", instance_id: "sbx-1", error: "real", metadata: { ...metadata } })).toBe("taken");
    expect(await result).toMatchObject({ error: "real" });
  });

  it("of two freezes are told apart by their nonces, and neither's token opens the other", () => {
    const door = callbacks();
    const first = door.expect(KEY, null);
    const second = door.expect(KEY, null);
    expect(first.nonce).not.toBe(second.nonce);
    expect(door.receive({ status: "failed", instance_id: "x", metadata: { ...first.metadata, snapshotCallbackNonce: second.nonce } })).toBe(
      "forged",
    );
  });

  it("that are forgotten are acknowledged and do nothing", () => {
    const door = callbacks();
    const { nonce, metadata } = door.expect(KEY, null);
    door.forget(nonce);
    expect(door.receive({ status: "failed", instance_id: "x", metadata: { ...metadata } })).toBe("repeated");
  });
});
