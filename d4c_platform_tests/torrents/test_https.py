"""Every real mirror is HTTPS, and a client that knows no certificate authority stalls without a word."""

import hashlib
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from d4c_platform_tests.interop import require
from d4c_platform_tests.torrents.conftest import NAME

pytestmark = pytest.mark.interop

FETCH = """
import sys
from pathlib import Path
import certifi
certifi.where = lambda: sys.argv[3]
from d4c_platform.torrents.swarm import fetch
fetched = fetch(Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), timeout_s=30, stall_s=4, use_peers=False, loopback=True)
print(fetched.from_web_seeds)
"""


@pytest.fixture
def certificate(tmp_path):
    """A certificate for this machine that is its own authority, and its key."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = [require("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-out", certificate, "-keyout", key]
    subprocess.run([*map(str, command), *map(str, files)], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def secure(sample, certificate):
    data = sample.path.read_bytes()

    class Ranges(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            first, last = (int(n) for n in self.headers["Range"].removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.send_header("Content-Length", str(last - first + 1))
            self.end_headers()
            self.wfile.write(data[first : last + 1])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}/{NAME}"
    server.shutdown()
    server.server_close()


def test_the_authorities_that_come_with_the_platform_are_used_for_web_seeds(sample, secure, certificate, tmp_path, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(sample.torrent(secure))
    command = [sys.executable, "-c", FETCH, str(torrent), str(tmp_path / "out"), str(certificate[0])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.split() == [str(sample.digests.bytes)], done.stderr
    assert hashlib.sha256((tmp_path / "out" / NAME).read_bytes()).hexdigest() == sample.digests.sha256


def test_a_web_seed_with_an_unknown_certificate_is_not_trusted(sample, secure, tmp_path, monkeypatch):
    import certifi

    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    torrent = tmp_path / "x.torrent"
    torrent.write_bytes(sample.torrent(secure))
    command = [sys.executable, "-c", FETCH, str(torrent), str(tmp_path / "out"), certifi.where()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "TransientFailure" in done.stderr
    assert f"{secure} gave nothing" in done.stderr or "certificate" in done.stderr
    assert not (tmp_path / "out" / NAME).exists()
