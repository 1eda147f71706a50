"""What the HTTP API is, in words and shapes: made into OpenAPI from the tables of routes and
what is said of them here."""
