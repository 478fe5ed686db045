import { describe, expect, it } from "vitest";
import { shownCommands, unknownCommands } from "./docsCommands.ts";

const KNOWN = ["up", "trigger", "runs list", "runs show"];

describe("commands in the documents", () => {
  it("finds a command and a subcommand that do not exist, and their lines", () => {
    const shown = shownCommands("Run `./torpor up`.\nThen `./torpor runs lst` and `./torpor fly`.");
    expect(unknownCommands(shown, KNOWN)).toEqual(["line 2: ./torpor runs lst", "line 2: ./torpor fly"]);
  });

  it("takes the word after a plain command for its argument", () => {
    expect(unknownCommands(shownCommands("./torpor trigger nap --wait"), KNOWN)).toEqual([]);
  });
});
