import { describe, expect, it } from "vitest";
import { Scope } from "./scope.ts";

describe("scope", () => {
  it("closes the rest when one closer fails, in reverse order, and reports every error", async () => {
    const scope = new Scope();
    const closed: string[] = [];
    scope.defer(() => void closed.push("first"));
    scope.defer(() => {
      throw new Error("stuck");
    });
    scope.defer(async () => void closed.push("last"));
    await expect(scope.close()).rejects.toMatchObject({ errors: [new Error("stuck")] });
    expect(closed).toEqual(["last", "first"]);
  });

  it("closes once: a second close does nothing", async () => {
    const scope = new Scope();
    let count = 0;
    scope.use({ close: () => void count++ });
    await scope.close();
    await scope.close();
    expect(count).toBe(1);
  });
});
