// A guard is what makes a promise true: some text of some file. Taken away, a test must fail.

export interface Guard {
  /** The row of SPEC.md that it holds. */
  readonly id: string;
  /** What is so because of it. */
  readonly guard: string;
  readonly file: string;
  /** There exactly once. */
  readonly find: string;
  /** What stands there when the guard is gone. */
  readonly replace: string;
  /** The test that misses it, by a part of its name. */
  readonly test: { readonly file: string; readonly name: string };
}

export interface GuardProblem {
  readonly id: string;
  readonly problem: string;
}

/** Guards whose text is not there exactly once, whose loss changes nothing, or whose test is not there. `textOf` gives a file's text, or null. */
export function guardProblems(guards: readonly Guard[], textOf: (file: string) => string | null): GuardProblem[] {
  return guards.flatMap(({ id, guard, file, find, replace, test }) => {
    const count = (textOf(file) ?? "").split(find).length - 1;
    const tests = textOf(test.file);
    const problems: string[] = [];
    if (count !== 1) problems.push(`stands ${count} times in ${file}, and must stand there once`);
    if (find === replace || guard === "") problems.push("says nothing, or changes nothing");
    if (tests === null) problems.push(`names ${test.file}, which is not there`);
    else if (!tests.includes(test.name)) problems.push(`names a test that ${test.file} does not have: ${test.name}`);
    return problems.map((problem) => ({ id: `${id} (${guard})`, problem }));
  });
}

/** The text without the guard. Throws when it does not stand there exactly once. */
export function withoutGuard(text: string, { id, file, find, replace }: Guard): string {
  const count = text.split(find).length - 1;
  if (count !== 1) throw new Error(`Cannot take guard ${id} away: it stands ${count} times in ${file}, and must stand there once`);
  return text.replace(find, () => replace);
}
