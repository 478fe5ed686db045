import { globSync, readFileSync } from "node:fs";
import { COMMANDS } from "../packages/cli/src/commands/index.ts";
import { shownCommands, unknownCommands } from "./docsCommands.ts";

const known = COMMANDS.map(({ name }) => name);
const problems = globSync(["*.md", "docs/**/*.md", "examples/*/*.md"]).flatMap((file) =>
  unknownCommands(shownCommands(readFileSync(file, "utf8")), known).map((problem) => `${file}: ${problem}`),
);
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
