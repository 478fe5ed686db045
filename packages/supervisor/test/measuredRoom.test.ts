import { describe, expect, it } from "vitest";
import { measuredFreeGib, type MeasuredMemory } from "../src/dequeue/measuredRoom.ts";

const GIB = 1024 ** 3;
const memory = (availableGib: number, usedGib: number, spareGib = 0): MeasuredMemory => ({
  availableBytes: availableGib * GIB,
  usedBytes: usedGib * GIB,
  spareBytes: spareGib * GIB,
});

describe("the memory that may still be given out, by what is measured", () => {
  it.each<[string, MeasuredMemory, number, number, number]>([
    ["is what is available on an empty node", memory(8, 0), 0, 1, 8],
    ["is less what the sandboxes that are placed may yet grow to", memory(7, 1), 4, 1, 4],
    ["is what is available when they have grown to what they were given", memory(4, 4), 4, 1, 4],
    ["is not less when they occupy more than they were given: that is gone already", memory(3, 5), 4, 1, 3],
    ["is little when something else on the machine has taken it, whatever was given out", memory(1, 1), 1.5, 1, 0.5],
    ["is none when what is placed may grow to more than there is", memory(1, 1), 8, 1, 0],
    ["counts what spares hold as free", memory(2, 0, 1), 0, 1, 3],
    ["is given out twice where the operator says so, and so is not expected to be grown to", memory(4, 1), 4, 2, 6],
  ])("%s", (_what, measured, placedGib, overcommit, freeGib) => {
    expect(measuredFreeGib(measured, placedGib, overcommit)).toBe(freeGib);
  });
});
