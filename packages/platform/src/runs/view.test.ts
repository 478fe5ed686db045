import { describe, expect, it } from "vitest";
import { errorView } from "./view.ts";

describe("the error of a run as its user sees it", () => {
  it("names memory as the cause when a process was killed as hosts kill for memory, and says what to do", () => {
    const killed = {
      type: "INTERNAL_ERROR",
      code: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
      message: "Process exited with code -1 after signal SIGKILL.",
    } as const;
    expect(errorView(killed)).toMatchObject({
      name: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
      message: expect.stringMatching(/^Process exited .* more memory .*retry\.outOfMemory/) as string,
    });
  });

  it("adds nothing to the error of a process that ended by itself", () => {
    const ended = {
      type: "INTERNAL_ERROR",
      code: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE",
      message: "Process exited with code 3.",
    } as const;
    expect(errorView(ended)).toEqual({ name: "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE", message: "Process exited with code 3." });
  });
});
