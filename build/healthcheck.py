"""Exits with 0 when the agent of this container answers /health with 200 within five seconds, else with 1."""
import http.client
import os
import sys

try:
    # Not by urllib, which would ask the proxy of the environment.
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", "5000")), timeout=5)
    connection.request("GET", "/health")
    sys.exit(connection.getresponse().status != 200)
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"no answer: {error}")
