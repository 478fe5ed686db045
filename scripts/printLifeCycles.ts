import { writeFileSync } from "node:fs";
import { lifeCyclesDocument } from "./lifeCycles.ts";

writeFileSync("docs/life-cycles.md", lifeCyclesDocument());
