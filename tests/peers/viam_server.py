"""The model of Viam's cloud behind the service classes of the published viam-sdk; run by an interpreter that has it.

Says its port in a line, then answers each line of JSON on stdin with one on stdout: {"set": {...}} for its attributes,
{"fault": [method, {...}]}, {"get": [...]}, {"anew": true} to forget everything.
"""

import asyncio
import base64
import dataclasses
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from viam.gen.app.data.v1.data_grpc import UnimplementedDataServiceBase
from viam.gen.app.data.v1.data_pb2 import (
    BinaryDataByFilterResponse,
    BinaryDataByIDsResponse,
    DeleteBinaryDataByIDsResponse,
    DeleteTabularDataResponse,
    TabularDataByFilterResponse,
)
from viam.gen.app.datasync.v1.data_sync_grpc import DataSyncServiceBase
from viam.gen.app.datasync.v1.data_sync_pb2 import (
    DataCaptureUploadResponse,
    FileUploadResponse,
    StreamingDataCaptureUploadResponse,
)
from viam.gen.proto.rpc.v1.auth_grpc import UnimplementedAuthServiceBase
from viam.gen.proto.rpc.v1.auth_pb2 import AuthenticateResponse

from tests.models.viam import Cloud, Fault, Refusal


def judged(method):
    """A Refusal as grpclib has it."""

    async def call(self, stream) -> None:
        try:
            await method(self, stream)
        except Refusal as refusal:
            raise GRPCError(Status(refusal.code), refusal.text) from None

    return call


class _Spoken:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def begin(self, method: str, stream) -> Fault:
        metadata = {name: value for name, value in stream.metadata.items() if isinstance(value, str)}
        fault = self.cloud.fault(method)
        if method == "Authenticate":
            self.known = metadata
        else:
            self.cloud.admit(method, metadata)
        if fault.code and not fault.after:
            raise Refusal(fault.code, fault.text)
        return fault


class Auth(_Spoken, UnimplementedAuthServiceBase):
    @judged
    async def Authenticate(self, stream) -> None:
        request = await stream.recv_message()
        self.begin("Authenticate", stream)
        await stream.send_message(AuthenticateResponse(access_token=self.cloud.authenticate(request, self.known)))


class Sync(_Spoken, DataSyncServiceBase):
    @judged
    async def DataCaptureUpload(self, stream) -> None:
        self.begin("DataCaptureUpload", stream)
        file_id, binary_id = self.cloud.capture(await stream.recv_message())
        await stream.send_message(DataCaptureUploadResponse(file_id=file_id, binary_data_id=binary_id))

    @judged
    async def FileUpload(self, stream) -> None:
        await self._stream("FileUpload", stream, FileUploadResponse)

    @judged
    async def StreamingDataCaptureUpload(self, stream) -> None:
        await self._stream("StreamingDataCaptureUpload", stream, StreamingDataCaptureUploadResponse)

    async def _stream(self, method: str, stream, response) -> None:
        fault = self.begin(method, stream)
        taking = self.cloud.stream(method)
        async for request in stream:
            taking.take(request)
            if fault.code and taking.size >= fault.after:
                raise Refusal(fault.code, fault.text)
        file_id, binary_id = taking.finish()
        await stream.send_message(response(file_id=file_id, binary_data_id=binary_id))


class Data(_Spoken, UnimplementedDataServiceBase):
    @judged
    async def BinaryDataByFilter(self, stream) -> None:
        self.begin("BinaryDataByFilter", stream)
        answer = BinaryDataByFilterResponse()
        for binary_id, about in self.cloud.binary(await stream.recv_message()):
            added = answer.data.add().metadata
            added.binary_data_id = binary_id
            added.time_requested.FromNanoseconds(1)
            added.capture_metadata.tags.extend(about["tags"])
        await stream.send_message(answer)

    @judged
    async def TabularDataByFilter(self, stream) -> None:
        self.begin("TabularDataByFilter", stream)
        request = await stream.recv_message()
        await stream.send_message(TabularDataByFilterResponse(count=self.cloud.tabular(request)))

    @judged
    async def BinaryDataByIDs(self, stream) -> None:
        self.begin("BinaryDataByIDs", stream)
        answer = BinaryDataByIDsResponse()
        for binary_id, content in self.cloud.contents(await stream.recv_message()):
            added = answer.data.add()
            added.binary, added.metadata.binary_data_id = content, binary_id
        await stream.send_message(answer)

    @judged
    async def DeleteBinaryDataByIDs(self, stream) -> None:
        self.begin("DeleteBinaryDataByIDs", stream)
        count = self.cloud.delete_binary(await stream.recv_message())
        await stream.send_message(DeleteBinaryDataByIDsResponse(deleted_count=count))

    @judged
    async def DeleteTabularData(self, stream) -> None:
        self.begin("DeleteTabularData", stream)
        count = self.cloud.delete_tabular(await stream.recv_message())
        await stream.send_message(DeleteTabularDataResponse(deleted_count=count))


def told(value):
    if dataclasses.is_dataclass(value):
        return told(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: told(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [told(each) for each in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


async def main() -> None:
    cloud = Cloud()
    server = Server([Auth(cloud), Sync(cloud), Data(cloud)])
    await server.start("127.0.0.1", 0)
    (listening,) = server._server.sockets
    print(listening.getsockname()[1], flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        said = json.loads(line)
        if "anew" in said:
            Cloud.__init__(cloud)
        for name, value in said.get("set", {}).items():
            setattr(cloud, name, value)
        if "fault" in said:
            method, fault = said["fault"]
            cloud.faults[method].append(Fault(**fault))
        print(json.dumps({name: told(getattr(cloud, name)) for name in said.get("get", ())}), flush=True)
    server.close()
    await server.wait_closed()


asyncio.run(main())
