/** Resolves when an entry point stands at the gate: everything that it imports has been evaluated. */
export const entered = Promise.withResolvers<void>();
/** To be resolved when the entry point may run. */
export const opened = Promise.withResolvers<void>();
