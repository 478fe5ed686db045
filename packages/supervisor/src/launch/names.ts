// Names of runners. A name is a sandbox's address at the gateway and the runner's id on the wire.

function bodyOf(friendlyId: string): string {
  return friendlyId.slice(friendlyId.indexOf("_") + 1);
}

/** The runner of a fresh attempt; `tryNumber` > 1 after an answer that may have left something half created under the first name. */
export function freshName(runId: string, attemptNumber: number, tryNumber = 1): string {
  const attempt = attemptNumber > 1 ? `-attempt-${attemptNumber}` : "";
  return `runner-${bodyOf(runId)}${attempt}${tryNumber > 1 ? `-r${tryNumber}` : ""}`;
}

const TAIL_LENGTH = 8;

/** The runner that a memory image is restored into ahead of time, when the hand-out is not known yet. */
export function aheadName(runId: string, imageId: string, number: number): string {
  return `runner-${bodyOf(runId)}-${imageId.slice(-TAIL_LENGTH)}-ahead-${number}`;
}

/** Whether a name is one of those. */
export function isAheadName(name: string): boolean {
  return /-ahead-\d+$/.test(name);
}

/**
 * The runner that a checkpoint is restored into. It must differ from the one that was frozen: a restored runner that reads
 * its own old id takes itself for replaced and leaves without a word. So a second name for the same checkpoint has a counter behind it.
 */
export function restoredName(runId: string, checkpointId: string, number: number): string {
  return `runner-${bodyOf(runId)}-${checkpointId.slice(-TAIL_LENGTH)}${number > 1 ? `-${number}` : ""}`;
}
