import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { readPromises } from "../specCoverage.ts";
import { guardProblems, withoutGuard, type Guard } from "./guard.ts";
import { HOLES } from "./holes.ts";
import { LAWS } from "./laws.ts";

const GUARD: Guard = {
  id: "H1",
  guard: "it is asked first",
  file: "a.ts",
  find: "ask();",
  replace: "",
  test: { file: "a.test.ts", name: "asks first" },
};

function textOfFile(file: string): string | null {
  return existsSync(file) ? readFileSync(file, "utf8") : null;
}

function textsOf(texts: Readonly<Record<string, string>>): (file: string) => string | null {
  return (file) => texts[file] ?? null;
}

describe("the list of guards", () => {
  it("names texts that are there once, and tests that are there", () => {
    expect(guardProblems([...HOLES, ...LAWS], textOfFile)).toEqual([]);
  });

  it("has a guard for each known hole, under a number that SPEC.md has", () => {
    const promised = readPromises(readFileSync("SPEC.md", "utf8")).map(({ id }) => id);
    const holes = promised.filter((id) => /^H\d/.test(id));
    expect(holes.length).toBeGreaterThan(0);
    expect([...new Set(HOLES.map(({ id }) => id))]).toEqual(holes);
    for (const { id } of LAWS) expect(promised).toContain(id);
  });
});

describe("a guard", () => {
  it("that has changed, or stands twice, is told", () => {
    const test = { "a.test.ts": "it('asks first')" };
    expect(guardProblems([GUARD], textsOf({ ...test, "a.ts": "askLater();" }))).toMatchObject([
      { problem: expect.stringContaining("0 times") },
    ]);
    expect(guardProblems([GUARD], textsOf({ ...test, "a.ts": "ask(); ask();" }))).toMatchObject([
      { problem: expect.stringContaining("2 times") },
    ]);
  });

  it("whose test has another name by now is told", () => {
    expect(guardProblems([GUARD], textsOf({ "a.ts": "ask();", "a.test.ts": "it('asks')" }))).toMatchObject([
      { problem: expect.stringContaining("asks first") },
    ]);
  });

  it("is taken away as a text, whatever signs are in what stands there instead", () => {
    expect(withoutGuard("a(); ask(); b();", { ...GUARD, replace: "$&;" })).toBe("a(); $&; b();");
    expect(() => withoutGuard("", GUARD)).toThrow("0 times");
  });
});
