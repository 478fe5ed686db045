import { describe, expect, it } from "vitest";
import { explainBuildFailure, explainIndexFailure, placeInText } from "./explain.ts";
import { linesWith } from "./linesOf.ts";

const nowhere = async (): Promise<number[]> => [];

describe("explaining a failure", () => {
  it("leaves what it does not know to the caller", async () => {
    expect(explainBuildFailure(new Error("out of cheese"))).toBeUndefined();
    expect(await explainIndexFailure(new Error("out of cheese"), "/p", nowhere)).toBeUndefined();
    expect(await explainIndexFailure(undefined, "/p", nowhere)).toBeUndefined();
  });

  it("names every place of an esbuild failure, and the config file where esbuild names none", () => {
    const location = { file: "src/a.ts", line: 2, column: 0 };
    const explained = explainBuildFailure({
      errors: [
        { text: "one", location },
        { text: "two", location: null },
      ],
    });
    expect(explained?.places).toEqual([
      { file: "src/a.ts", line: 2, column: 1, message: "one" },
      { file: "trigger.config.ts", message: "two" },
    ]);
  });
});

describe("the place in a stack", () => {
  const stack = `Error: no
    at boom (/p/node_modules/lib/a.js:1:2)
    at run (/elsewhere/b.ts:3:4)
    at file:///p/.trigger/torpor/build-x/app/c.mjs:5:6
    at Object.<anonymous> (/p/src/trigger/bad.ts:7:8)`;

  it("is the first one in the project's own files, not in its packages and not in the bundle", () => {
    expect(placeInText(stack, "/p")).toEqual({ file: "src/trigger/bad.ts", line: 7, column: 8 });
  });

  it("is none when the project's files are not in it", () => {
    expect(placeInText(stack, "/q")).toBeUndefined();
  });
});

describe("the lines of a task's id", () => {
  it("are those that have it in quotes of any kind", () => {
    expect(linesWith('id: "a"\nid: \'a\'\nid: `a`\nid: "ab"\na', "a")).toEqual([1, 2, 3]);
  });
});
