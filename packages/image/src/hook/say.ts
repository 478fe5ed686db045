import { writeSync } from "node:fs";

/** One line in the sandbox's output, whatever the program has made of its console. */
export function say(line: string): void {
  writeSync(1, `${line}\n`);
}
