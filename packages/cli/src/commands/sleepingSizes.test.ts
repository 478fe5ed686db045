import { MemoryImageId, RunnerId, type MemoryImageView } from "@torpor/contracts";
import { describe, expect, it } from "vitest";
import { showSizes, sizesOf } from "./sleepingSizes.ts";

const image = (number: number, more: Partial<MemoryImageView> = {}): MemoryImageView => ({
  id: MemoryImageId.parse(`mem_${String(number).padStart(10, "0")}aa`),
  state: "stored",
  instanceName: RunnerId.parse(`runner-0abc${number}-wxyz1234-2`),
  image: "torpor/p@1",
  sizeBytes: number * 1e6,
  plainBytes: number * 5e6,
  frozenMs: 100,
  createdAt: new Date(number),
  labels: {},
  ...more,
});

describe("what sleeping runs take on the disk", () => {
  it("is nothing when none sleeps", () => {
    expect(sizesOf([])).toEqual({ count: 0, totalBytes: 0, p50Bytes: 0, p95Bytes: 0, plainBytes: 0, runs: [] });
    expect(showSizes(sizesOf([]), 1e9)).toEqual(["asleep     0 on disk, 0 B of 1.00 GB (each p50 0 B, p95 0 B)"]);
  });

  it("is told per run, largest first, with the middle, the 95th of 100, and the whole", () => {
    const sizes = sizesOf(Array.from({ length: 100 }, (_, index) => image(index + 1)));
    expect(sizes).toMatchObject({ count: 100, totalBytes: 5_050e6, plainBytes: 25_250e6, p50Bytes: 50e6, p95Bytes: 95e6 });
    expect(sizes.runs[0]).toEqual({ runId: "run_0abc100", sizeBytes: 100e6, plainBytes: 500e6, since: new Date(100) });
  });

  it("of a single run is that run's", () => {
    expect(sizesOf([image(7)])).toMatchObject({ p50Bytes: 7e6, p95Bytes: 7e6 });
  });

  it("does not count what is held, being restored or refused: those runs are not asleep", () => {
    const states = ["held", "consumed", "refused", "writing"] as const;
    expect(sizesOf(states.map((state, index) => image(index, { state }))).count).toBe(0);
  });

  it("leaves out what a gateway does not tell", () => {
    const sizes = sizesOf([image(1, { plainBytes: undefined })]);
    expect(sizes.plainBytes).toBeNull();
    expect(showSizes(sizes, null)[0]).toBe("asleep     1 on disk, 1.0 MB (each p50 1.0 MB, p95 1.0 MB)");
  });

  it("is shown for the five largest, and says how many more there are", () => {
    const lines = showSizes(sizesOf(Array.from({ length: 7 }, (_, index) => image(index + 1))), 1e9);
    expect(lines).toHaveLength(7);
    expect(lines[1]).toBe("           run_0abc7  7.0 MB");
    expect(lines[6]).toBe("           and 2 more: see --json");
  });
});
