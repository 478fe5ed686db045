// SPEC.md promises; each promise names its test. This holds the two against each other.

/** A row of SPEC.md's tables: `| L1 | promise | file.test.ts: "a sentence" |` or `untested: why`. */
export interface SpecPromise {
  readonly id: string;
  readonly proofs: readonly { readonly file: string; readonly name: string }[];
  readonly untested: boolean;
}

export interface SpecProblem {
  readonly id: string;
  readonly problem: string;
}

const ROW = /^\|\s*([A-Z]+\d+[a-z]?)\s*\|(.*)\|\s*$/;
const PROOF = /`([^`]+\.test\.ts)`:\s*"([^"]+)"/g;

/** The promises of a SPEC text. */
export function readPromises(spec: string): SpecPromise[] {
  return spec.split("\n").flatMap((line) => {
    const row = ROW.exec(line);
    if (row === null) return [];
    const rest = row[2] ?? "";
    const proofs = [...rest.matchAll(PROOF)].map((match) => ({ file: match[1] ?? "", name: match[2] ?? "" }));
    return [{ id: row[1] ?? "", proofs, untested: /\buntested\b/.test(rest) }];
  });
}

/** Promises without a test that do not say so, and tests that are named but not there. `textOf` gives a file's text, or null. */
export function specProblems(promises: readonly SpecPromise[], textOf: (file: string) => string | null): SpecProblem[] {
  const problems: SpecProblem[] = [];
  const seen = new Set<string>();
  for (const { id, proofs, untested } of promises) {
    if (seen.has(id)) problems.push({ id, problem: "stands twice" });
    seen.add(id);
    if (proofs.length === 0 && !untested) problems.push({ id, problem: "names no test and does not say untested" });
    for (const { file, name } of proofs) {
      const text = textOf(file);
      if (text === null) problems.push({ id, problem: `names ${file}, which is not there` });
      else if (!text.includes(name)) problems.push({ id, problem: `names a test that ${file} does not have: ${name}` });
    }
  }
  return problems;
}
