"""The model of Viam's cloud behind grpcio, on this machine, with a line to it that can be slow, and be cut."""

import concurrent.futures
import contextlib
import socket
import threading
from types import TracebackType

import grpc

from tests.models.viam import Cloud, Fault, Refusal
from tests.models.viam_messages import classes

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Line:
    """Takes connections for another port and passes on what comes, both ways."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.pause_s = 0.0
        """Before each of the small pieces in which what clients send is passed on; 0: at once."""
        self.answer_bytes: int | None = None
        """So many bytes of answers are passed on, and then the connection is cut."""
        self.accepted = 0
        self.refusing = False
        """Ends each connection at once."""
        self.refused = 0
        self._over = threading.Event()
        self._live: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._spawn(self._accept)

    def cut(self) -> None:
        """All connections."""
        for connection in list(self._live):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def welcome(self, near: socket.socket) -> None:
        """Before anything is passed on."""

    def refuse(self) -> None:
        """From now on nobody gets through."""
        self.refusing = True
        self.cut()

    def close(self) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _spawn(self, target, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True, name="line")
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                self.accepted += 1
                if self.refusing:
                    self.refused += 1
                    near.close()
                    continue
                self.welcome(near)
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            for connection in (near, far):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._live.add(connection)
            both = threading.Barrier(2)
            self._spawn(self._pass, near, far, True, both)
            self._spawn(self._pass, far, near, False, both)

    def _pass(self, source: socket.socket, sink: socket.socket, sent: bool, both: threading.Barrier) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(64 if sent and self.pause_s else 1 << 16):
                if sent and self.pause_s:
                    self._over.wait(self.pause_s)
                if not sent and self.answer_bytes is not None:
                    data, self.answer_bytes = data[: self.answer_bytes], None
                    sink.sendall(data)
                    break
                sink.sendall(data)
        for connection in (source, sink):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(5)
        source.close()
        self._live.discard(source)


class Proxy(Line):
    """An HTTP proxy; `asked` has the hosts that tunnels were to lead to."""

    def __init__(self, port: int) -> None:
        self.asked: list[str] = []
        super().__init__(port)

    def welcome(self, near: socket.socket) -> None:
        said = b""
        while b"\r\n\r\n" not in said:
            said += near.recv(1000)
        self.asked.append(said.split()[1].decode())
        near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")


class GrpcCloud(Cloud):
    """`with GrpcCloud() as cloud`: `address` leads to it, through `line`."""

    def __init__(self, tls: tuple[bytes, bytes] | None = None) -> None:
        """`tls`: key and certificate, PEM."""
        super().__init__()
        self.hanging = threading.Event()
        self._over = threading.Event()
        self._messages = classes()
        self._pool = concurrent.futures.ThreadPoolExecutor(48)
        self._server = grpc.server(self._pool, options=[("grpc.max_receive_message_length", 1 << 26)])
        self._server.add_generic_rpc_handlers((_Methods(self),))
        if tls is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([tls]))
        self.line = Line(port)
        self.address = f"localhost:{self.line.port}" if tls else f"127.0.0.1:{self.line.port}"

    def __enter__(self) -> "GrpcCloud":
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.stop(0).wait()
        self._pool.shutdown()
        self.line.close()

    def answer(self, method: str, requests, context) -> object:
        """What a call gets; Refusal."""
        metadata = {each.key: each.value for each in context.invocation_metadata()}
        fault = self.fault(method)
        if fault.code and not fault.after and not method.endswith("Upload"):
            raise Refusal(fault.code, fault.text, fault.metadata)
        if method == "Authenticate":
            (request,) = requests
            return self._message("AuthenticateResponse", fault, access_token=self.authenticate(request, metadata))
        self.admit(method, metadata)
        if method == "BinaryDataByFilter":
            (request,) = requests
            answer = self._message("BinaryDataByFilterResponse", fault)
            for binary_id, about in self.binary(request) if fault.answer is None else ():
                added = answer.data.add().metadata
                added.binary_data_id = binary_id
                added.file_name = about.get("file_name", "")
                added.capture_metadata.tags.extend(about["tags"])
            return answer
        if method == "BinaryDataByIDs":
            (request,) = requests
            answer = self._message("BinaryDataByFilterResponse", fault)
            for binary_id, content in self.contents(request):
                added = answer.data.add()
                added.binary, added.metadata.binary_data_id = content, binary_id
            return answer
        if method == "TabularDataByFilter":
            (request,) = requests
            return self._message("TabularDataByFilterResponse", fault, count=self.tabular(request))
        if method.startswith("Delete"):
            (request,) = requests
            delete = self.delete_binary if method == "DeleteBinaryDataByIDs" else self.delete_tabular
            return self._message("DeletedResponse", fault, deleted_count=delete(request))
        return self._upload(method, requests, fault)

    def _upload(self, method: str, requests, fault: Fault) -> object:
        finish = self._taken(method, requests, fault)
        if fault.store or fault.truncate or fault.answer is not None or not (fault.code or fault.cut or fault.hang):
            file_id, binary_id = finish()
        if fault.hang:
            self.hanging.set()
            self._over.wait()
        if fault.code:
            raise Refusal(fault.code, fault.text, fault.metadata)
        if fault.cut:
            self.line.cut()
            raise Refusal(13, "cut")
        if fault.truncate:
            self.line.answer_bytes = 5
        return self._message("UploadResponse", fault, file_id=file_id, binary_data_id=binary_id)

    def _taken(self, method: str, requests, fault: Fault):
        """Takes requests, up to where the fault comes; what stores them."""
        happens = bool(fault.code or fault.cut or fault.early) and not fault.store
        if method == "DataCaptureUpload":
            (request,) = requests
            return lambda: self.capture(request)
        taking = self.stream(method)
        ended = False
        try:
            for request in requests:
                taking.take(request)
                if happens and taking.size >= fault.after:
                    break
            else:
                ended = True
        finally:
            self.torn += not ended
        return (lambda: ("f", "o/l/f")) if fault.early else taking.finish

    def _message(self, name: str, fault: Fault, **fields) -> object:
        message = self._messages[name]()
        if fault.answer is not None:
            return _Raw(fault.answer)
        for field, value in fields.items():
            setattr(message, field, value)
        return message


class _Raw:
    """Bytes that are no message."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:  # as protobuf has it
        return self._content


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, cloud: GrpcCloud) -> None:
        self._cloud = cloud

    def service(self, details):
        service, _, method = details.method.rpartition("/")
        expected = {
            "Authenticate": "proto.rpc.v1.AuthService",
            "BinaryDataByFilter": "viam.app.data.v1.DataService",
            "TabularDataByFilter": "viam.app.data.v1.DataService",
            "BinaryDataByIDs": "viam.app.data.v1.DataService",
            "DeleteBinaryDataByIDs": "viam.app.data.v1.DataService",
            "DeleteTabularData": "viam.app.data.v1.DataService",
        }.get(method, "viam.app.datasync.v1.DataSyncService")
        if service != f"/{expected}":
            return None
        parse = self._cloud._messages[f"{method}Request"].FromString

        def streamed(requests, context):
            try:
                return self._cloud.answer(method, requests, context)
            except Refusal as refusal:
                context.set_trailing_metadata(refusal.metadata)
                context.abort(_CODES[refusal.code], refusal.text)

        if method in ("FileUpload", "StreamingDataCaptureUpload"):
            make, answer = grpc.stream_unary_rpc_method_handler, streamed
        else:
            make, answer = grpc.unary_unary_rpc_method_handler, lambda request, context: streamed((request,), context)
        return make(answer, parse, lambda message: message.SerializeToString())
