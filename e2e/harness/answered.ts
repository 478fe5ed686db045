import type { CallOutcome } from "@torpor/http";
import { until } from "./until.ts";

/** The answer of a call. One that was lost because a part was away is asked again; a refusal is thrown. */
export async function answered<T>(call: () => Promise<CallOutcome<T>>): Promise<T> {
  let last = "";
  const { body } = await until(
    "the plane answers",
    async () => {
      const outcome = await call();
      if (outcome.kind === "ok") return outcome;
      if (outcome.kind === "refused" && outcome.status < 500) throw new Error(`${outcome.status}: ${outcome.message}`);
      last = outcome.message;
      return undefined;
    },
    { seen: () => last },
  );
  return body;
}
