import { sdkRuns, type TimelineLineView } from "@torpor/contracts";
import type { Command } from "../command.ts";
import { textOption } from "../command.ts";
import { CONNECTION_OPTIONS, unwrap, withConnection } from "../connection.ts";
import { EXIT } from "../exitCodes.ts";
import { showBytes, showMs, table } from "../terminal/table.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { runRow, showRun } from "./showRun.ts";

/** The newest runs. */
export const runsList: Command = {
  name: "runs list",
  summary: "list the newest runs",
  options: [
    ...CONNECTION_OPTIONS,
    { flags: "--limit <n>", description: "how many (1–100)", default: "25" },
    { flags: "--status <status>", description: "only these, separated by commas: QUEUED, EXECUTING, WAITING, COMPLETED, FAILED, …" },
    { flags: "--task <id>", description: "only runs of this task" },
  ],
  async run(context, input) {
    return await withConnection(context, input, async ({ client }) => {
      const query = {
        "page[size]": Number(textOption(input, "limit") ?? 25),
        "filter[status]": textOption(input, "status"),
        "filter[taskIdentifier]": textOption(input, "task"),
      };
      const { data } = unwrap(await client.call(sdkRuns.list, { query }));
      context.terminal.value(data);
      if (data.length === 0) context.terminal.line("no runs yet: ./torpor trigger <task>");
      else
        for (const line of table(
          ["run", "task", "status", "triggered", "took"],
          data.map((run) => runRow(context.terminal, run)),
        ))
          context.terminal.line(line);
      return EXIT.ok;
    });
  },
};

/** One run with its timeline: every step of it, what it took and why. */
export const runsShow: Command = {
  name: "runs show",
  summary: "show a run and everything that happened to it",
  args: [{ name: "<run>", description: "id of the run" }],
  options: CONNECTION_OPTIONS,
  async run(context, input) {
    const [runId = ""] = input.args;
    return await withConnection(context, input, async ({ client }) => {
      const run = unwrap(await client.call(sdkRuns.retrieve, { params: { runId } }));
      const { events } = unwrap(await client.call(sdkRuns.timeline, { params: { runId } }));
      context.terminal.value({ ...run, timeline: events });
      for (const line of [...showRun(run, context.terminal), "", ...timelineLines(events, context.terminal)]) context.terminal.line(line);
      return EXIT.ok;
    });
  },
};

/** Cancels a run in whatever state it is. */
export const runsCancel: Command = {
  name: "runs cancel",
  summary: "cancel a run",
  args: [{ name: "<run>", description: "id of the run" }],
  options: CONNECTION_OPTIONS,
  async run(context, input) {
    const [runId = ""] = input.args;
    return await withConnection(context, input, async ({ client }) => {
      const { id } = unwrap(await client.call(sdkRuns.cancel, { params: { runId } }));
      context.terminal.line(`${id} is cancelled`);
      context.terminal.value({ id });
      return EXIT.ok;
    });
  },
};

function timelineLines(events: readonly TimelineLineView[], terminal: Terminal): string[] {
  const startedMs = events[0]?.at.getTime() ?? 0;
  const rows = events.map((event) => [
    `+${showMs(event.at.getTime() - startedMs)}`,
    event.source === "engine" ? terminal.paint("bold", event.name) : event.name,
    event.durationMs === undefined ? "" : showMs(event.durationMs),
    [event.reason ?? "", ...Object.entries(event.properties ?? {}).map(([name, value]) => showProperty(name, value))]
      .filter((text) => text !== "")
      .join("  "),
  ]);
  return table(["after", "what", "took", "why"], rows);
}

function showProperty(name: string, value: string | number | boolean): string {
  return typeof value === "number" && /bytes/i.test(name) ? `${name}=${showBytes(value)}` : `${name}=${value}`;
}
