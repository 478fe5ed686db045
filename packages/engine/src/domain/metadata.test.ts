import { describe, expect, it } from "vitest";
import { applyOperations, parseMetadata } from "./metadata.ts";

describe("operations on metadata", () => {
  for (const key of [
    "__proto__",
    "constructor",
    "prototype",
    "$.__proto__.polluted",
    "$.a.constructor.prototype",
    '$["__proto__"]',
    "$.a[0].prototype",
  ]) {
    it(`leaves out a write to ${key} and says so`, () => {
      const result = applyOperations({ a: [{}] }, [{ type: "set", key, value: "bad" }]);
      expect(result.refused).toHaveLength(1);
      expect(result.metadata).toEqual({ a: [{}] });
      expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
    });
  }

  it("keeps forbidden names out of a whole update too", () => {
    const value = JSON.parse('{"__proto__": {"polluted": true}, "a": 1}') as Record<string, unknown>;
    const { metadata } = applyOperations({}, [{ type: "update", value }]);
    expect(Object.keys(metadata)).toEqual(["a"]);
  });

  it("applies what can be applied beside what cannot", () => {
    const result = applyOperations({}, [
      { type: "set", key: "$.", value: 1 },
      { type: "set", key: "b", value: 2 },
    ]);
    expect(result).toMatchObject({ metadata: { b: 2 }, refused: [expect.stringContaining("$.")] });
  });

  it("sets, makes what is missing on a path, and appends beyond the end of a list", () => {
    const { metadata } = applyOperations({ list: ["a"] }, [
      { type: "set", key: "$.x.y[0].z", value: 1 },
      { type: "set", key: "$.list[999999999]", value: "b" },
      { type: "set", key: "plain.key", value: true },
    ]);
    expect(metadata).toEqual({ list: ["a", "b"], x: { y: [{ z: 1 }] }, "plain.key": true });
  });

  it("appends to a list, to a single value and to nothing", () => {
    const { metadata } = applyOperations(
      { list: [1], one: 1 },
      ["list", "one", "none"].map((key) => ({ type: "append", key, value: 2 })),
    );
    expect(metadata).toEqual({ list: [1, 2], one: [1, 2], none: [2] });
  });

  it("removes every equal value from a list and touches nothing else", () => {
    const { metadata } = applyOperations({ list: [{ a: 1 }, { a: 2 }, { a: 1 }], one: 1 }, [
      { type: "remove", key: "list", value: { a: 1 } },
      { type: "remove", key: "one", value: 1 },
      { type: "remove", key: "$.none.there", value: 1 },
    ]);
    expect(metadata).toEqual({ list: [{ a: 2 }], one: 1 });
  });

  it("increments what is a number, and counts from zero what is not", () => {
    const { metadata } = applyOperations(
      { n: 1, text: "x" },
      ["n", "text", "$.deep.n"].map((key) => ({ type: "increment", key, value: 2 })),
    );
    expect(metadata).toEqual({ n: 3, text: 2, deep: { n: 2 } });
  });

  it("deletes keys and elements, and nothing when there is nothing", () => {
    const { metadata } = applyOperations(
      { a: 1, list: [1, 2], b: { c: 1 } },
      ["a", "$.list[0]", "$.b.c", "$.x.y"].map((key) => ({ type: "delete", key })),
    );
    expect(metadata).toEqual({ list: [2], b: {} });
  });

  it("changes nothing of what it was given", () => {
    const before = { a: { b: 1 } };
    applyOperations(before, [{ type: "set", key: "$.a.b", value: 2 }]);
    expect(before).toEqual({ a: { b: 1 } });
  });
});

describe("stored metadata", () => {
  it("counts as empty when it is broken or no object", () => {
    expect([null, "", "{", "[1]", "1"].map((text) => parseMetadata(text))).toEqual([{}, {}, {}, {}, {}]);
  });

  it("is unwrapped when superjson wrote it, and only then", () => {
    expect(parseMetadata('{"json":{"a":1}}', "application/super+json")).toEqual({ a: 1 });
    expect(parseMetadata('{"json":{"a":1}}')).toEqual({ json: { a: 1 } });
  });
});
