"""The pretend Blob service: one storage account, as small as our clients need it."""
