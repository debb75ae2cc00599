"""L4: applications that run on app tiles."""
