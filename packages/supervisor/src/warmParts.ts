// Builds the door at which runners of this node wait for another run.
import type { DequeuedMessage } from "@torpor/contracts";
import type { Kit } from "./coreParts.ts";
import { servedBy } from "./launch/environment.ts";
import { Arrivals, planKeepAlive } from "./launch/keepAlive.ts";
import type { Endings } from "./runners/endings.ts";
import type { Runner } from "./runners/runner.ts";
import { WarmDoor } from "./workload/warmDoor.ts";
import { WarmRelay, type WaitingAs } from "./workload/warmRelay.ts";

/** Opens it, where runners are kept. Returns what is to be told of each run that comes. */
export function openWarmDoor(kit: Kit, endings: Endings): (message: DequeuedMessage) => void {
  const arrivals = new Arrivals();
  kit.warm.door = createWarmDoor(kit, endings, arrivals);
  return (message) => {
    if (message.checkpoint !== undefined) return; // wakes in a sandbox of its own
    const { cpu, memory } = message.run.machine;
    const serves = servedBy(message);
    arrivals.note(kindOf({ ...serves, cpu, memoryGib: memory }), kit.base.clock.monotonicMs());
    kit.warm.door?.newerVersion(serves);
  };
}

function createWarmDoor(kit: Kit, endings: Endings, arrivals: Arrivals): WarmDoor | null {
  const { config, base, runners, room, signs, state, deps } = kit;
  const { warmStart } = config;
  if (deps.broker === null || warmStart.kind === "off" || config.runner.warmStartUrl !== undefined) return null;
  const { connectionMs, keepAliveMs, maxKeepAliveMs, maxIdle, signWithinMs } = warmStart;
  return new WarmDoor({
    ...base,
    relay: new WarmRelay({ ...base, broker: deps.broker, instanceName: config.instanceName }),
    signs,
    runners,
    maxIdle,
    connectionMs,
    maxKeepAliveMs,
    signWithinMs,
    keepAliveMs: (who, idleAlike) =>
      planKeepAlive({
        gaps: arrivals.gapsOf(kindOf(who)),
        idleAlike,
        memoryIsTight: room.isTight,
        usualMs: keepAliveMs,
        maxMs: maxKeepAliveMs,
      }),
    draining: () => state.draining,
    onAbandoned: (runner: Runner, runId: string) => void endings.abandoned(runner, runId, "the runner waits for another run"),
    retire: (runner: Runner) => endings.retire(runner),
  });
}

/** What runners are kept for: runs that one of them could take. */
function kindOf({ deploymentId, version, cpu, memoryGib }: Omit<WaitingAs, "controllerId">): string {
  return JSON.stringify([deploymentId, version, cpu, memoryGib]);
}
