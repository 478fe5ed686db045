import type { EngineForAdmin, EngineForEnvironment, EngineForWorkers } from "./api.ts";
import { newId } from "./domain/ids.ts";
import { lookupHash } from "./domain/sealing.ts";
import * as batches from "./operations/batches.ts";
import { cancelRun } from "./operations/cancel.ts";
import { completeAttempt } from "./operations/complete.ts";
import { idBody, notFound, now, type Core } from "./operations/core.ts";
import * as deploys from "./operations/deploy.ts";
import type { Dispatcher } from "./operations/dispatcher.ts";
import * as history from "./operations/history.ts";
import { updateMetadata } from "./operations/metadata.ts";
import { NodesHeard } from "./operations/nodes.ts";
import * as projects from "./operations/projects.ts";
import * as queues from "./operations/queues.ts";
import * as runs from "./operations/runs.ts";
import { startAttempt } from "./operations/start.ts";
import * as sleep from "./operations/suspend.ts";
import * as tokens from "./operations/tokens.ts";
import { trigger } from "./operations/trigger.ts";
import * as waits from "./operations/waits.ts";
import { wireResult } from "./operations/wire.ts";
import { liveLocations } from "./sql/checkpoints.ts";
import { touchNode } from "./sql/nodes.ts";
import * as projectRows from "./sql/projects.ts";
import { readChildren, readRunView } from "./sql/runViews.ts";
import { beat, runExists } from "./sql/runs.ts";

/** The engine's face, each call bound to what it needs. */
export function operations(
  core: Core,
  dispatcher: Dispatcher,
  vault: projects.Vault,
): EngineForEnvironment & EngineForWorkers & EngineForAdmin {
  return { ...forEnvironments(core, vault), ...forWorkers(core, dispatcher, vault), ...forAdmin(core, vault) };
}

function forEnvironments(core: Core, vault: projects.Vault): EngineForEnvironment {
  return {
    trigger: (env, task, options) => trigger(core, env, task, options),
    cancelRun: (env, runId, reason) => cancelRun(core, env, runId, reason),
    rescheduleRun: (env, runId, delayUntil) => runs.rescheduleRun(core, env, runId, delayUntil),
    getRun: (env, runId) => readRunView(core.db, env.id, idBody("run", runId)),
    childrenOf: (env, runId) => readChildren(core.db, env.id, idBody("run", runId)),
    listRuns: (env, filter, page) => runs.listRuns(core, env, filter, page),
    timeline: (env, runId) => runs.timeline(core, env, runId),
    addTags: (env, runId, tags) => runs.addTags(core, env, runId, tags),
    updateMetadata: (env, runId, change) => updateMetadata(core, env, runId, change),
    resetIdempotencyKey: (env, task, key) => runs.resetIdempotencyKey(core, env, task, key),
    waitUntil: (env, runId, wait) => waits.waitUntil(core, env, runId, wait),
    createToken: (env, token) => tokens.createToken(core, env, token),
    waitForToken: (env, runId, tokenId) => waits.waitForToken(core, env, runId, tokenId),
    completeToken: (env, tokenId, output) => tokens.completeToken(core, env, tokenId, output),
    getToken: (env, tokenId) => tokens.getToken(core, env, tokenId),
    listTokens: (env, filter, page) => tokens.listTokens(core, env, filter, page),
    createBatch: (env, batch) => batches.createBatch(core, env, batch),
    addBatchItem: (env, batchId, item) => batches.addBatchItem(core, env, batchId, item),
    sealBatch: (env, batchId) => batches.sealBatch(core, env, batchId),
    getBatch: (env, batchId) => batches.getBatch(core, env, batchId),
    listQueues: (env, page) => queues.listQueues(core, env, page),
    getQueue: (env, queue) => queues.getQueue(core, env, queue),
    updateQueue: (env, queueId, change) => queues.updateQueue(core, env, queueId, change),
    setEnvVars: (env, variables, override) => projects.setEnvVars(core, vault, env, variables, override),
    getEnvVars: (env) => projects.getEnvVars(core, vault, env),
    deleteEnvVar: (env, name) => projectRows.deleteEnvVar(core.db, env.id, name),
    deploy: (env, deployment) => deploys.deploy(core, env, deployment),
    listDeployments: (env, page) => deploys.listDeployments(core, env, page),
    currentDeployment: (env) => deploys.currentDeployment(core, env),
    listTasks: (env) => deploys.listTasks(core, env),
  };
}

function forWorkers(core: Core, dispatcher: Dispatcher, vault: projects.Vault): EngineForWorkers {
  const nodes = new NodesHeard(core);
  return {
    async dequeue(worker, options) {
      await nodes.heard(worker);
      return await dispatcher.dequeue(worker, options);
    },
    startAttempt: (worker, runId, snapshotId) => startAttempt(core, vault.key, worker, runId, snapshotId),
    completeAttempt: (worker, runId, snapshotId, completion, options) =>
      completeAttempt(core, worker, runId, snapshotId, completion, options.forceRequeue),
    async heartbeat(_worker, runId, snapshotId) {
      const body = idBody("run", runId);
      if (await beat(core.db, body, idBody("snapshot", snapshotId), now(core))) return { kind: "noted" };
      return (await runExists(core.db, body)) ? { kind: "noted" } : notFound("run", runId);
    },
    latestSnapshot: (_worker, runId, scope) => history.latestSnapshot(core, runId, scope.environmentId),
    snapshotsSince: (_worker, runId, snapshotId, scope) => history.snapshotsSince(core, runId, snapshotId, scope.environmentId),
    continueRun: (worker, runId, snapshotId) => sleep.continueRun(core, worker, runId, snapshotId, wireResult),
    completeSuspension: (worker, runId, snapshotId, result) => sleep.completeSuspension(core, worker, runId, snapshotId, result),
    restoreOutcome: (worker, runId, snapshotId, outcome) => sleep.restoreOutcome(core, worker, runId, snapshotId, outcome),
    release: (worker, runId, snapshotId, reason) => sleep.release(core, worker, runId, snapshotId, reason),
    addTimeline: (worker, runId, events) => runs.addTimeline(core, worker, runId, events),
    liveCheckpoints: (_worker, locations) => liveLocations(core.db, locations),
    touchInstance: (worker, facts) => touchNode(core.db, worker, facts, now(core)),
  };
}

function forAdmin(core: Core, vault: projects.Vault): EngineForAdmin {
  return {
    ensureProject: (project) => projects.ensureProject(core, vault, project),
    environmentByApiKey: (apiKey) => projects.environmentByApiKey(core, apiKey),
    apiKeyOf: (environmentId) => projects.apiKeyOf(core, vault, environmentId),
    environmentById: (environmentId) => projects.environmentById(core, environmentId),
    async ensureWorkerGroup(group) {
      return {
        id: await projectRows.upsertWorkerGroup(core.db, {
          id: newId(now(core).getTime(), core.random),
          name: group.name,
          tokenHash: lookupHash(group.token),
        }),
      };
    },
    workerGroupByToken: async (token) => (await projectRows.workerGroupByTokenHash(core.db, lookupHash(token))) ?? null,
    counts: () => runs.counts(core),
    async healthy() {
      try {
        await runExists(core.db, "");
        return true;
      } catch (error) {
        core.log.debug({ err: error }, "the database does not answer");
        return false;
      }
    },
  };
}
