import { expect } from "vitest";
import type { TriggerOptions } from "../src/api.ts";
import type { Scene } from "./scene.ts";
import { must, type HeldRun } from "./worker.ts";

export async function batchOf(scene: Scene, runCount: number, parent?: HeldRun): Promise<string> {
  const forParent = parent === undefined ? {} : { parentRunId: parent.runId, resumeParentOnCompletion: true };
  return must(await scene.engine.createBatch(scene.env, { runCount, ...forParent }), "created").batchId;
}

export function addItem(
  scene: Scene,
  batchId: string,
  index: number,
  more: { readonly task?: string; readonly parent?: HeldRun; readonly options?: Partial<TriggerOptions> } = {},
): ReturnType<Scene["engine"]["addBatchItem"]> {
  const forParent = more.parent === undefined ? {} : { parentRunId: more.parent.runId, resumeParentOnCompletion: true };
  return scene.engine.addBatchItem(scene.env, batchId, {
    index,
    task: more.task ?? "child",
    options: { payload: String(index), payloadType: "application/json", ...forParent, ...more.options },
  });
}

/** A sealed batch whose children execute, in the order of their items. */
export async function executingBatch(
  scene: Scene,
  runCount: number,
  parent?: HeldRun,
): Promise<{ readonly batchId: string; readonly children: HeldRun[] }> {
  const batchId = await batchOf(scene, runCount, parent);
  const children: HeldRun[] = [];
  for (let index = 0; index < runCount; index++)
    must(await addItem(scene, batchId, index, parent === undefined ? {} : { parent }), "accepted");
  expect(await scene.engine.sealBatch(scene.env, batchId)).toMatchObject({ kind: "counted", sealed: true });
  for (let index = 0; index < runCount; index++) {
    const child = await scene.worker.take();
    const { execution } = await child.start();
    children[Number(execution.run.payload)] = child;
  }
  return { batchId, children };
}

export async function batchStatus(scene: Scene, batchId: string): Promise<string | undefined> {
  return (await scene.engine.getBatch(scene.env, batchId))?.status;
}
