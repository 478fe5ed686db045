import { describe, expect, it } from "vitest";
import { newIdBody, systemRandom } from "./ids.ts";

describe("ids", () => {
  it("sort by the time they were made and differ in their last 8 characters", () => {
    const bodies = Array.from({ length: 2_000 }, (_value, index) => newIdBody(1_700_000_000_000 + index, systemRandom));
    expect([...bodies].sort()).toEqual(bodies);
    expect(new Set(bodies.map((body) => body.slice(-8))).size).toBe(bodies.length);
    expect(bodies.every((body) => /^[0-9a-z]{25}$/.test(body))).toBe(true);
  });
});
