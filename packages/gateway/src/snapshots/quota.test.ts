import { MemoryImageId } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import type { ImagePhase } from "../sandboxes/lifeCycle.ts";
import { judgeQuota, type ImageOnDisk } from "./quota.ts";

const image = (number: number, phase: ImagePhase, sizeBytes = 10): ImageOnDisk => ({
  id: MemoryImageId.parse(`mem_${String(number).padStart(10, "0")}aa`),
  phase,
  sizeBytes,
  createdAtMs: number,
});
const ids = (...numbers: number[]) => numbers.map((number) => image(number, "stored").id);

describe("the quota of a node's memory images", () => {
  it("has room up to its last byte", () => {
    expect(judgeQuota({ images: [image(1, "stored")], incomingBytes: 10, quotaBytes: 20 })).toEqual({ kind: "fits" });
    expect(judgeQuota({ images: [image(1, "stored")], incomingBytes: 11, quotaBytes: 20 })).toEqual({ kind: "exceeded", neededBytes: 21 });
  });

  it.each(["stored", "held", "committing", "writing"] as const)("never gives up an image that is %s: a run may need it", (phase) => {
    expect(judgeQuota({ images: [image(1, phase)], incomingBytes: 1, quotaBytes: 10 })).toMatchObject({ kind: "exceeded" });
  });

  it("takes the oldest that nobody can restore first, and no more of them than it must", () => {
    const images = [image(3, "refused"), image(1, "refused"), image(2, "consumed"), image(0, "stored")];
    expect(judgeQuota({ images, incomingBytes: 10, quotaBytes: 40 })).toEqual({ kind: "makeRoom", unneeded: ids(1) });
    expect(judgeQuota({ images, incomingBytes: 20, quotaBytes: 40 })).toEqual({ kind: "makeRoom", unneeded: ids(1, 2) });
  });

  it("is exceeded when even all of those are not enough", () => {
    expect(judgeQuota({ images: [image(1, "refused"), image(2, "stored")], incomingBytes: 31, quotaBytes: 40 })).toEqual({
      kind: "exceeded",
      neededBytes: 41,
    });
  });
});
