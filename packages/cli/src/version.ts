/** Version of this checkout, as `--version` shows it and parts report it. */
export const VERSION = "0.1.0";
