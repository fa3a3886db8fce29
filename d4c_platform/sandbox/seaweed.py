"""A real S3 server on this machine: SeaweedFS, which comes as a wheel.

It listens on 127.0.0.1 only and reports nothing to anybody (its telemetry is on by default). Ports are chosen once and kept in
the directory, because its parts find each other by them; so it can be stopped, killed and started again on the same data. A
server that a killed sandbox left behind is found by its pid and its directory, and ended before a new one starts.

Not here: what is stored there.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import httpx
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from d4c_platform.model.errors import PermanentFailure, TransientFailure
from d4c_platform.sandbox.serving import HOST, is_free

GRPC = 10_000  # added to each port for its gRPC side
LOWEST_PORT, HIGHEST_PORT = 20_000, 22_700  # below Linux's ephemeral ports, with GRPC added too: no connection takes them
STARTS = 3  # a port that was free when it was probed may be taken when the server comes to it
READY_WITHIN_S = 90.0  # four seconds on a quiet machine, fifteen after a kill, more on a busy one
STOP_WITHIN_S = 1.0  # its data is on disk by then; its parts wait for each other and would never end
SOCKETS = Path("/tmp")  # noqa: S108 - where the server puts them, whatever TMPDIR says
ROLES = ("s3", "master", "volume", "filer")


class _Ended(TransientFailure):
    """The server ended before it was ready."""


class Seaweed:
    """An S3 server with its data in `directory`. A context manager: starts on entry, stops on exit."""

    def __init__(self, directory: Path, *, s3_port: int | None = None, access_key: str, secret_key: str) -> None:
        self.directory = directory.absolute()
        self.access_key, self.secret_key = access_key, secret_key
        self._wanted_port = s3_port
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def endpoint_url(self) -> str:
        if not self._ports:
            raise RuntimeError("the server was not started yet")
        return f"http://{HOST}:{self._ports['s3']}"

    @property
    def pid(self) -> int | None:
        """Of the running server."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the server and wait until it stores objects; does nothing when it runs."""
        if self.pid is not None:
            return
        data = self.directory / "data"
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._end_leftover()
        identities = self.directory / "identities.json"
        _write_private(identities, json.dumps(_identities(self.access_key, self.secret_key)))
        for start in range(1, STARTS + 1):
            self._ports = self._choose_ports()
            try:
                self._start_once(data, identities)
                return
            except _Ended:
                if start == STARTS:
                    raise
                (self.directory / "ports.json").unlink(missing_ok=True)

    def _start_once(self, data: Path, identities: Path) -> None:
        with (self.directory / "weed.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_weed(), "-logtostderr", "server", *self._options(data, identities)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for us, who then stop it in order
            )
        self._pid_file.write_text(str(self._process.pid), "ascii")
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the server in order; its data stays."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a power cut would; its data stays."""
        self._signal(signal.SIGKILL)

    def create_bucket(self, name: str) -> None:
        """Make a private bucket; does nothing when it exists."""
        with contextlib.suppress(ClientError):
            self.client().create_bucket(Bucket=name)
        self.client().head_bucket(Bucket=name)

    def create_public_bucket(self, name: str, prefixes: tuple[str, ...] = ("",)) -> None:
        """Make a bucket whose keys below these prefixes anybody can read, by bucket policy."""
        self.create_bucket(name)
        arn = f"arn:aws:s3:::{name}"
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "PublicRead",
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": ["s3:GetObject"],
                    "Resource": [f"{arn}/{prefix}*" for prefix in prefixes],
                }
            ],
        }
        self.client().put_bucket_policy(Bucket=name, Policy=json.dumps(policy))

    def client(self) -> Any:
        """A boto3 client with this server's keys, for buckets and policies."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "total_max_attempts": 2},
                connect_timeout=2,
                read_timeout=20,
                proxies={},
            ),
        )

    @property
    def _pid_file(self) -> Path:
        return self.directory / "weed.pid"

    def _options(self, data: Path, identities: Path) -> list[str]:
        return [
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={self._ports['master']}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=4096",
            "-master.electionTimeout=1s",
            f"-volume.port={self._ports['volume']}",
            "-volume.max=200",  # each bucket takes seven volumes; they are files that grow
            "-volume.minFreeSpace=100MiB",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={self._ports['filer']}",
            "-s3",
            f"-s3.port={self._ports['s3']}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-s3.config={identities}",
            "-s3.autoCreateBucket=false",
            "-s3.readerCacheSizeMB=64",
        ]

    def _choose_ports(self) -> dict[str, int]:
        kept = self.directory / "ports.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            ports = json.loads(kept.read_text("utf-8"))
            same = self._wanted_port in (None, ports.get("s3"))
            if same and set(ports) == set(ROLES) and all(_both_free(p) for p in ports.values()):
                return {role: int(port) for role, port in ports.items()}
        ports = {}
        for role in ROLES:
            if role == "s3" and self._wanted_port is not None:
                if not _both_free(self._wanted_port):
                    raise PermanentFailure(
                        f"port {self._wanted_port} or {self._wanted_port + GRPC} is taken",
                        where="seaweedfs",
                        remedy="Choose another",
                    )
                ports[role] = self._wanted_port
            else:
                ports[role] = _free_port(set(ports.values()))
        kept.write_text(json.dumps(ports), "utf-8")
        return ports

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        client = self.client()
        while time.monotonic() < deadline:
            if self.pid is None:
                raise self._unready("ended by itself", _Ended)
            with contextlib.suppress(httpx.HTTPError, ClientError, BotoCoreError, ValueError):
                # The master assigns a place on a volume, and the gateway reads the buckets: then objects can be stored.
                assigned = httpx.get(f"http://{HOST}:{self._ports['master']}/dir/assign", timeout=5, trust_env=False).json()
                if "fid" in assigned:
                    client.list_buckets()
                    return
            time.sleep(0.2)
        raise self._unready(f"was not ready after {READY_WITHIN_S:.0f} s")

    def _unready(self, what: str, kind: type[TransientFailure] = TransientFailure) -> TransientFailure:
        log = self.directory / "weed.log"
        last = log.read_text("utf-8", "replace").splitlines()[-1:] if log.exists() else []
        return kind(f"the server {what}: {' '.join(last)}", where="seaweedfs", file=str(log))

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        self._pid_file.unlink(missing_ok=True)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        """It names its local sockets after its ports, in a fixed place, and leaves them when it is killed."""
        for port in self._ports.values():
            for socket_file in [*SOCKETS.glob(f"seaweedfs-*-{port}.sock"), *SOCKETS.glob(f"seaweedfs-*-{port + GRPC}.sock")]:
                socket_file.unlink(missing_ok=True)

    def _end_leftover(self) -> None:
        """End the server of a sandbox that was killed: the process of our pid file, if it runs on this directory."""
        try:
            pid = int(self._pid_file.read_text("ascii"))
        except (FileNotFoundError, ValueError):
            return
        command = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
        if f"-dir={self.directory / 'data'}" in command:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            for _ in range(200):  # its ports and its lock on the data are free once it is gone, or a zombie nobody reaps
                if not _is_alive(pid):
                    break
                time.sleep(0.05)
        self._pid_file.unlink(missing_ok=True)


def _weed() -> str:
    weed = Path(sys.executable).parent / "weed"
    if not weed.exists():
        raise PermanentFailure(
            "SeaweedFS is not installed in this environment", where="seaweedfs", remedy="Install d4c-platform[sandbox]"
        )
    return str(weed)


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    return {
        "identities": [
            {
                "name": "sandbox",
                "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # if it was a child of ours, it stays a zombie until somebody asks
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _free_port(taken: set[int]) -> int:
    for _ in range(1000):
        port = LOWEST_PORT + secrets.randbelow(HIGHEST_PORT - LOWEST_PORT)
        if port not in taken and port + GRPC not in taken and port - GRPC not in taken and _both_free(port):
            return port
    raise PermanentFailure("there are no free ports on this machine", where="seaweedfs")


def _both_free(port: int) -> bool:
    return is_free(port) and is_free(port + GRPC)
