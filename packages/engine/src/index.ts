export * from "./api.ts";
export { createEngine, type EngineOptions } from "./engine.ts";
export { isOutOfMemory } from "./domain/runErrors.ts";
export { DEFAULT_SETTINGS, type EngineSettings, type EngineSettingsInput } from "./domain/settings.ts";
export { printTransitions, TRANSITIONS, type RunEvent, type Transition } from "./domain/transitions.ts";
export { migrate } from "./sql/migrate.ts";
