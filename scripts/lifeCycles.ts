import { printTransitions } from "../packages/engine/src/domain/transitions.ts";
import { IMAGE_TRANSITIONS, SANDBOX_TRANSITIONS } from "../packages/gateway/src/sandboxes/lifeCycle.ts";
import { printLifeCycle } from "../packages/supervisor/src/snapshot/lifeCycle.ts";

type Table = Readonly<Record<string, Readonly<Partial<Record<string, string>>>>>;

function diagram(table: Table): string {
  const steps = Object.entries(table).flatMap(([from, events]) =>
    Object.entries(events).map(([event, to]) => `  ${from} --> ${to}: ${event}`),
  );
  const [first] = Object.keys(table);
  const ends = Object.keys(table).filter((state) => Object.keys(table[state] ?? {}).length === 0);
  return ["stateDiagram-v2", `  [*] --> ${first}`, ...steps, ...ends.map((end) => `  ${end} --> [*]`)].join("\n");
}

function section(title: string, text: string, source: string, mermaid: string): string {
  return `## ${title}\n\n${text} The table: \`${source}\`.\n\n\`\`\`mermaid\n${mermaid.trim()}\n\`\`\`\n`;
}

/** The document that shows each life cycle as its table has it. */
export function lifeCyclesDocument(): string {
  return [
    "# Life cycles\n\nPrinted from the tables in the code by `node scripts/printLifeCycles.ts`; `./torpor check` holds it to them.\n",
    section("A run", "Execution statuses of a run, and what moves it.", "packages/engine/src/domain/transitions.ts", printTransitions()),
    section(
      "A wish to sleep",
      "The supervisor's intent to put a waiting run to sleep. It can be cancelled in every state before it is accepted.",
      "packages/supervisor/src/snapshot/lifeCycle.ts",
      printLifeCycle(),
    ),
    section("A sandbox", "As the gateway sees it.", "packages/gateway/src/sandboxes/lifeCycle.ts", diagram(SANDBOX_TRANSITIONS)),
    section(
      "A memory image",
      "The files that a sandbox is restored from.",
      "packages/gateway/src/sandboxes/lifeCycle.ts",
      diagram(IMAGE_TRANSITIONS),
    ),
  ].join("\n");
}
