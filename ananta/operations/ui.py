"""`ananta ui`: a fresh address that signs a browser in to the console of the server that runs."""
from ananta.errors import NotFound
from ananta.operations.client import Client
from ananta.settings import Settings


def address(settings: Settings) -> tuple[str, float]:
    """Returns the address, and when it ends (epoch seconds). Raises NotFound where no server runs on this data directory,
    and what the server refuses."""
    client = Client.find(settings)
    if client is None:
        raise NotFound(f"No server runs on {settings.data_dir.resolve()}: start it with `ananta`; it prints such an address by "
                       "itself.")
    try:
        made = client.call("POST", "/session/code", timeout_s=20, body={})
        return f"{client.url}/ui/#code={made['code']}", made["expires_at"]
    finally:
        client.close()
