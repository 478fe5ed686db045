import { FINAL_RUN_STATUSES, RunStatus } from "@torpor/contracts";
import { RunStatus as SdkRunStatus } from "@trigger.dev/core/v3/schemas";
import { describe, expect, it } from "vitest";
import { statusFlags, statusName, statusesNamed } from "./status.ts";

describe("status of a run as the SDK knows it", () => {
  it.each(RunStatus.options)("gives %s a name that the SDK's schema takes", (status) => {
    expect(SdkRunStatus.safeParse(statusName(status, "current")).success).toBe(true);
  });

  it.each(RunStatus.options)("counts %s as completed exactly when it is final", (status) => {
    expect(statusFlags(status).isCompleted).toBe((FINAL_RUN_STATUSES as readonly string[]).includes(status));
  });

  it("tells callers without an API version the names that they know", () => {
    expect(statusName("WAITING_TO_RESUME", "old")).toBe("FROZEN");
    expect(statusName("RETRYING_AFTER_FAILURE", "old")).toBe("REATTEMPTING");
    expect(statusName("WAITING_TO_RESUME", "current")).toBe("WAITING");
  });

  it("finds every status behind a name", () => {
    expect(statusesNamed("FAILED")).toEqual(["INTERRUPTED", "COMPLETED_WITH_ERRORS"]);
    expect(statusesNamed("WAITING")).toEqual(["WAITING_TO_RESUME", "PAUSED"]);
    expect(statusesNamed("SLEEPING")).toEqual([]);
  });
});
