export { startPostgresServer, type PostgresServer, type PostgresServerOptions } from "./server.ts";
