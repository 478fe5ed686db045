import { deployments, sdkRuns } from "@torpor/contracts";
import type { RouteClient } from "@torpor/http";
import { sleep, systemClock } from "@torpor/kernel";
import type { Command } from "../command.ts";
import { flagOption, jsonOption, textOption } from "../command.ts";
import { CONNECTION_OPTIONS, unwrap, withConnection } from "../connection.ts";
import { CommandFailure, EXIT } from "../exitCodes.ts";
import { isFinal, showRun } from "./showRun.ts";

const POLL_MS = 250;

/** Triggers a task; with `--wait` it watches the run to its end and fails when the run fails. */
export const trigger: Command = {
  name: "trigger",
  summary: "start a run of a task",
  args: [{ name: "<task>", description: "id of the task" }],
  options: [
    ...CONNECTION_OPTIONS,
    { flags: "--payload <json>", description: "payload, as JSON" },
    { flags: "--delay <time>", description: "start later: 1h, 30s, or an ISO date" },
    { flags: "--wait", description: "wait for the end of the run; exit code 1 when it fails" },
  ],
  async run(context, input) {
    const [task = ""] = input.args;
    const payload = jsonOption(input, "payload", '{"seconds": 20}');
    const delay = textOption(input, "delay");
    return await withConnection(context, input, async ({ client }) => {
      await requireTask(client, task);
      const options = delay === undefined ? {} : { delay };
      const { id } = unwrap(await client.call(sdkRuns.trigger, { params: { taskId: task }, body: { payload, options } }));
      if (!flagOption(input, "wait")) {
        context.terminal.line(id);
        context.terminal.value({ id });
        return EXIT.ok;
      }
      context.terminal.progress(`${id} triggered`);
      let shown = "";
      for (;;) {
        const run = unwrap(await client.call(sdkRuns.retrieve, { params: { runId: id } }));
        if (run.status !== shown) context.terminal.progress(`${id} ${run.status}`);
        shown = run.status;
        if (isFinal(run)) {
          for (const line of showRun(run, context.terminal)) context.terminal.line(line);
          context.terminal.value(run);
          return run.isSuccess ? EXIT.ok : EXIT.failed;
        }
        if ((await sleep(systemClock, POLL_MS, context.signal)) === "aborted")
          throw new CommandFailure(EXIT.failed, `Stopped waiting for ${id}: it goes on`, `./torpor runs show ${id}`);
      }
    });
  },
};

/** A trigger for a task that is not deployed yet waits for it; who types a command most likely mistyped the name. */
async function requireTask(client: RouteClient, task: string): Promise<void> {
  const found = await client.call(deployments.getTask, { params: { taskId: task } });
  if (found.kind === "refused" && found.status === 404)
    throw new CommandFailure(EXIT.notFound, found.message, "deploy it first: ./torpor deploy <dir>");
  unwrap(found);
}
