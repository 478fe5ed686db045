import { describe, expect, it } from "vitest";
import { scopesAllow } from "./scopes.ts";

const run = [
  { type: "runs", id: "run_1" },
  { type: "tags", id: "user:1:x" },
] as const;

describe("scopes of public tokens", () => {
  it("takes a scope with an empty id for no scope, also where all are asked for", () => {
    expect(scopesAllow(["read:runs:"], "read", [{ type: "runs", id: "" }])).toBe(false);
    expect(scopesAllow(["read:runs"], "read", [{ type: "runs", id: "" }])).toBe(true);
  });

  it.each([[], ["read:runs:run_2"], ["write:runs:run_1"], ["read:batch:run_1"], ["reader"], ["read:runs:"], ["trigger"]])(
    "does not let %j read the run",
    (...scopes) => {
      expect(scopesAllow(scopes, "read", run)).toBe(false);
    },
  );

  it.each([["read:runs:run_1"], ["read:runs"], ["read"], ["admin"], ["read:tags:user:1:x"], ["write:x", "read:tags"]])(
    "lets %j read the run",
    (...scopes) => {
      expect(scopesAllow(scopes, "read", run)).toBe(true);
    },
  );
});
