import { globSync, readFileSync } from "node:fs";
import { illegalImports, importEdges } from "./importRules.ts";

const files = globSync("packages/*/{src,test}/**/*.ts");
const edges = files.flatMap((file) => importEdges(file, readFileSync(file, "utf8")));
const illegal = illegalImports(edges);
for (const { file, from, to } of illegal) console.error(`${file}: ${from} may not import ${to}`);
process.exitCode = illegal.length === 0 ? 0 : 1;
