"""A stand-in for Kaggle's server on this machine: enough of its API for the real `kaggle` command.

It keeps datasets, kernels' sessions and submissions in memory, records every request, and refuses what
the real one is known to refuse. What a test wants to go wrong is set as an attribute.
"""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote

OUTPUTS = {
    "report.json": b'{"notebook": "one that ran"}\n',
    "submission.csv": b"pert_id,A\npert_1,0\n",
    "parts/large.h5ad": b"cells",
}


class Refused(Exception):
    """An answer with a code of HTTP that says no."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class KaggleServer:
    """Run it with `with`; then `environment` sends the `kaggle` command here, with no credentials.

    refuse: code and message by route, such as {"SaveKernel": (500, "...")}; pending: questions after
    which a dataset is ready; running: questions after which a kernel has ended; failing: slugs that end
    with an error; gpu_limit: sessions with a GPU at once; silent: slugs that leave no outputs; broken:
    datasets that Kaggle could not unpack; user: whose name the environment holds.
    """

    user = "nobody"

    def __init__(self, home):
        self.home = home
        self.refuse, self.failing, self.silent, self.broken = {}, {}, set(), set()
        self.pending, self.running, self.gpu_limit = 1, 1, 2
        self.requests, self.files = [], {}  # (route, body); uploads by name
        self.datasets, self.sessions, self.submissions = {}, {}, []
        self.most_gpus = 0

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"server_state": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self):
        """For LOCALHOST the command asks http://localhost/api/v1; a proxy needs no right to port 80."""
        address = f"http://127.0.0.1:{self._server.server_port}"
        name = {"KAGGLE_USERNAME": self.user} if self.user else {}
        return name | {
            "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
            "KAGGLE_KEY": "none",
            "KAGGLE_CONFIG_DIR": str(self.home),
            "HOME": str(self.home),
            "http_proxy": address,
            "no_proxy": "",
        }

    def bodies(self, route):
        return [body for name, body in self.requests if name == route]

    def answer(self, route, body):
        self.requests.append((route, body))
        if route in self.refuse:
            raise Refused(*self.refuse[route])
        if not hasattr(self, f"_{route}"):
            raise Refused(404, f"no route {route}")
        return getattr(self, f"_{route}")(body)

    def _GetDatasetStatus(self, body):
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if name not in self.datasets:
            raise Refused(404, "Dataset not found")
        if name in self.broken:
            return {"status": "FAILED"}
        self.datasets[name] -= 1
        return {"status": "NOT_YET_PERSISTED" if self.datasets[name] >= 0 else "READY"}

    def _CreateDataset(self, body):
        name = f"{body['ownerSlug']}/{body['slug']}"
        if name in self.datasets:
            return {"status": "error", "error": f"{name} is already in use"}
        return self._sent(name)

    def _CreateDatasetVersion(self, body):
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if self.datasets[name] >= 0 and name not in self.broken:
            raise Refused(403, "the last version is not ready")
        return self._sent(name)

    def _sent(self, name):
        self.datasets[name] = self.pending
        return {"ref": name, "url": f"http://localhost/datasets/{name}", "status": "ok"}

    def _StartBlobUpload(self, body):
        name = body.get("name") or body["fileName"]
        return {"token": name, "createUrl": f"http://localhost/upload/{quote(name, safe='')}"}

    _StartSubmissionUpload = _StartBlobUpload

    def _SaveKernel(self, body):
        if len(body["text"].encode()) >= 1_000_000:
            raise Refused(400, "The kernel source must be less than 1 megabytes in size.")
        slug = body["slug"]
        gpus = sum(session["gpu"] for session in self.sessions.values() if session["left"] > 0)
        if body["enableGpu"] and gpus >= self.gpu_limit:
            return {"error": f"Maximum batch GPU session count of {self.gpu_limit} reached."}
        self.most_gpus = max(self.most_gpus, gpus + body["enableGpu"])
        wrong = {
            "invalidDatasetSources": set(body.get("datasetDataSources", [])) - set(self.datasets),
            "invalidKernelSources": set(body.get("kernelDataSources", [])) - set(self.sessions),
        }
        version = self.sessions.get(slug, {"version": 0})["version"] + 1
        self.sessions[slug] = {"left": self.running, "gpu": body["enableGpu"], "version": version}
        answer = {"ref": f"/code/{slug}", "url": f"http://localhost/code/{slug}", "kernelId": 1}
        return answer | {"versionNumber": version} | {key: sorted(wrong[key]) for key in wrong}

    def _GetKernelSessionStatus(self, body):
        slug = f"{body['userName']}/{body['kernelSlug']}"
        session = self.sessions.get(slug)
        if session is None:
            raise Refused(404, "Kernel not found")
        session["left"] -= 1
        if session["left"] >= 0:
            return {"status": "RUNNING"}
        if slug in self.failing:
            return {"status": "ERROR", "failureMessage": self.failing[slug]}
        return {"status": "COMPLETE"}

    def _ListKernelSessionOutput(self, body):
        slug = f"{body['userName']}/{body['kernelSlug']}"
        names = () if slug in self.silent or slug in self.failing else OUTPUTS
        files = [{"fileName": name, "url": f"http://localhost/files/{name}"} for name in names]
        return {"files": files, "log": '[{"stream_name":"stdout","time":0.1,"data":"ran\\n"}]'}

    def _CreateSubmission(self, body):
        self.submissions.append(body)
        return {"message": "Successfully submitted to the stand-in", "ref": len(self.submissions)}

    def counts(self):
        return Counter(route for route, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    server_state = None

    def do_POST(self):
        body = json.loads(self._body() or b"{}")
        try:
            self._reply(200, self.server_state.answer(self.path.rsplit("/", 1)[-1], body))
        except Refused as fault:
            self._reply(fault.code, {"code": fault.code, "message": str(fault)})

    def do_PUT(self):
        name = unquote(self.path.rsplit("/", 1)[-1])
        self.server_state.files[name] = self._body()
        self._reply(200, {})

    def do_GET(self):
        self._reply(200, OUTPUTS.get(self.path.partition("/files/")[2], b""))

    def _body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _reply(self, code, payload):
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass
