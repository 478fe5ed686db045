import { existsSync, readFileSync } from "node:fs";
import { readPromises, specProblems } from "./specCoverage.ts";

const promises = readPromises(readFileSync("SPEC.md", "utf8"));
const problems = specProblems(promises, (file) => (existsSync(file) ? readFileSync(file, "utf8") : null));
for (const { id, problem } of problems) console.error(`SPEC.md: ${id} ${problem}`);
const untested = promises.filter(({ proofs }) => proofs.length === 0).map(({ id }) => id);
console.log(`${promises.length} promises, ${untested.length} untested${untested.length === 0 ? "" : `: ${untested.join(", ")}`}`);
process.exitCode = problems.length === 0 ? 0 : 1;
