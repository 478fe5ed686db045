// `node:os` for simulated machines: all are equal, whatever the real one is.
const GIB = 1024 ** 3;

export const availableParallelism = (): number => 8;
export const totalmem = (): number => 32 * GIB;
export const freemem = (): number => 16 * GIB;
