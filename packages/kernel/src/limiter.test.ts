import { describe, expect, it } from "vitest";
import { Limiter } from "./limiter.ts";

function gate(): { readonly open: () => void; readonly wait: Promise<void> } {
  let open: () => void = () => {};
  const wait = new Promise<void>((resolve) => (open = resolve));
  return { open, wait };
}

describe("limiter", () => {
  it("refuses what exceeds its queue instead of waiting without end", async () => {
    const limiter = new Limiter({ limit: 1, maxWaiting: 0 });
    const first = gate();
    const running = limiter.run(new AbortController().signal, () => first.wait);
    expect(await limiter.run(new AbortController().signal, async () => 1)).toEqual({ kind: "full" });
    first.open();
    await running;
  });

  it("lets a waiting piece of work leave at once when it is aborted, and never begins it", async () => {
    const limiter = new Limiter({ limit: 1, maxWaiting: 5 });
    const first = gate();
    const running = limiter.run(new AbortController().signal, () => first.wait);
    const abort = new AbortController();
    let began = false;
    const waiting = limiter.run(abort.signal, async () => void (began = true));
    abort.abort();
    expect(await waiting).toEqual({ kind: "aborted" });
    first.open();
    await running;
    expect([began, limiter.waitingCount, limiter.runningCount]).toEqual([false, 0, 0]);
  });

  it("hands a slot on when the work fails", async () => {
    const limiter = new Limiter({ limit: 1, maxWaiting: 5 });
    const signal = new AbortController().signal;
    const failing = limiter.run(signal, async () => {
      throw new Error("broken");
    });
    const next = limiter.run(signal, async () => "ran");
    await expect(failing).rejects.toThrow("broken");
    expect(await next).toEqual({ kind: "done", value: "ran" });
  });
});
