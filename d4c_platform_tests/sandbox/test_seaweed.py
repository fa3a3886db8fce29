import json
import socket
import threading
import time
from contextlib import closing

from d4c_platform.sandbox.seaweed import GRPC, Seaweed


def test_a_port_that_is_taken_after_it_was_found_free_does_not_stop_the_server(tmp_path):
    """Any program's outgoing connection may take it in the moment before the server does."""
    chosen: list[int] = []
    taken = socket.socket()

    def take_as_soon_as_chosen() -> None:
        while not (tmp_path / "ports.json").exists():
            time.sleep(0.001)
        chosen.append(json.loads((tmp_path / "ports.json").read_text())["filer"])
        taken.bind(("127.0.0.1", chosen[0] + GRPC))
        taken.listen()

    with closing(taken):
        threading.Thread(target=take_as_soon_as_chosen, daemon=True).start()
        with Seaweed(tmp_path, access_key="a", secret_key="b") as server:
            server.create_bucket("kept")
            assert json.loads((tmp_path / "ports.json").read_text())["filer"] != chosen[0]
