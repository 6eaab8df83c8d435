"""Other crawlers doing the same work. Their scripts run in environments of their own."""
