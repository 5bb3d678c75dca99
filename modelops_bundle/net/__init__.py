"""The wire: HTTP client, authentication, retries, throttling."""
