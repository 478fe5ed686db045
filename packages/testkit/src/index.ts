export * from "./postgres.ts";
export { startPostgresServer, type PostgresServer, type PostgresServerOptions } from "./postgresServer.ts";
