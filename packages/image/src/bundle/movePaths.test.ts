import { describe, expect, it } from "vitest";
import { movePaths } from "./movePaths.ts";

describe("movePaths", () => {
  it("moves every path in a manifest, the folder itself too, and nothing that only looks like one", () => {
    const manifest = { out: "/app", files: [{ path: "/app/a.mjs", other: "/apple/a" }], text: "see /app/a", n: 1, none: null };
    expect(movePaths(manifest, "/app", "/tmp/x")).toEqual({
      out: "/tmp/x",
      files: [{ path: "/tmp/x/a.mjs", other: "/apple/a" }],
      text: "see /app/a",
      n: 1,
      none: null,
    });
  });
});
