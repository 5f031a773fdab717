"""Google Cloud Storage on loopback, as far as gcsfs, google-cloud-storage and tensorstore need it for a run.

Objects live in memory; names, generations, preconditions, ranges and resumable uploads are as in the JSON API
(cloud.google.com/storage/docs/json_api).
"""

import base64
import contextlib
import hashlib
import itertools
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Bucket:
    def __init__(self):
        self.objects: dict[str, tuple[bytes, int]] = {}  # name -> content, generation
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self.lock = threading.RLock()
        self.numbers = itertools.count(1)

    def put(self, name: str, content: bytes) -> dict:
        with self.lock:
            self.objects[name] = content, next(self.numbers)
            return self.describe(name)

    def describe(self, name: str) -> dict:
        content, generation = self.objects[name]
        digest = base64.b64encode(hashlib.md5(content).digest()).decode()
        now = "2025-01-01T00:00:00.000Z"
        return {
            **{"kind": "storage#object", "name": name, "bucket": "bucket", "size": str(len(content))},
            **{"generation": str(generation), "metageneration": "1", "md5Hash": digest, "etag": str(generation)},
            **{"timeCreated": now, "updated": now, "contentType": "application/octet-stream"},
        }

    def names(self, prefix: str) -> list[str]:
        with self.lock:
            return sorted(name for name in self.objects if name.startswith(prefix))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *_) -> None:
        pass

    def answer(self, status: int, content: bytes | dict = b"", **headers: str) -> None:
        body = json.dumps(content).encode() if isinstance(content, dict) else content
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        kind = "application/json" if isinstance(content, dict) else "application/octet-stream"
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def parse(self) -> tuple[str, dict[str, str]]:
        path, _, query = self.path.partition("?")
        return path, {name: values[-1] for name, values in urllib.parse.parse_qs(query).items()}

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def refused(self, name: str, query: dict[str, str]) -> bool:
        """Whether a precondition on the object's generation fails; 0 stands for: it does not exist."""
        wanted = query.get("ifGenerationMatch")
        generation = self.bucket.objects.get(name, (b"", 0))[1]
        if wanted is not None and int(wanted) != generation:
            self.answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
            return True
        return False

    def do_GET(self) -> None:
        path, query = self.parse()
        if re.fullmatch(r"/storage/v1/b/[^/]+", path):
            return self.answer(200, {"kind": "storage#bucket", "name": "bucket", "location": "US"})
        if re.fullmatch(r"/storage/v1/b/[^/]+/o/?", path):
            return self.answer(200, self.listing(query))
        match = re.fullmatch(r"(?:/download)?/storage/v1/b/[^/]+/o/(.+)", path)
        name = urllib.parse.unquote(match[1]) if match else ""
        with self.bucket.lock:
            if name not in self.bucket.objects:
                return self.answer(404, {"error": {"code": 404, "message": f"No such object: bucket/{name}"}})
            content, generation = self.bucket.objects[name]
            described = self.bucket.describe(name)
        if query.get("alt") != "media":
            return self.answer(200, described)
        headers = {"x_goog_generation": str(generation), "x_goog_hash": f"md5={described['md5Hash']}"}
        if not (wanted := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))) or not content:
            return self.answer(200, content, **headers)
        first, last = int(wanted[1] or 0), int(wanted[2] or len(content) - 1)
        if not wanted[1]:
            first, last = max(0, len(content) - int(wanted[2])), len(content) - 1
        last = min(last, len(content) - 1)
        if first >= len(content):
            return self.answer(416)
        return self.answer(
            206, content[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(content)}", **headers
        )

    def listing(self, query: dict[str, str]) -> dict:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        items, prefixes = [], set()
        with self.bucket.lock:
            for name in self.bucket.names(prefix):
                rest = name[len(prefix) :]
                beyond = query.get("startOffset", "") <= name and not ("" < query.get("endOffset", "") <= name)
                if delimiter and delimiter in rest:
                    prefixes.add(prefix + rest.split(delimiter)[0] + delimiter)
                elif beyond:
                    items.append(self.bucket.describe(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(prefixes)}

    def do_POST(self) -> None:
        path, query = self.parse()
        if match := re.fullmatch(r"/storage/v1/b/[^/]+/o/(.+)/(?:rewriteTo|copyTo)/b/[^/]+/o/(.+)", path):
            source, target = map(urllib.parse.unquote, match.groups())
            self.body()
            if source not in self.bucket.objects:
                return self.answer(404, {"error": {"code": 404, "message": "No such object"}})
            described = self.bucket.put(target, self.bucket.objects[source][0])
            size = described["size"]
            done = {"kind": "storage#rewriteResponse", "done": True, "resource": described}
            return self.answer(200, done | {"totalBytesRewritten": size, "objectSize": size})
        if match := re.fullmatch(r"/storage/v1/b/[^/]+/o/(.+)/moveTo/o/(.+)", path):
            source, target = map(urllib.parse.unquote, match.groups())
            self.body()
            with self.bucket.lock:
                if source not in self.bucket.objects:
                    return self.answer(404, {"error": {"code": 404, "message": "No such object"}})
                return self.answer(200, self.bucket.put(target, self.bucket.objects.pop(source)[0]))
        if path.startswith("/resumable/"):
            return self.chunk(path)
        kind, name, content = query.get("uploadType"), query.get("name", ""), self.body()
        if kind == "multipart":
            boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
            _, described, rest = content.split(b"--" + boundary, 2)
            name = json.loads(re.split(rb"\r?\n\r?\n", described, maxsplit=1)[1])["name"]
            content = re.split(rb"\r?\n\r?\n", rest, maxsplit=1)[1]
            content = re.sub(rb"\r?\n$", b"", content[: content.rindex(b"--" + boundary)], count=1)
        elif kind == "resumable":
            name = name or json.loads(content)["name"]
            number = str(next(self.bucket.numbers))
            self.bucket.uploads[number] = name, b""
            return self.answer(200, Location=f"http://{self.headers['Host']}/resumable/{number}")
        with self.bucket.lock:
            return None if self.refused(name, query) else self.answer(200, self.bucket.put(name, content))

    def chunk(self, path: str) -> None:
        number, content = path.rpartition("/")[2], self.body()
        name, before = self.bucket.uploads[number]
        whole = before + content
        self.bucket.uploads[number] = name, whole
        if self.headers.get("Content-Range", "").endswith("/*"):
            return self.answer(308, Range=f"bytes=0-{len(whole) - 1}")
        return self.answer(200, self.bucket.put(name, whole))

    do_PUT = do_POST

    def do_DELETE(self) -> None:
        path, query = self.parse()
        name = urllib.parse.unquote(path.split("/o/", 1)[1])
        with self.bucket.lock:
            if self.refused(name, query):
                return
            found = self.bucket.objects.pop(name, None)
        self.answer(204 if found else 404, b"" if found else {"error": {"code": 404, "message": "No such object"}})


@contextlib.contextmanager
def serve() -> Iterator[tuple[Bucket, dict[str, str]]]:
    """The bucket gs://bucket, and the environment in which programs find it."""
    handler = type("BucketHandler", (Handler,), {"bucket": Bucket()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield (
            handler.bucket,
            {
                "STORAGE_EMULATOR_HOST": url,
                "TENSORSTORE_GCS_HTTP_URL": url,
                "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
                "GOOGLE_CLOUD_PROJECT": "project",
                "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
            },
        )
    finally:
        server.shutdown()
