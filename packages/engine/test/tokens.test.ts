import { describe, expect, it } from "vitest";
import { inMs, usePlane } from "./harness.ts";
import { must } from "./worker.ts";

const plane = usePlane();

describe("waiting for a token", () => {
  it("blocks, and resumes with the token's data when it is completed, with a notification (behaviour 67)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const told = scene.listen(held.runId);
    const tokenId = await scene.waitForNewToken(held);
    expect(await scene.state(held.runId)).toBe("EXECUTING_WITH_WAITPOINTS/EXECUTING");
    await plane.until("the runner is told of the block", () => told.count() === 1);
    await scene.completeToken(tokenId, '{"ok":"é"}');
    expect(await scene.untilResumed(held)).toMatchObject([
      { friendlyId: tokenId, type: "MANUAL", output: '{"ok":"é"}', outputType: "application/json", outputIsError: false },
    ]);
    await plane.until("the runner is told of the end", () => told.count() === 2);
    expect(await scene.engine.getToken(scene.env, tokenId)).toMatchObject({ status: "COMPLETED", output: '{"ok":"é"}' });
  });

  it("that times out resumes with an error of its own code (behaviour 68)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const tokenId = await scene.waitForNewToken(held, { timeoutAt: inMs(plane, 30_000) });
    await plane.clock.advance(31_000);
    const [waitpoint] = await scene.untilResumed(held);
    expect(waitpoint).toMatchObject({ friendlyId: tokenId, outputIsError: true });
    expect(JSON.parse(waitpoint?.output ?? "null")).toMatchObject({ code: "TRIGGER_WAITPOINT_TIMEOUT" });
    expect((await scene.engine.getToken(scene.env, tokenId))?.status).toBe("TIMED_OUT");
  });

  it("that is completed in time does not time out later", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const tokenId = await scene.waitForNewToken(held, { timeoutAt: inMs(plane, 30_000) });
    await scene.completeToken(tokenId, "1");
    await scene.untilResumed(held);
    await plane.clock.advance(31_000);
    await plane.timersHandled();
    expect(await scene.engine.getToken(scene.env, tokenId)).toMatchObject({ status: "COMPLETED", output: "1" });
  });

  it("is served by the first completion only; a second one succeeds and changes nothing", async () => {
    const scene = await plane.scene();
    const tokenId = await scene.token();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        scene.engine.completeToken(scene.env, tokenId, { data: String(index), dataType: "application/json" }),
      ),
    );
    expect(answers.filter((answer) => must(answer, "completed").already)).toHaveLength(9);
    const winner = answers.findIndex((answer) => answer.kind === "completed" && !answer.already);
    expect((await scene.engine.getToken(scene.env, tokenId))?.output).toBe(String(winner));
  });

  it("resumes a run even if the token was completed just before the run began to wait (behaviour 73)", async () => {
    const scene = await plane.scene();
    const held = await scene.executing();
    const tokenId = await scene.token();
    await scene.completeToken(tokenId, "7");
    const first = held.snapshotId;
    must(await scene.engine.waitForToken(scene.env, held.runId, tokenId), "waiting");
    expect(await scene.untilResumed(held)).toMatchObject([{ friendlyId: tokenId, output: "7" }]);
    expect((await held.since(first)).map((data) => data.snapshot.executionStatus)).toEqual(["EXECUTING_WITH_WAITPOINTS", "EXECUTING"]);
  });

  it("is refused for a token that is unknown, or of another environment, and for an unknown run", async () => {
    const scene = await plane.scene();
    const other = await plane.scene();
    const held = await scene.executing();
    const foreign = await other.token();
    expect(await scene.engine.waitForToken(scene.env, held.runId, "waitpoint_unknown")).toMatchObject({
      kind: "refused",
      code: "not_found",
    });
    expect(await scene.engine.waitForToken(scene.env, held.runId, foreign)).toMatchObject({ kind: "refused", code: "not_found" });
    expect(await scene.engine.completeToken(scene.env, foreign, {})).toMatchObject({ kind: "refused", code: "not_found" });
    expect(await scene.engine.waitForToken(scene.env, "run_unknown", await scene.token())).toMatchObject({
      kind: "refused",
      code: "not_found",
    });
    expect(await scene.state(held.runId)).toBe("EXECUTING/EXECUTING");
  });

  it("with the same idempotency key is for the same token within its time, and for a new one after (behaviour 70)", async () => {
    const scene = await plane.scene();
    const ask = async (): Promise<{ id: string; isCached: boolean }> => {
      const { token, isCached } = must(
        await scene.engine.createToken(scene.env, { idempotencyKey: "t", idempotencyKeyExpiresAt: inMs(plane, 60_000) }),
        "created",
      );
      return { id: token.id, isCached };
    };
    const first = await ask();
    expect(first.isCached).toBe(false);
    await plane.clock.advance(50_000);
    expect(await ask()).toEqual({ id: first.id, isCached: true });
    await plane.clock.advance(11_000);
    const later = await ask();
    expect(later.isCached).toBe(false);
    expect(later.id).not.toBe(first.id);
    await scene.completeToken(first.id);
    expect((await scene.engine.getToken(scene.env, later.id))?.status).toBe("WAITING");
    await plane.clock.advance(61_000);
    const rivals = await Promise.all(Array.from({ length: 20 }, ask));
    expect(new Set(rivals.map((one) => one.id)).size).toBe(1);
    expect(rivals.filter((one) => !one.isCached)).toHaveLength(1);
  });
});
