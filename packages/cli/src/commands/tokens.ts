import { sdkWaits } from "@torpor/contracts";
import type { Command } from "../command.ts";
import { jsonOption, textOption } from "../command.ts";
import { CONNECTION_OPTIONS, unwrap, withConnection } from "../connection.ts";
import { EXIT } from "../exitCodes.ts";
import { table } from "../terminal/table.ts";

/** Tokens that runs wait for, or waited for. */
export const tokensList: Command = {
  name: "tokens list",
  summary: "list the newest tokens",
  options: [
    ...CONNECTION_OPTIONS,
    { flags: "--status <status>", description: "only WAITING, COMPLETED or TIMED_OUT" },
    { flags: "--tag <tag>", description: "only those with this tag" },
  ],
  async run(context, input) {
    return await withConnection(context, input, async ({ client }) => {
      const query = { "page[size]": 50, "filter[status]": textOption(input, "status"), "filter[tags]": textOption(input, "tag") };
      const { data } = unwrap(await client.call(sdkWaits.listTokens, { query }));
      context.terminal.value(data);
      if (data.length === 0) context.terminal.line("no tokens");
      else
        for (const line of table(
          ["token", "status", "created", "times out", "tags"],
          data.map((token) => [
            token.id,
            token.status,
            token.createdAt.toISOString(),
            token.timeoutAt?.toISOString() ?? "–",
            token.tags.join(" "),
          ]),
        ))
          context.terminal.line(line);
      return EXIT.ok;
    });
  },
};

/** Completes a token, and so wakes the run that waits for it. */
export const tokensComplete: Command = {
  name: "tokens complete",
  summary: "complete a token with some data",
  args: [{ name: "<token>", description: "id of the token" }],
  options: [...CONNECTION_OPTIONS, { flags: "--data <json>", description: "what the waiting task is given, as JSON" }],
  async run(context, input) {
    const [tokenId = ""] = input.args;
    const data = jsonOption(input, "data", '{"ok": true}');
    return await withConnection(context, input, async ({ client }) => {
      unwrap(await client.call(sdkWaits.completeToken, { params: { tokenId }, body: { data } }));
      context.terminal.line(`${tokenId} is complete`);
      context.terminal.value({ id: tokenId });
      return EXIT.ok;
    });
  },
};
