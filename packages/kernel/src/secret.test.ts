import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { equalInConstantTime, Secret } from "./secret.ts";

describe("secret", () => {
  it("does not print in templates, JSON, inspection, errors or concatenation", () => {
    const secret = new Secret("hunter2");
    const printed = [
      `${secret}`,
      JSON.stringify({ secret }),
      inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
      String(secret),
      secret + "",
      new Error(`no ${secret}`).message,
    ];
    expect(printed.join(" ")).not.toContain("hunter2");
    expect(secret.reveal()).toBe("hunter2");
  });

  it("matches only the very string, of whatever length the other is", () => {
    expect([
      new Secret("abc").matches("abc"),
      new Secret("abc").matches("abcd"),
      new Secret("abc").matches(""),
      equalInConstantTime("", ""),
    ]).toEqual([true, false, false, true]);
  });
});
