import { describe, expect, it } from "vitest";
import { traceContextOf } from "./traceContext.ts";

const random = { bytes: (length: number) => new Uint8Array(length).fill(0xab), unit: () => 0 };
const TRACE = "0123456789abcdef0123456789abcdef";
const caller = { traceparent: `00-${TRACE}-0123456789abcdef-01`, tracestate: "vendor=1" };

describe("the trace that a run belongs to", () => {
  it("joins the caller's trace under a span of its own", () => {
    expect(traceContextOf(caller, random)).toEqual({ traceparent: `00-${TRACE}-abababababababab-01`, tracestate: "vendor=1" });
  });

  it("is new when the caller asks for a link", () => {
    expect(traceContextOf({ ...caller, "x-trigger-span-parent-as-link": "1" }, random)).toEqual({
      traceparent: `00-${"ab".repeat(16)}-abababababababab-01`,
    });
  });

  it.each([undefined, "", "garbage", "00-short-0123456789abcdef-01"])("is new when the caller's is %j", (traceparent) => {
    const headers = traceparent === undefined ? {} : { traceparent };
    expect(traceContextOf(headers, random)).toEqual({ traceparent: `00-${"ab".repeat(16)}-abababababababab-01` });
  });
});
