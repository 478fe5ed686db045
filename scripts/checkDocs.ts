import { globSync, readFileSync } from "node:fs";
import { COMMANDS } from "../packages/cli/src/commands/index.ts";
import { shownCommands, unknownCommands } from "./docsCommands.ts";
import { lifeCyclesDocument } from "./lifeCycles.ts";

const known = COMMANDS.map(({ name }) => name);
const problems = globSync(["*.md", "docs/**/*.md", "examples/*/*.md"]).flatMap((file) =>
  unknownCommands(shownCommands(readFileSync(file, "utf8")), known).map((problem) => `${file}: ${problem}`),
);
if (readFileSync("docs/life-cycles.md", "utf8") !== lifeCyclesDocument()) {
  problems.push("docs/life-cycles.md: is not what the tables say: node scripts/printLifeCycles.ts");
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;
