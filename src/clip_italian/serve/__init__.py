"""An index and its model as a service: HTTP API and web page (`clip-italian serve`)."""
