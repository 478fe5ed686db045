import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SimThread } from "../simThread.ts";
import type { Exploration } from "./explore.ts";

const LONG_MS = 300_000;
let thread: SimThread;
let exploration: Exploration;

beforeAll(async () => {
  thread = new SimThread(null);
  ({ exploration } = await thread.ask({ kind: "explore" }));
}, LONG_MS);
afterAll(() => thread.close());

describe("the small core, in every state that it can reach", () => {
  it("breaks no law: one run, two sandboxes, one intent, one wake, one crash, one lost answer", () => {
    expect([exploration.broken, ...exploration.path]).toEqual([null]);
  });

  it("is explored completely, and the count of its states is the one that SPEC.md names", () => {
    expect(exploration.states).toBe(9_073);
  });

  it("ends in its own sandbox, from its image, or started over with a reason, and in no other way", () => {
    expect(Object.keys(exploration.endKinds).toSorted()).toEqual([
      "slept and went on from its image",
      "started over",
      "went on in its own sandbox",
    ]);
  });
});
