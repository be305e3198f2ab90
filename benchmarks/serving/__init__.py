"""The flights winner behind HTTP, gRPC and in process, beside bare and packaged servers: one model, the same load."""
