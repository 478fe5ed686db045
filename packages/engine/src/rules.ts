// The engine's rules without its database, for whoever plays an engine: a simulation, a model.
export { decideCompletion, systemFailure } from "./domain/completion.ts";
export { decideGiveBack } from "./domain/queueing.ts";
export { queueAtMs, type Blocker } from "./domain/handOutAhead.ts";
export { decideElsewhere, isLost, MEMORY_IMAGE_ELSEWHERE } from "./domain/nodes.ts";
export { finalStatus, internalError } from "./domain/runErrors.ts";
export { DEFAULT_SETTINGS } from "./domain/settings.ts";
export { stallAction, stallAfterMs } from "./domain/stalls.ts";
export { nextStep, transition, type RunEvent, type Transition } from "./domain/transitions.ts";
