import { describe, expect, it } from "vitest";
import { complaintOf } from "./complaint.ts";

const said = (stderr: string) => complaintOf({ end: "exited", code: 128, stderr });

describe("what is told of a call of runsc that failed", () => {
  it("is its kind, and never a word of what it printed: that may be the guest's memory", () => {
    const text = said(`panic: runtime error\ngoroutine 1 [running]:\n${"token=s3cret ".repeat(1_000)}`);
    expect(text).toBe("runsc ended with status 128: the sandbox's kernel failed");
  });

  it("is bounded and without the guest's words also when nobody knows the kind", () => {
    const text = said("token=s3cret ".repeat(1_000));
    expect(text).not.toContain("s3cret");
    expect(text.length).toBeLessThan(120);
  });

  it.each([
    ["write pages: no space left on device", "there is no room left to write to"],
    ["runsc version does not match across checkpoint restore", "the files were made by another runsc"],
    ["loading container: file does not exist", "something of the sandbox is missing"],
    ["connecting to control server: connection refused", "the sandbox's kernel does not answer"],
  ])("names the kind of %j", (stderr, kind) => {
    expect(said(stderr)).toContain(kind);
  });

  it.each([
    ["timed_out", "did not end in time"],
    ["aborted", "was cut off"],
    ["not_started", "could not be started"],
  ] as const)("names a call that %s", (end, words) => {
    expect(complaintOf({ end, code: null, stderr: "token=s3cret" })).toBe(`runsc ${words}`);
  });
});
