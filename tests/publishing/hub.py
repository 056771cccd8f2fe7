"""A fake of the Hugging Face Hub: what uploading a folder to a dataset repository asks of it, and no more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """Repositories by name, each a dict of files; and what was asked."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0
    tokens: set[str] = field(default_factory=set)
    refuse: bool = False
    """Whether commits are answered with 403."""
    url: str = ""


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    """What answers requests to this hub."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def answer(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                chunks = []
                while size := int(self.rfile.readline(), 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def do_GET(self) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            path = self.path.split("?")[0]
            found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(/revision/main|/tree/main)?", path)
            if not found or found[1] not in hub.repositories:
                return self.answer({"error": "not found"}, 404)
            files = sorted(hub.repositories[found[1]])
            if found[2] == "/tree/main":
                return self.answer([{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in files])
            siblings = [{"rfilename": name} for name in files]
            return self.answer({"id": found[1], "sha": "0" * 40, "siblings": siblings, "private": True, "tags": []})

        def do_PUT(self) -> None:
            content = self.body()
            oid = self.path.rsplit("/", 1)[-1]
            assert hashlib.sha256(content).hexdigest() == oid
            hub.objects[oid] = content
            self.answer({})

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("Authorization", ""))
            content, path = self.body(), self.path.split("?")[0]
            if path == "/api/repos/create":
                asked = json.loads(content)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                if name in hub.repositories:
                    return self.answer({"error": "exists", "url": f"{hub.url}/datasets/{name}"}, 409)
                hub.repositories[name] = {".gitattributes": b""}
                hub.private[name] = asked.get("visibility") == "private" or bool(asked.get("private"))
                return self.answer({"url": f"{hub.url}/datasets/{name}"})
            if path == "/api/validate-yaml":
                return self.answer({"errors": [], "warnings": []})
            if path.endswith("/preupload/main"):
                return self.answer({"files": [self.mode(each) for each in json.loads(content)["files"]]})
            if path.endswith(".git/info/lfs/objects/batch"):
                objects = [
                    {
                        "oid": each["oid"],
                        "size": each["size"],
                        "actions": {"upload": {"href": f"{hub.url}/lfs/{each['oid']}", "header": {}}},
                    }
                    for each in json.loads(content)["objects"]
                ]
                return self.answer({"transfer": "basic", "objects": objects})
            found = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", path)
            if found and hub.refuse:
                return self.answer({"error": "You may not."}, 403)
            if found:
                return self.commit(found[1], content)
            return self.answer({"error": f"unknown {path}"}, 404)

        def mode(self, file: dict[str, Any]) -> dict[str, Any]:
            large = file["path"].endswith(".parquet")
            return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}

        def commit(self, repository: str, content: bytes) -> None:
            files = {}
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
                elif entry["key"] == "lfsFile":
                    files[entry["value"]["path"]] = hub.objects[entry["value"]["oid"]]
            hub.repositories[repository] |= files
            hub.commits += 1
            address = f"{hub.url}/datasets/{repository}/commit/{'1' * 40}"
            self.answer({"success": True, "commitOid": "1" * 40, "commitUrl": address})

    return Handler


class Server:
    """The hub on a port of its own; a context."""

    def __init__(self) -> None:
        self.hub = Hub()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self.hub))
        self.hub.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self.hub

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
