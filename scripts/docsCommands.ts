// Every `./torpor …` that the documents show must be a command that exists.

/** The commands that a text shows, with the line that shows each. */
export function shownCommands(text: string): { readonly command: string; readonly line: number }[] {
  return text.split("\n").flatMap((line, index) =>
    [...line.matchAll(/\.\/torpor\s+([a-z][a-z-]*)(?:\s+([a-z][a-z-]*))?/g)].map((match) => ({
      command: [match[1], match[2]].filter((word) => word !== undefined).join(" "),
      line: index + 1,
    })),
  );
}

/** Shown commands that are not known; a second word counts only when the first is a group. */
export function unknownCommands(shown: readonly { readonly command: string; readonly line: number }[], known: readonly string[]): string[] {
  const groups = new Set(known.filter((name) => name.includes(" ")).map((name) => name.split(" ")[0]));
  return shown
    .filter(({ command }) => {
      const [first = "", second] = command.split(" ");
      return groups.has(first) && second !== undefined ? !known.includes(command) : !known.includes(first) && !groups.has(first);
    })
    .map(({ command, line }) => `line ${line}: ./torpor ${command}`);
}
